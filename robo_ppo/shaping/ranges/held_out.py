"""Perturbed worlds that training never uses: what candidates of `target=randomization` are judged by.

    worlds = HeldOut(config, swept)                                      # the same for every candidate
    found = worlds.successes(pilot_of(config, policy), episodes=200)     # {"vehicles": 0.71, "gusts": 0.93, …}
    share(found, 200).value                                              # the score: their mean

A policy that was trained with some ranges passes within them; that proves little. So it is judged elsewhere, in five
kinds of worlds, each of which counts the same (a task without sensors or winds has fewer):

- **vehicles**: every parameter at once, anywhere in the range in which the given policy passed the sweep;
- **extremes**: one parameter in each episode, near that border or up to half as far again beyond it;
- **sensors**: three times the noise, and what the task does not have: offsets, lost samples, a longer delay;
- **late commands**: every command acts one to two control steps later;
- **gusts**: winds and forces that are constant in training change while an episode lasts.

No ranges that may be proposed can train the last two, since no range speaks of them. The values come from a random
stream of their own, and a candidate meets the same values in the same episodes as any other.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from robo_ppo.config import MeasurementConfig, RandomizationConfig, RunConfig
from robo_ppo.env.scenes import Split, seed_of
from robo_ppo.env.task import SUCCESS
from robo_ppo.shaping.ranges.flying import PilotOf, fly
from robo_ppo.shaping.ranges.sweep import Sweep
from robo_ppo.shaping.record import Share, share_of

EXTREME = (0.75, 1.5)  # of the way from the nominal value to the border of what passed
NOISE, DROPOUT = 3.0, 0.05
LATE = (1.0, 2.0)  # control steps
GUSTS = 1.0  # standard deviation, as a share of the larger border of what passed


@dataclass(frozen=True)
class World:
    """One kind of perturbation."""

    name: str
    config: RunConfig  # how the task is flown in it
    positions: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # of each parameter, uniform
    one_at_a_time: bool = False
    gusts: Mapping[str, float] = field(default_factory=dict)


class HeldOut:
    """The worlds of a task, made once from a sweep of the given policy."""

    def __init__(self, config: RunConfig, swept: Sweep) -> None:
        self._swept = swept
        plain = dataclasses.replace(config, randomization=RandomizationConfig(measurement_errors=1.0))
        borders = {n: (one.position(one.low), one.position(one.high)) for n, one in swept.parameters.items()}
        moving = {n: b for n, b in borders.items() if b[0] < b[1]}
        steady = {
            name: GUSTS * max(abs(one.low), abs(one.high))
            for name, one in swept.parameters.items()
            if one.nominal == 0.0 and not one.is_factor and name in moving
        }
        self.worlds = [World("late commands", _late(plain))]
        if moving:
            self.worlds += [World("vehicles", plain, moving), World("extremes", plain, moving, one_at_a_time=True)]
        if config.task.measurements:
            self.worlds.append(World("sensors", _worse(plain)))
        if steady:
            self.worlds.append(World("gusts", plain, gusts=steady))

    def successes(self, pilot: PilotOf, episodes: int, split: Split = "validation", first: int = 0) -> dict[str, float]:
        """Success in each world, in so many episodes of each, from `first` on: others, with other values."""
        found: dict[str, float] = {}
        for world in self.worlds:
            values = self._values(world, episodes, split, first)
            flown = fly(world.config, pilot, episodes, values, split=split, first=first, gusts=world.gusts)
            found[world.name] = float((flown.outcome == SUCCESS).mean())
        return found

    def _values(self, world: World, episodes: int, split: Split, first: int) -> dict[str, np.ndarray]:
        """The value of every parameter in every episode of a world."""
        rng = np.random.default_rng(seed_of("held out", first, *world.name.encode(), *split.encode()))
        names = sorted(world.positions)
        chosen = rng.permuted(np.arange(episodes) % max(1, len(names)))
        values: dict[str, np.ndarray] = {}
        for number, name in enumerate(names):
            low, high = world.positions[name]
            if world.one_at_a_time:
                way, side = rng.uniform(*EXTREME, episodes), rng.random(episodes) < 0.5
                positions = np.where(chosen == number, way * np.where(side, low, high), 0.0)
            else:
                positions = rng.uniform(low, high, episodes)
            values[name] = np.array([self._swept.parameters[name].at(position) for position in positions])
        return values


def share(successes: Mapping[str, float], episodes: int) -> Share:
    """The mean over the worlds, with the interval of as many episodes as were flown."""
    total = episodes * len(successes)
    return share_of(round(sum(successes.values()) * episodes), total)


def told(successes: Mapping[str, float]) -> str:
    """In words."""
    return ", ".join(f"{name} {success:.0%}" for name, success in successes.items())


def _late(config: RunConfig) -> RunConfig:
    period = config.task.timestep * config.task.decimation
    low, high = (limit + steps * period for limit, steps in zip(config.task.action_delay, LATE, strict=True))
    return dataclasses.replace(config, task=dataclasses.replace(config.task, action_delay=[low, high]))


def _worse(config: RunConfig) -> RunConfig:
    """Every measurement with more errors, and with kinds of errors that the task's own does not have."""
    period = config.task.timestep * config.task.decimation
    worse = {
        name: MeasurementConfig(
            noise=NOISE * errors.noise,
            bias=max(NOISE * errors.bias, errors.noise),
            dropout=min(errors.dropout + DROPOUT, 0.5 * (1.0 + errors.dropout)),
            delay=[errors.delay[0], errors.delay[1] + period],
        )
        for name, errors in config.task.measurements.items()
    }
    return dataclasses.replace(config, task=dataclasses.replace(config.task, measurements=worse))
