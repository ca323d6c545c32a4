"""The result as tables for a terminal or a README (Markdown)."""

import statistics
from collections.abc import Sequence

from benchmarks.peers.learner import MODULES, NAMES
from benchmarks.peers.results import Entry, Results
from benchmarks.peers.speed import Setup, measured


def speed_table(results: Results) -> str:
    """Medians over the repeats; the ratio is ours, as shipped, to each, side by side in the same repeat."""
    found = measured(results)
    lines = [
        "| learner | processes | torch threads | physics threads | steps/s | collect, s | update, s | robo_ppo ÷ it |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for setup in found:
        entries = setup.entries(results)
        speed, collect, update = (
            statistics.median([entry[key] for entry in entries])
            for key in ("steps_per_second", "collect_seconds", "update_seconds")
        )
        ratio = _ratio(found[0], setup, results) if found[0].learner == "ours" else None
        cells = [setup.name, str(setup.ranks), str(setup.torch_threads), str(setup.physics_threads)]
        cells += [f"{speed / 1e3:.1f}k", f"{collect:.2f}", f"{update:.2f}"]
        lines.append(f"| {' | '.join(cells)} | {'–' if ratio is None else f'{ratio:.2f}'} |")
    shared = results.content["setup"]
    lines.append(f"\n{shared['num_envs']} environments × {shared['horizon']} steps in an iteration, medians of repeats")
    return "\n".join(lines)


def learning_table(results: Results) -> str:
    """Success on the validation episodes: median (lowest–highest) of the seeds."""
    entries = results.entries("learning")
    steps = results.content["setup"]["milestones"]
    lines = [f"| learner | {' | '.join(f'{number / 1e6:g} M steps' for number in steps)} | training |"]
    lines.append("|---" * (2 + len(steps)) + "|")
    for learner in MODULES:
        own = results.find("learning", learner=learner)
        if not own:
            continue
        cells = [_spread([entry["success"][index] for entry in own]) for index in range(len(steps))]
        minutes = statistics.median([entry["seconds"][-1] for entry in own]) / 60.0
        lines.append(f"| {NAMES[learner]} | {' | '.join(cells)} | {minutes:.1f} min |")
    seeds = len({entry["seed"] for entry in entries})
    episodes = results.content["setup"]["validation_episodes"]
    lines.append(f"\nmedian (lowest–highest) of {seeds} seeds, {episodes} validation episodes, the same for all")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    middle = f"{statistics.median(values):.1%}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.1%}–{max(values):.1%})"


def _ratio(ours: Setup, other: Setup, results: Results) -> float | None:
    """Median over the repeats that both were measured in."""

    def by_repeat(entries: Sequence[Entry]) -> dict[int, float]:
        return {entry["repeat"]: entry["steps_per_second"] for entry in entries}

    own, others = by_repeat(ours.entries(results)), by_repeat(other.entries(results))
    ratios = [own[repeat] / others[repeat] for repeat in own if repeat in others]
    return statistics.median(ratios) if ratios else None
