"""Measures an exported policy: what onnxruntime computes from measurements, in episodes that training never saw.

    python evaluate.py run=latest randomization=strong     # → run(config)
    evaluate(folder, config, bundle, options)              # → evaluation/{metrics.json, *.png, video.mp4}, report.html

Every id is flown and counted once, and its start, scene and parameters depend on it alone: the same file and number of
episodes give the same numbers again.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from robo_ppo.config import EvaluateConfig, RunConfig, parse_config
from robo_ppo.env.build import affordable, make_environment, make_foreign, make_task
from robo_ppo.env.scenes import Split
from robo_ppo.env.task import SUCCESS, Metric
from robo_ppo.env.vector import ForeignEnvironment, Interface, Observation, Score, VectorEnvironment
from robo_ppo.errors import UserError
from robo_ppo.export.bundle import replace_evaluation
from robo_ppo.export.policy import ports
from robo_ppo.run import folder as folders
from robo_ppo.run.episodes import Episodes, joined, run_episodes
from robo_ppo.run.metrics import read_rows
from robo_ppo.run.plots import learning_curves, returns, trajectories
from robo_ppo.run.rendering import RenderingUnavailable, choose_gl
from robo_ppo.run.report import write_report
from robo_ppo.run.resolve import on_cpu
from robo_ppo.run.summary import summarize, table
from robo_ppo.run.threads import one_torch_thread
from robo_ppo.run.trace import EpisodeTrace
from robo_ppo.run.video import film, write_film
from robo_ppo_onboard.bundle import Bundle, read_bundle
from robo_ppo_onboard.contract import Contract, Port
from robo_ppo_onboard.links.simulated import Fleet
from robo_ppo_onboard.runtime import Policy

AT_ONCE = 1000  # episodes that fly side by side
LEAST_FPS = 24
TRACED = 60  # episodes that pictures and films choose from
BUNDLE = "policy.onnx"


@dataclass(frozen=True)
class Options:
    """What to measure; a `UserError` where it makes no sense."""

    episodes: int
    split: Split
    video: bool
    video_seconds: float

    def __post_init__(self) -> None:
        """Refuse before anything is flown."""
        if self.episodes < 1:
            raise UserError(f"episodes must be at least 1, not {self.episodes}")
        if self.video and not 0.0 < self.video_seconds < math.inf:
            raise UserError(
                f"video_seconds must be greater than 0, not {self.video_seconds}; video=false makes no film"
            )


def run(config: EvaluateConfig) -> None:
    """`evaluate.py`: measure the policy of a run, or a bundle alone."""
    if config.run is not None and config.bundle is not None:
        raise UserError("run=… and bundle=… are two things to evaluate; name one of them")
    if config.run is None and config.bundle is None:
        raise UserError("say what to evaluate: run=latest, run=<folder> or bundle=<policy.onnx>")
    options = Options(config.episodes, evaluated_split(config.split), config.video, config.video_seconds)
    if config.run is not None:
        output = folders.find(config.run, config.runs)
        if not (output / BUNDLE).exists():
            raise UserError(
                f"{output} has no {BUNDLE}, written when training ends; python train.py resume={output} goes on"
            )
        bundle, training = read_bundle(output / BUNDLE), folders.load_config(output)
    else:
        path = folders.find_bundle(config.bundle or "")
        bundle = read_bundle(path)
        training = parse_config(bundle.contract.training.config, str(path))
        output = _folder_for(bundle, training, config.runs)
    if config.randomization is not None:
        training.randomization = config.randomization
    evaluate(output, training, bundle, options)


def evaluate(
    output: Path, config: RunConfig, bundle: Bundle, options: Options, *, record_in: Path | None = None
) -> dict[str, Any]:
    """Fly the episodes, write everything that there is to see into a run's folder, and return the metrics.

    `record_in` is the bundle's file, if the result shall be written into the bundle itself, too.
    """
    flown = fly(config, bundle, options)
    episodes = flown.episodes
    metrics = summarize(config, bundle.contract, options.split, episodes, flown.score, flown.metrics)
    metrics |= {"policy": BUNDLE, "scenes": flown.scenes, "interventions": flown.interventions}
    if record_in is not None:
        kept = {n: metrics[n] for n in ("split", "episodes", "success", "outcomes", "metrics") if n in metrics}
        metrics["sha256"] = replace_evaluation(record_in, kept).sha256
    folder = output / "evaluation"
    try:
        folder.mkdir(exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        if episodes.traces:
            trajectories(episodes.traces, folder / "trajectories.png")
        else:
            returns(episodes.returns, episodes.outcome, folder / "returns.png")
        rows = read_rows(output / "metrics.jsonl")
        if rows:
            learning_curves(rows, folder / "learning_curves.png")
        if options.video:
            _film(folder / "video.mp4", config, bundle, episodes.traces, options)
        report = write_report(output)
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}") from error
    print(table(metrics))
    print(f"report: {report}")
    return metrics


@dataclass(frozen=True)
class Flown:
    """Episodes of an exported policy, and what they are judged by."""

    episodes: Episodes
    score: Score
    metrics: dict[str, Metric]
    scenes: dict[str, float]
    interventions: dict[str, int]  # of the safety net: the reason's word → episodes


def fly(config: RunConfig, bundle: Bundle, options: Options) -> Flown:
    """Run the first episodes of a split with an exported policy."""
    with one_torch_thread():
        return _fly(config, bundle, options)


def _fly(config: RunConfig, bundle: Bundle, options: Options) -> Flown:
    config = on_cpu(config)
    at_once = affordable(config, min(options.episodes, AT_ONCE))
    flights = make_environment(config, options.split, at_once, episodes=options.episodes, recorded=True)
    with closing(flights) as environment:
        pilot = OnnxPilot(environment, bundle)
        parts: list[Episodes] = []
        reasons: Counter[str] = Counter()
        for first in range(0, options.episodes, at_once):
            traced = 0 if first else TRACED
            parts.append(run_episodes(environment, pilot.act, begin=pilot.begin, first_id=first, traced=traced))
            reasons.update(pilot.interventions(options.episodes - first))
        episodes = joined(parts, options.episodes)
        return Flown(episodes, environment.score, environment.metrics(), environment.scene_statistics(), dict(reasons))


class OnnxPilot:
    """An exported policy at the controls of every environment, with the safety net that it has on board.

    It gets what a vehicle would measure and nothing else. UserError where the bundle was made for other measurements or
    other commands.
    """

    def __init__(self, environment: VectorEnvironment, bundle: Bundle) -> None:
        refuse_unless_it_fits(bundle.contract, environment.interface)
        self._environment = environment
        self._fleet = Fleet(Policy(bundle), environment.num_envs)

    def begin(self) -> None:
        """Forget what was remembered of the last episodes."""
        self._fleet.begin()

    def act(self, _observation: Observation) -> Tensor:
        """Actions for the present measurements."""
        measured = {name: values.numpy() for name, values in self._environment.measured.items()}
        flying = (~self._environment.resting).tolist()
        return self._environment.interface.action.action(torch.from_numpy(self._fleet.fly(measured, flying)))

    def intervention(self) -> str:
        """Why the safety net took the first environment from the policy; empty where it did not."""
        change = self._fleet.interventions().get(0)
        return "" if change is None else change.why

    def interventions(self, most: int) -> list[str]:
        """Why the safety net took over, a word for each of the first environments in which it did."""
        return [change.code for row, change in self._fleet.interventions().items() if row < most]


def refuse_unless_it_fits(contract: Contract, interface: Interface) -> None:
    """UserError where a policy does not measure, command and run at the rate of this task and robot."""
    measured, commanded = ports(interface)
    for what, theirs, ours in (
        ("takes", {p.name: _meaning(p) for p in contract.inputs}, {p.name: _meaning(p) for p in measured}),
        ("commands", {p.name: _meaning(p) for p in contract.outputs}, {p.name: _meaning(p) for p in commanded}),
    ):
        if theirs != ours:
            names = [name for name in {**theirs, **ours} if theirs.get(name) != ours.get(name)]
            raise UserError(
                f"the policy was made for another task or robot: it {what} {_listed(theirs, names)}, "
                f"where this one has {_listed(ours, names)}"
            )
    for theirs, ours in zip(contract.outputs, commanded, strict=True):
        if not (_first(ours.lower) <= _first(theirs.lower) and _first(theirs.upper) <= _first(ours.upper)):
            raise UserError(
                f"the policy commands {theirs.name} from {_first(theirs.lower):g} to {_first(theirs.upper):g} "
                f"{theirs.unit}, but the robot takes {_first(ours.lower):g} to {_first(ours.upper):g}"
            )
    period = interface.control_period
    if not math.isclose(contract.control_period, period, rel_tol=1e-6):
        raise UserError(
            f"the policy was trained for a step of {contract.control_period:g} s, but the task's is {period:g} s"
        )


def evaluated_split(name: str) -> Split:
    """A split of episodes that training never sees, by its name."""
    known: dict[str, Split] = {split: split for split in get_args(Split)}
    if name not in known or name == "train":
        raise UserError(f"split={name}; it must be test or validation")
    return known[name]


def _folder_for(bundle: Bundle, training: RunConfig, runs: str) -> Path:
    """A folder like that of a run, for a bundle that came without one; `latest` stays with what was trained."""
    output = folders.create(runs, f"{training.task.name}_evaluation", latest=False)
    folders.save_config(training, output)
    (output / "versions.json").write_text(json.dumps(dict(bundle.contract.versions), indent=2) + "\n")
    (output / BUNDLE).write_bytes(bundle.model)
    return output


def _meaning(port: Port) -> tuple[object, ...]:
    return port.shape, port.unit, port.frame, port.quaternion_order


def _listed(ports_: Mapping[str, tuple[Any, ...]], names: Sequence[str]) -> str:
    """What is known of the named ports: `ranges (16, in m, heading)`."""
    known = [
        f"{name} ({'×'.join(map(str, shape)) or '1'}, in {unit}{f', {frame}' if frame else ''})"
        for name, (shape, unit, frame, _) in ports_.items()
        if name in names
    ]
    return ", ".join(known) or "nothing of that"


def _first(limits: tuple[float, ...] | None) -> float:
    """The limit of a command, which is one number."""
    return limits[0] if limits else math.nan


def _film(path: Path, config: RunConfig, bundle: Bundle, traces: Sequence[EpisodeTrace], options: Options) -> None:
    """A few episodes, one failure among them if there is one; says so where nothing can be rendered here."""
    if not traces:
        _film_foreign(path, config, bundle, options)
        return
    failures = [t for t in traces if t.outcome != SUCCESS and len(t.qpos) > 50]
    successes = [t for t in traces if t.outcome == SUCCESS]
    chosen = [*successes[:1], *failures[:1], *successes[1:]]
    try:
        film(path, make_task(config).robot.spec(), chosen or traces, max_seconds=options.video_seconds)
    except RenderingUnavailable as error:
        print(f"no film: {error}", file=sys.stderr)


def _film_foreign(path: Path, config: RunConfig, bundle: Bundle, options: Options) -> None:
    """The first episodes again, drawn by the environment itself."""
    try:
        choose_gl()
        with closing(make_foreign(config, options.split, 1, film=True)) as environment:
            period = environment.interface.control_period
            every, steps = max(1, int(1.0 / (period * LEAST_FPS))), round(options.video_seconds / period)
            pictures = _pictures(environment, OnnxPilot(environment, bundle), steps, every)
            write_film(path, pictures, fps=1.0 / (period * every))
    except UserError as error:
        print(f"no film: {error}", file=sys.stderr)


def _pictures(environment: ForeignEnvironment, pilot: OnnxPilot, steps: int, every: int) -> Generator[np.ndarray]:
    """Every so many steps a picture, through one episode after another."""
    episode = 0
    observation = environment.reset(episode)
    for step in range(steps):
        if step % every == 0:
            picture = environment.picture()
            if picture is None:
                raise RenderingUnavailable(f"{environment.describe()} does not draw itself")
            yield picture
        transition = environment.step(pilot.act(observation))
        observation = transition.observation
        if bool(transition.terminated | transition.truncated):
            episode += 1
            observation = environment.reset(episode)
            pilot.begin()
