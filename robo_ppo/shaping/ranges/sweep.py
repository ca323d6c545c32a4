"""Sweeps each physical parameter for the range in which a policy still passes.

    swept = sweep(config, pilot)                 # seconds: a few batches of validation episodes
    swept.parameters["motor_gain"].low           # 0.62: below, success is less than 90 % of the nominal vehicle's
    print(swept.table())

One parameter at a time has another value, all others are nominal and the sensors are as the task says. All values fly
side by side in the same episodes: first a grid outwards from the nominal value, then the border between the last value
that passed and the first that failed is halved a few times. Factors are looked at from a quarter to the fourfold,
forces and winds up to several times what is configured; a policy that passes there too passes "to the end".
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robo_ppo.config import RandomizationConfig, RunConfig, TaskConfig
from robo_ppo.env.build import make_task
from robo_ppo.env.robot import Parameter
from robo_ppo.env.task import SUCCESS
from robo_ppo.errors import UserError
from robo_ppo.shaping.documents import from_json, write_json
from robo_ppo.shaping.ranges.flying import PilotOf, fly

FILE = "sweep.json"
ERRORS = "measurement_errors"
BAR = 0.9  # of the nominal success: what passes
EPISODES = 100  # at each value
GRID = (0.25, 0.5, 0.75, 1.0)  # of the way to the end, on either side
HALVINGS = 3
FOLD = 4.0  # factors reach from 1 / FOLD to FOLD
REACH = 8.0  # times the widest configured range of a state of the same unit
DEFAULT_REACH = 1.0  # of a state where no range is configured
ERROR_FACTORS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0)


@dataclass(frozen=True)
class Point:
    """A value that was flown."""

    value: float
    success: float


@dataclass(frozen=True)
class Swept:
    """One parameter: where the policy passes, and how far anybody looked."""

    unit: str
    nominal: float
    is_factor: bool  # its steps are ratios
    low: float  # the policy passes from here
    high: float  # to here
    floor: float  # looked at from here
    ceiling: float  # to here
    points: list[Point]  # by value

    def at(self, position: float) -> float:
        """The value at a position: 0 nominal, -1 the floor, 1 the ceiling, and beyond."""
        end = self.ceiling if position > 0.0 else self.floor
        if self.is_factor:
            return self.nominal * (end / self.nominal) ** abs(position)
        return self.nominal + (end - self.nominal) * abs(position)

    def position(self, value: float) -> float:
        """Inverse of `at`; a factor of 0 lies at the floor's own distance beyond it."""
        side = 1.0 if value > self.nominal else -1.0
        end = self.ceiling if value > self.nominal else self.floor
        if self.is_factor:
            return side * (math.log(value / self.nominal) / math.log(end / self.nominal) if value > 0.0 else 2.0)
        return side * (value - self.nominal) / (end - self.nominal)


@dataclass(frozen=True)
class Sweep:
    """What was found of a policy."""

    success: float  # of the nominal vehicle
    episodes: int  # at each value
    bar: float  # success from which a value passes
    parameters: dict[str, Swept]
    errors: Swept | None  # the factor on all sensor errors; None: the task has none

    def table(self) -> str:
        """In words, a line for each parameter."""
        lines = [f"nominal: success {self.success:.0%} of {self.episodes} episodes; from {self.bar:.0%} a value passes"]
        for name, one in [*self.parameters.items(), *([(ERRORS, self.errors)] if self.errors else [])]:
            ends = [
                f"{value:.3g}{' (the end)' if value == end else ''}"
                for value, end in ((one.low, one.floor), (one.high, one.ceiling))
            ]
            unit = "factor" if one.is_factor else one.unit
            flown = ", ".join(f"{point.value:.3g}: {point.success:.0%}" for point in one.points)
            lines.append(f"{name} ({unit}, nominal {one.nominal:g}): passes from {ends[0]} to {ends[1]}; flown {flown}")
        return "\n".join(lines)


def sweep(
    config: RunConfig, pilot: PilotOf, *, episodes: int = EPISODES, bar: float = BAR, only: Sequence[str] | None = None
) -> Sweep:
    """Where a policy passes, for every parameter of the robot (or `only` some); a `UserError` where it never does."""
    config = _nominal(config)
    axes = _axes(config, make_task(config).robot.parameters(), only)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in axes}  # position, success

    def look(wanted: Sequence[tuple[str, float]]) -> None:
        flown = _successes(config, pilot, episodes, axes, wanted)
        for (name, position), success in zip(wanted, flown, strict=True):
            found[name].append((position, success))

    nominal = fly(config, pilot, episodes).success
    if nominal == 0.0:
        raise UserError(
            f"the policy succeeds in none of {episodes} validation episodes of {config.task.name} with the nominal "
            "vehicle, so there is nothing to sweep; begin with one that does (more total_steps, or init=<run>)"
        )
    bar *= nominal
    sides = [(name, side) for name in axes for side in (-1.0, 1.0)]
    if sides:
        look([(name, side * step) for name, side in sides for step in GRID])
    for _ in range(HALVINGS):
        borders = [(name, _border(found[name], side, bar)) for name, side in sides]
        middles = [(name, 0.5 * sum(border)) for name, border in borders if border is not None]
        if middles:
            look(middles)
    parameters = {name: _swept(axis, found[name], bar) for name, axis in axes.items()}
    return Sweep(nominal, episodes, bar, parameters, _errors(config, pilot, episodes, nominal, bar))


def has_errors(task: TaskConfig) -> bool:
    """Whether a factor on a task's sensor errors and delays changes anything."""
    measured = any(e.noise or e.bias or e.dropout or e.delay[1] for e in task.measurements.values())
    return measured or any(task.action_delay)


def save(swept: Sweep, path: Path) -> None:
    """Keep a sweep as JSON."""
    write_json(path, dataclasses.asdict(swept))


def load(path: Path) -> Sweep:
    """A sweep that was kept; a `UserError` where it is damaged."""
    try:
        return from_json(Sweep, path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is damaged, or of another version: {error}") from error


def _nominal(config: RunConfig) -> RunConfig:
    """Without any ranges but with the task's own sensor errors; the ranges say how far to look."""
    randomization = RandomizationConfig(config.randomization.parameters, 1.0)
    return dataclasses.replace(config, randomization=randomization)


def _axes(config: RunConfig, parameters: Mapping[str, Parameter], only: Sequence[str] | None) -> dict[str, Swept]:
    """How far to look at each parameter; nothing has passed yet."""
    configured = config.randomization.parameters
    reach: dict[str, float] = {}
    for name, limits in configured.items():
        if name in parameters and not _is_factor(parameters[name]):
            unit, nominal = parameters[name].unit, parameters[name].nominal
            reach[unit] = max([reach.get(unit, 0.0), *(abs(limit - nominal) for limit in limits)])
    axes: dict[str, Swept] = {}
    for name, one in parameters.items():
        if only is not None and name not in only:
            continue
        n = one.nominal
        if _is_factor(one):
            floor, ceiling = n / FOLD, n * FOLD
        else:
            far = REACH * reach.get(one.unit, 0.0) or DEFAULT_REACH
            floor, ceiling = n - far, n + far
        axes[name] = Swept(one.unit, n, _is_factor(one), n, n, floor, ceiling, [])
    return axes


def _is_factor(parameter: Parameter) -> bool:
    """Whether a parameter's steps are ratios: it scales the model, or is a positive number without a unit."""
    return bool(parameter.scales) or (parameter.unit == "1" and parameter.nominal > 0.0)


def _successes(
    config: RunConfig, pilot: PilotOf, episodes: int, axes: Mapping[str, Swept], wanted: Sequence[tuple[str, float]]
) -> list[float]:
    """Success at each wanted (parameter, position), all in the same episodes."""
    values = {name: np.full((len(wanted), episodes), axis.nominal) for name, axis in axes.items()}
    for row, (name, position) in enumerate(wanted):
        values[name][row] = axes[name].at(position)
    flown = fly(config, pilot, episodes, {name: v.reshape(-1) for name, v in values.items()})
    return (flown.outcome == SUCCESS).reshape(len(wanted), episodes).mean(1).tolist()


def _border(found: Sequence[tuple[float, float]], side: float, bar: float) -> tuple[float, float] | None:
    """Positions of the last value that passed and the first that failed, outwards; None where all passed."""
    passed = 0.0
    for position, success in sorted((p for p in found if p[0] * side > 0.0), key=lambda p: p[0] * side):
        if success < bar:
            return passed, position
        passed = position
    return None


def _swept(axis: Swept, found: Sequence[tuple[float, float]], bar: float) -> Swept:
    low, high = (side if b is None else b[0] for side in (-1.0, 1.0) for b in [_border(found, side, bar)])
    points = [Point(axis.at(position), success) for position, success in sorted(found)]
    return dataclasses.replace(axis, low=axis.at(low), high=axis.at(high), points=points)


def _errors(config: RunConfig, pilot: PilotOf, episodes: int, nominal: float, bar: float) -> Swept | None:
    """The largest factor on all sensor errors that passes; what is better than nominal is taken to pass."""
    if not has_errors(config.task):
        return None
    most_dropout = max((e.dropout for e in config.task.measurements.values()), default=0.0)
    factors = [factor for factor in ERROR_FACTORS if factor * most_dropout < 1.0]
    points = [Point(1.0, nominal)]
    passed = 1.0
    for factor in factors:
        success = _with_errors(config, factor, pilot, episodes)
        points.append(Point(factor, success))
        if success < bar:
            break
        passed = factor
    return Swept("1", 1.0, False, 0.0, passed, 0.0, factors[-1] if factors else 1.0, points)


def _with_errors(config: RunConfig, factor: float, pilot: PilotOf, episodes: int) -> float:
    randomization = RandomizationConfig(measurement_errors=factor)
    return fly(dataclasses.replace(config, randomization=randomization), pilot, episodes).success
