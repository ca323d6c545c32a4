"""Looks at a trained candidate: flies its best policy on validation episodes and says what it did and what paid for it.

    packet = diagnose(config, run_folder, output)     # → output/{packet.json, learning.png, flights.png, failure_….png}
    print(packet.text())

The policy flies without exploration noise, the same episodes every time, on a CPU: two diagnoses of a run are equal.
Test episodes are never touched.
"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
from torch import Tensor

from robo_ppo.config import RunConfig
from robo_ppo.env.build import build, is_foreign, make_task
from robo_ppo.env.environment import Environment
from robo_ppo.env.task import SUCCESS
from robo_ppo.env.vector import Transition
from robo_ppo.errors import UserError
from robo_ppo.run import checkpoint, overlay, palette
from robo_ppo.run.episodes import Episodes, run_episodes
from robo_ppo.run.greedy import Greedy
from robo_ppo.run.metrics import read_rows
from robo_ppo.run.resolve import on_cpu
from robo_ppo.run.threads import one_torch_thread
from robo_ppo.run.trace import EpisodeTrace
from robo_ppo.run.train import load_model, make_model
from robo_ppo.shaping.packets.energy import EnergyMeter
from robo_ppo.shaping.packets.measuring import Observer, Rows, correlation, curve, spread
from robo_ppo.shaping.packets.packet import VERSION, Failure, Packet, PictureFile, Spread, write_packet
from robo_ppo.shaping.packets.pictures import draw
from robo_ppo.shaping.record import share_of

SHOWN = 3  # typical failures
_CURVES = {"success": "train/success", "validation": "validation/success", "return": "train/return"}


def diagnose(
    config: RunConfig, run_folder: Path, output: Path, *, episodes: int = 200, first: int = 0, pictures: bool = True
) -> Packet:
    """Look at the best policy of a run with this configuration, and write the packet and its pictures to `output`.

    The validation episodes are those from `first` on: training chose its best policy by `validation.episodes` of them.

    Raises:
        UserError: there is no policy, or it fits neither this task nor robot; the task is another library's.
    """
    if is_foreign(config):
        raise UserError(f"{config.task.name} brings its own environments; only a task of signals can be diagnosed")
    config = dataclasses.replace(on_cpu(config), device="cpu")
    best = run_folder / "checkpoints" / checkpoint.BEST
    saved = checkpoint.read(best)
    rows = read_rows(run_folder / "metrics.jsonl")
    output.mkdir(parents=True, exist_ok=True)
    with one_torch_thread(), closing(_environment(config, episodes, first)) as environment:
        model = make_model(config, environment.observation_sizes, environment.action_size)
        load_model(model, saved["model"], str(best))
        packet = _flown(environment, Greedy(model, episodes), rows, output, first, pictures=pictures)
    steps = float(saved["steps"])
    trained = max(steps, *(row["step"] for row in rows)) if rows else steps
    packet = dataclasses.replace(packet, task=config.task.name, policy_steps=steps, training_steps=trained)
    write_packet(packet, output)
    return packet


def _environment(config: RunConfig, episodes: int, first: int) -> Environment:
    """Validation episodes, side by side, with everything computed that a diagnosis looks at."""
    task = make_task(config)
    reach = task.within_reach()
    extra = (*task.recorded(), *task.behaviour().values(), *(() if reach is None else (reach,)))
    return build(config, "validation", episodes, episodes=first + episodes, extra_signals=extra)


def _flown(environment: Environment, pilot: Greedy, rows: Rows, output: Path, first: int, *, pictures: bool) -> Packet:
    environment.reset(first)
    energy, observer = EnergyMeter(environment), Observer(environment)

    def watch(transition: Transition, running: Tensor) -> None:
        energy.watch(transition, running)
        observer.watch(transition, running)

    flown = run_episodes(
        environment,
        pilot.act,
        begin=pilot.begin,
        first_id=first,
        traced=environment.num_envs,
        choose=_typical,
        watch=watch,
    )
    well = flown.outcome == SUCCESS
    terms = observer.terms(flown, rows)
    curves = {name: found for name, key in _CURVES.items() if (found := curve(rows, key)) is not None}
    files: list[PictureFile] = []
    notes = [] if rows else ["no learning curves: the run has no metrics.jsonl"]
    if pictures:
        spec = environment.task.robot.spec()
        files, missing = draw(output, spec, curves, terms, flown.traces, _story)
        notes += missing
    counts = Counter(flown.outcome.tolist())
    return Packet(
        version=VERSION,
        task="",
        policy_steps=0.0,
        training_steps=0.0,
        success=share_of(int(well.sum()), len(well)),
        outcomes=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        return_correlation=correlation(flown.returns, well),
        metrics=_metrics(environment, flown),
        terms=terms,
        behaviour=observer.behaviour(flown, energy.gain()),
        curves=curves,
        failures=[_failure(trace) for trace in flown.traces if trace.outcome != SUCCESS],
        files=files,
        notes=notes,
        folder=str(output),
    )


def _metrics(environment: Environment, flown: Episodes) -> dict[str, Spread]:
    """The task's own, but for those of successes where there is none."""
    well = flown.outcome == SUCCESS
    found: dict[str, Spread] = {}
    for name, metric in environment.metrics().items():
        values = flown.metrics[name][well] if metric.only_success else flown.metrics[name]
        # An episode whose world broke at once has no least and no greatest value.
        if np.isfinite(values).any():
            found[name] = spread(values[np.isfinite(values)], metric.unit)
    return found


def _typical(flown: Episodes) -> Sequence[int]:
    """Rows of a few failures: one of each of the commonest causes, then of the commonest again; of the median length.

    Where nothing failed, a few successes.
    """
    failed = np.flatnonzero(flown.outcome != SUCCESS)
    rows = failed if len(failed) else np.arange(len(flown.ids))
    causes = [cause for cause, _ in Counter(flown.outcome[rows].tolist()).most_common()]
    waiting = {cause: _by_typicality(rows[flown.outcome[rows] == cause], flown.steps) for cause in causes}
    chosen: list[int] = []
    while len(chosen) < min(SHOWN, len(rows)):
        for cause in causes:
            if waiting[cause] and len(chosen) < SHOWN:
                chosen.append(waiting[cause].pop(0))
    return chosen


def _by_typicality(rows: np.ndarray, steps: np.ndarray) -> list[int]:
    """Rows, those first whose length is nearest to the median."""
    distance = np.abs(steps[rows] - np.median(steps[rows]))
    return rows[np.argsort(distance, kind="stable")].tolist()


def _story(trace: EpisodeTrace) -> str:
    """What happened, in a line: how it ended, when, and what the task's readings were then."""
    last = trace.last_row
    ended = f"{palette.outcome_label(trace.outcome).lower()} after {last * trace.control_period:.2f} s"
    readings = [" ".join(overlay.reading_text(label, float(v[last]))) for label, v in trace.readings.items()]
    return f"episode {trace.episode}: {ended}" + (f"; at the end {', '.join(readings)}" if readings else "")


def _failure(trace: EpisodeTrace) -> Failure:
    seconds = max(0, trace.last_row) * trace.control_period
    return Failure(trace.episode, trace.outcome, seconds, _story(trace))
