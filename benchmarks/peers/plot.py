"""The results as pictures: success over steps with the spread of the seeds, steps per second, and Gymnasium's tasks."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from benchmarks.peers import gymnasium_tasks
from benchmarks.peers.learner import NAMES
from benchmarks.peers.results import Results
from benchmarks.peers.speed import Setup, fastest, measured
from robo_ppo.run import palette
from robo_ppo.run.plots import style

COLOURS = {
    "ours": palette.VEHICLE,
    "rsl_rl": palette.PATH,
    "skrl": palette.GOAL,
    "stable_baselines3": palette.MUTED,
}


def draw(results: Results, path: Path) -> None:
    """Draw what was measured of the two into a PNG at `path`."""
    parts = [panel for panel, part in ((_draw_learning, "learning"), (_draw_speed, "speed")) if results.entries(part)]
    if not parts:
        return
    figure = Figure(figsize=(4.6 * len(parts), 3.4), dpi=150, layout="constrained")
    for index, panel in enumerate(parts):
        panel(figure.add_subplot(1, len(parts), index + 1), results)
    figure.savefig(path, facecolor="white")


def draw_gymnasium(results: Results, path: Path) -> None:
    """Draw the returns on Gymnasium's tasks into a PNG at `path`: a dot for each seed, beside what others report."""
    tasks = list(dict.fromkeys(entry["env_id"] for entry in results.entries("gymnasium")))
    if not tasks:
        return
    figure = Figure(figsize=(7.0, 0.9 + 0.95 * len(tasks)), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    _style(axes, f"Gymnasium, return after {results.entries('gymnasium')[0]['total_steps'] / 1e6:g} M steps", "return")
    others = list(zip(gymnasium_tasks.others(), (palette.MUTED, palette.PATH), strict=True))
    for row, env_id in enumerate(tasks):
        own = [entry["return"]["mean"] for entry in results.find("gymnasium", env_id=env_id)]
        bars = [("robo_ppo", palette.VEHICLE, statistics.fmean(own), None)]
        for other, colour in others:
            found = gymnasium_tasks.figure_of(other, env_id)
            bars += [(f"{other['name']}, published", colour, found["mean"], found["std"])] if found else []
        for place, (name, colour, mean, std) in enumerate(bars):
            height = row + 0.27 * (place - 1)
            axes.barh(height, mean, height=0.24, color=colour, alpha=0.55, label=None if row else name)
            if std is not None:
                axes.plot([mean - std, mean + std], [height, height], color=palette.INK, linewidth=1.0)
        axes.plot(own, [row - 0.27] * len(own), color=palette.INK, linestyle="", marker=".", markersize=6)
    axes.set_yticks(range(len(tasks)), tasks, fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.legend(fontsize=8, frameon=False, loc="upper right")
    figure.savefig(path, facecolor="white")


def _draw_learning(axes: Axes, results: Results) -> None:
    """One line for each learner: the median of its seeds, with a band from the worst to the best."""
    _style(axes, f"Success in validation, {results.content['setup']['task']}", "environment steps")
    for learner, colour in COLOURS.items():
        entries = results.find("learning", learner=learner)
        if not entries:
            continue
        steps = entries[0]["steps"]
        columns = list(zip(*(entry["success"] for entry in entries), strict=True))
        middle = [statistics.median(values) for values in columns]
        axes.fill_between(steps, [min(v) for v in columns], [max(v) for v in columns], color=colour, alpha=0.15, lw=0)
        axes.plot(steps, middle, color=colour, linewidth=1.6, marker="o", markersize=3.5, label=NAMES[learner])
        for number, values in zip(steps, columns, strict=True):
            axes.plot([number] * len(values), values, color=colour, linestyle="", marker="_", markersize=5)
    axes.set(xlim=(0, None), ylim=(0.0, 1.02))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(fontsize=8, frameon=False, loc="lower right")


def _draw_speed(axes: Axes, results: Results) -> None:
    """A bar for each learner: the median of the repeats, with a line from the slowest to the fastest."""
    where = results.content["setup"]["machine"]
    _style(axes, f"Training speed, {where['processor']}, {where['cores']} cores", "environment steps per second")
    labels: list[str] = []
    drawn: set[str] = set()
    for row, setups in enumerate(_bars(measured(results))):
        setup = fastest(results, setups)
        speeds = [entry["steps_per_second"] for entry in setup.entries(results)]
        middle, paleness = statistics.median(speeds), 0.55 if setup.learner in drawn else 1.0
        axes.barh(row, middle, color=COLOURS[setup.learner], height=0.62, alpha=paleness)
        axes.plot([min(speeds), max(speeds)], [row, row], color=palette.INK, linewidth=1.0)
        axes.text(max(speeds), row, f"  {middle / 1e3:.0f}k", va="center", fontsize=8, color=palette.INK)
        labels.append(f"{setup.name}\n{setup.processes}")
        drawn.add(setup.learner)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(right=axes.get_xlim()[1] * 1.1)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(visible=False, axis="y")


def _bars(setups: Sequence[Setup]) -> list[list[Setup]]:
    """The bars: setups of one learner with as many processes, of which the fastest is shown."""
    keys = dict.fromkeys((setup.learner, setup.ranks) for setup in setups)
    return [[setup for setup in setups if (setup.learner, setup.ranks) == key] for key in keys]


def _style(axes: Axes, title: str, label: str) -> None:
    """The look of the figures of a run."""
    style(axes, title)
    axes.set_xlabel(label, fontsize=8, color=palette.MUTED)
