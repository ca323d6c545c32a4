"""What a GPU makes of the tasks: `python -m benchmarks.gpu [sim.contacts=… …] --parts physics training --minutes 9`.

Measured are, for `uav_nav` and for the humanoids where there are any, each in a process of its own,

    physics, environment, training   steps per second over the number of worlds, with memory and the GPU's idle share
    looks                            that neither a step nor an update makes the host wait for the GPU
    target                           seconds until validation shows 95 % success
    peers                            rsl_rl on the same environment; mjlab's own humanoid, where mjlab is installed
    update                           the learner's update alone, beside rsl_rl's

What does not fit into `--minutes` is left out, and the results say so. They are written as soon as they are there, to
benchmarks/results/gpu_<card>.json with a picture for each task; parts that are measured later join the same file.

Nothing needs to be installed: `PYTHONPATH=$PWD python3 -m benchmarks.gpu` from a checkout, with torch, mujoco-warp and
hydra-core at hand, is enough. Without a GPU it runs at tiny sizes on Warp's CPU device: that shows that it works.
"""

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu import isolated, looks, plot, rivals, target, worlds
from benchmarks.machine import card, file_name, gpu_versions, machine
from benchmarks.peers.results import Results
from robo_ppo.config import RunConfig
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from robo_ppo.run.resolve import resolved
from robo_ppo.sim.device import open_device

PARTS = (*worlds.PARTS, "looks", "target", "peers", "update")
RESULTS = Path(__file__).parents[1] / "results"
_LEAST = 20.0  # s; with less left, nothing is begun
_TO_BUILD = 60.0  # s, at most, until a training begins
_SAID = ("task", "device", "precision")  # already
_GPU_WORLDS, _CPU_WORLDS = (1024, 4096, 16384, 65536), (16, 64)


def main() -> None:
    """Measure what was chosen, in the order of `PARTS`."""
    arguments = _parse()
    name = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    device = open_device(name)
    is_gpu = device.type == "cuda"
    gpu, where = card(device), machine()
    setup = {"machine": _without_commit(where), "card": gpu, "versions": gpu_versions()}
    results = Results(arguments.out / file_name("gpu" if is_gpu else "gpu_without_one", where, gpu), setup)
    results.content.setdefault("tasks", {})
    results.content["commands"].append({"command": _command(sys.argv[1:]), "commit": where["versions"]["commit"]})
    counts = arguments.worlds or (_GPU_WORLDS if is_gpu else _CPU_WORLDS)
    session = Session(results, time.monotonic() + 60.0 * arguments.minutes, in_processes=is_gpu or arguments.processes)
    for task in arguments.tasks or present_tasks():
        base = [f"task={task}", "sim=mujoco_warp", f"device={name}", "ranks=1", *arguments.overrides]

        def configure(num_envs: int, base: list[str] = base) -> RunConfig:
            return resolved(compose(*base, f"num_envs={num_envs}"))

        _measure(session, task, configure, counts, arguments)
        picture = results.path.with_name(f"{results.path.stem}_{task}.png")
        plot.draw(task, results.content["tasks"].get(task, {}), gpu["name"] if gpu else where["processor"], picture)
    print(results.path)


def _measure(
    session: "Session",
    task: str,
    configure: Callable[[int], RunConfig],
    counts: tuple[int, ...] | list[int],
    arguments: argparse.Namespace,
) -> None:
    parts, seconds, repeats = arguments.parts, arguments.seconds, arguments.repeats
    swept = tuple(part for part in worlds.PARTS if part in parts)
    largest = arguments.num_envs or (8192 if 8192 in range(min(counts), max(counts) + 1) else max(counts))
    config = configure(largest)
    if "looks" in parts:
        session.run((task, "looks"), looks.check, configure(min(counts)))
    for count in counts if swept else ():
        session.run((task, "worlds", str(count)), worlds.measure, configure(count), swept, seconds, repeats)
    if "target" in parts:
        affordable = session.left - _TO_BUILD  # else it would be stopped before it can tell how far it came
        session.run((task, "target"), target.train, config, max(0.0, min(arguments.target_seconds, affordable)))
    if "peers" in parts:
        session.run((task, "peers"), rivals.measure_rsl_rl, config, arguments.iterations)
        session.run((task, "peers"), rivals.measure_mjlab, largest, arguments.target_seconds)
    if "update" in parts:
        session.run((task, "update"), _update, config, arguments.pairs)


def _update(report: isolated.Report, config: RunConfig, pairs: int) -> None:
    if rivals.has_rsl_rl(report):
        from benchmarks.update import measure

        report(measure(config, pairs))


class Session:
    """Runs measurements one by one while there is time, and keeps what each of them reports."""

    def __init__(self, results: Results, deadline: float, *, in_processes: bool) -> None:
        self._results, self._deadline, self._in_processes = results, deadline, in_processes

    @property
    def left(self) -> float:
        """Seconds."""
        return self._deadline - time.monotonic()

    def run(self, place: tuple[str, ...], work: Callable[..., None], *arguments: Any) -> None:
        """Measure, and put every piece at its place in the results."""
        entry = self._results.content["tasks"]
        for key in place:
            entry = entry.setdefault(key, {})
        for failure in ("failed", "left_out"):
            entry.pop(failure, None)
        name = f"{' '.join(place)} ({work.__name__})"
        if self.left < _LEAST:
            entry["left_out"] = "there was no time left for it"
            print(f"left out: {name}", flush=True)
            self._results.write()
            return
        began = time.monotonic()

        def report(piece: isolated.Piece) -> None:
            entry.update(piece)
            self._results.write()

        if self._in_processes:
            reason = isolated.run(work, *arguments, report=report, seconds=self.left)
        else:
            reason = isolated.run_here(work, *arguments, report=report)
        if reason is not None:
            entry["failed"] = reason
        entry["took_seconds"] = time.monotonic() - began
        self._results.write()
        print(f"{name}: {reason or told(entry)} ({entry['took_seconds']:.0f} s)", flush=True)


def told(entry: dict[str, Any]) -> str:
    """One line for the terminal."""
    rates = {key: value["steps_per_second"] for key, value in entry.items() if _has_rate(value)}
    said = [f"{key} {rate:,.0f} steps/s" for key, rate in rates.items()]
    said += [f"{key} {value}" for key, value in entry.items() if isinstance(value, str | bool) and key not in _SAID]
    said += [f"{entry['seconds']:.1f} s"] if isinstance(entry.get("seconds"), float) else []
    said += [f"{entry['times_faster']['median']:.2f} times faster"] if "times_faster" in entry else []
    if isinstance(entry.get("idle"), dict):
        said.append(f"idle {entry['idle']['idle_share']:.0%}")
    return ", ".join(said)


def _has_rate(value: object) -> bool:
    return isinstance(value, dict) and "steps_per_second" in value


def present_tasks() -> list[str]:
    """`uav_nav`, and every humanoid's task that there is."""
    folder = resources.files("robo_ppo.conf") / "task"
    texts = {entry.name.removesuffix(".yaml"): entry.read_text() for entry in folder.iterdir()}
    return ["uav_nav", *sorted(name for name, text in texts.items() if "robo_ppo.tasks.humanoid" in text)]


def _command(arguments: list[str]) -> str:
    """What to type to measure the same; where the results were written is nobody's business."""
    shown = list(arguments)
    while "--out" in shown:
        del shown[(at := shown.index("--out")) : at + 2]
    return "python -m benchmarks.gpu " + shlex.join(text for text in shown if not text.startswith("--out="))


def _without_commit(where: dict[str, Any]) -> dict[str, Any]:
    versions = {name: version for name, version in where["versions"].items() if name != "commit"}
    return where | {"versions": versions}


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="What a GPU makes of the tasks.")
    parser.add_argument("overrides", nargs="*", help="configuration of all runs, as for train.py")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), help=f"of {', '.join(PARTS)}; also a,b,c")
    parser.add_argument("--tasks", nargs="+", help="default: uav_nav and the humanoids")
    parser.add_argument("--worlds", nargs="+", type=int, help=f"default: {_GPU_WORLDS}, without a GPU {_CPU_WORLDS}")
    parser.add_argument("--num-envs", type=int, help="of target, peers and update; default: 8192 or the largest number")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each repeat of a part")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=10, help="of rsl_rl that are timed")
    parser.add_argument("--pairs", type=int, default=9, help="of updates")
    parser.add_argument("--target-seconds", type=float, default=120.0, help="after which a training is given up")
    parser.add_argument("--minutes", type=float, default=60.0, help="for everything; what does not fit is left out")
    parser.add_argument("--device", help="default: cuda where there is one")
    parser.add_argument("--processes", action="store_true", help="one for each measurement also without a GPU")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_intermixed_args()
    arguments.parts = [part for text in arguments.parts for part in text.split(",")]
    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown:
        parser.error(f"--parts: there is no {unknown[0]}; known: {', '.join(PARTS)}")
    return arguments


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
