"""The model's parameters for this machine, and what it then says of every measured point.

points = compare(Measured.read(results))      # each with what was measured, what the model says, and its use
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.scaling.assumed import UAV_NAV
from benchmarks.scaling.model import Card, Costs, Link

_FEW, _MANY = 128, 2048  # worlds of a rank that the fit uses
_LEAST_BYTES = 512
_SUMS = ("shared memory", "messages")


@dataclass(frozen=True)
class Measured:
    """Results as the benchmarks wrote them; those of all cores are of two ranks with 2,048 worlds each."""

    alone: Mapping[int, Mapping[str, float]]  # seconds by worlds of a rank
    sums: Mapping[str, Mapping[str, float]]
    throughput: Mapping[str, Any]
    ranks: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path, name: str = "amd_epyc_2_cores") -> "Measured":
        """Everything that was measured on a machine."""

        def load(benchmark: str) -> Any:
            return json.loads((folder / f"{benchmark}_{name}.json").read_text())

        own = load("scaling")
        alone = {int(worlds): seconds for worlds, seconds in own["processor_seconds"].items()}
        return cls(alone, own["all_reduce_seconds"], load("throughput"), load("ranks"))

    def part(self, name: str) -> float:
        """Seconds of an iteration's worth of a part of `benchmarks.throughput`, all cores busy."""
        found = self.throughput
        return found["microseconds_per_step"][name]["median"] * 1e-6 * found["num_envs"] * found["horizon"]

    def iteration(self, name: str) -> float:
        """Seconds of an iteration in a part of `benchmarks.ranks`."""
        return self.ranks["milliseconds_per_iteration"][name]["median"] * 1e-3


@dataclass(frozen=True)
class Fitted:
    """A rank of this machine."""

    costs: Costs  # while the other core is idle
    busy: float  # times as long while it is not
    physics: float  # s per world and control step, a part of `costs.world`, while it is not
    links: Mapping[str, Link]


def fit(measured: Measured) -> Fitted:
    """Two numbers of worlds, sums of all sizes, and one ratio."""
    work = UAV_NAV
    control_step, world = _line({n: measured.alone[n]["collect"] / work.horizon for n in (_FEW, _MANY)})
    gradient_step, sample = _line({n: measured.alone[n]["update"] / work.gradient_steps for n in (_FEW, _MANY)})
    return Fitted(
        Costs(control_step, world, gradient_step, sample * work.minibatches / work.horizon),
        measured.iteration("side by side") / measured.iteration("alone"),
        measured.part("physics") / (_MANY * work.horizon),
        {way: _link(way, measured.sums[way]) for way in _SUMS},
    )


@dataclass(frozen=True)
class Point:
    """One measured figure beside the model's, in seconds."""

    what: str
    worlds: int
    measured: float
    model: float
    fitted: bool = False

    @property
    def residual(self) -> float:
        """Of the model, relative."""
        return self.model / self.measured - 1.0


def compare(measured: Measured, fitted: Fitted) -> list[Point]:
    """Every point, those of the fit and those that only check it."""
    costs, work = fitted.costs, UAV_NAV
    points: list[Point] = []
    for worlds, seconds in sorted(measured.alone.items()):
        used = worlds in (_FEW, _MANY)
        points.append(Point("collecting, alone", worlds, seconds["collect"], costs.collect(work, worlds), used))
        points.append(Point("update, alone", worlds, seconds["update"], costs.update(work, worlds), used))
    collect, update = costs.collect(work, _MANY), costs.update(work, _MANY)
    both = (collect + update) * fitted.busy
    sums = {way: work.sums(lambda size, link=link: link.all_reduce(size, 2)) for way, link in fitted.links.items()}
    others = (
        ("collecting, both cores (`throughput`)", measured.part("inference"), collect * fitted.busy),
        ("all, shared memory (`throughput`)", measured.part("training"), both + sums["shared memory"]),
        ("all, one rank alone (`ranks`)", measured.iteration("alone"), collect + update),
        *((f"all, {way} (`ranks`)", measured.iteration(way), both + sums[way]) for way in _SUMS),
    )
    return points + [Point(what, _MANY, seconds, model) for what, seconds, model in others]


def card_of(found: Mapping[str, Any], assumed: Card, task: str = "uav_nav") -> Card:
    """A card as `benchmarks.gpu` measured it: lines through its times over the numbers of worlds."""
    worlds = {int(n): entry["training"] for n, entry in found["tasks"][task]["worlds"].items() if "training" in entry}
    if len(worlds) < 2:
        raise SystemExit(f"error: --gpu: a line needs trainings with two numbers of worlds; {task} has {len(worlds)}")
    work, steps = assumed.work, assumed.work.gradient_steps
    control_step, world = _line({n: entry["collect_seconds"] / work.horizon for n, entry in worlds.items()})
    gradient_step, sample = _line({n: entry["update_seconds"] / steps for n, entry in worlds.items()})
    costs = Costs(control_step, world, gradient_step, sample * work.minibatches / work.horizon)
    busy = max(n for n in worlds if n <= max(assumed.worlds, min(worlds)))
    # What no graph holds was not measured: it costs as much more as is assumed.
    slower = max(assumed.gradient_step_of_ranks, gradient_step)
    return Card(f"{task} on {found['setup']['card']['name']}", work, costs, slower, busy)


def _link(name: str, seconds: Mapping[str, float]) -> Link:
    """Latency and bandwidth; over two ranks a sum takes 2 l + B / v.

    Not of a single number: gloo summed that here several times as fast as anything longer.
    """
    constant, slope = _line({int(size): time for size, time in seconds.items() if int(size) >= _LEAST_BYTES})
    return Link(name, constant / 2, 1 / slope)


def _line(points: Mapping[int, float]) -> tuple[float, float]:
    """Constant and slope, neither negative, of least squares of relative errors."""
    x, y = np.array(list(points), float), np.array(list(points.values()))
    columns = np.stack((np.ones_like(x), x), axis=1) / y[:, None]
    constant, slope = np.linalg.lstsq(columns, np.ones_like(y), rcond=None)[0]
    if constant < 0.0:
        constant, slope = 0.0, float(columns[:, 1].sum() / np.square(columns[:, 1]).sum())
    return float(constant), float(slope)
