"""Sweeps against mechanics: where a policy that flies by a law must stop passing is known beforehand."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robo_ppo.config import RunConfig
from robo_ppo.env.environment import Environment
from robo_ppo.env.vector import Observation
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from robo_ppo.shaping.ranges.flying import fly
from robo_ppo.shaping.ranges.held_out import HeldOut, share, told
from robo_ppo.shaping.ranges.sweep import Sweep, load, save, sweep
from tests.env import toy

THRUST_TO_WEIGHT = 4 * 0.2 / (0.04338 * 9.81)  # of the Crazyflie, by its data sheet


class Driver:
    """Drives the cart to its target, slowly enough to brake."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def begin(self) -> None: ...

    def act(self, _observation: Observation, /) -> Tensor:
        measured = self._environment.measured
        wanted = (3.0 * (measured["told"] - measured["place"])).clamp(-0.8, 0.8)  # m/s
        force = 40.0 * (wanted - measured["speed"])
        return self._environment.interface.action.action(force)


class Sleeper(Driver):
    """Does nothing."""

    def act(self, _observation: Observation, /) -> Tensor:
        return torch.full((self._environment.num_envs, 1), (0.0 - toy.LOWER) / (toy.UPPER - toy.LOWER) * 2 - 1)


class Hoverer:
    """Holds a place by a textbook's cascade, with an integral for the thrust: it needs no particular vehicle."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment

    def begin(self) -> None:
        self._sum = torch.zeros(self._environment.num_envs, 1)

    def act(self, _observation: Observation, /) -> Tensor:
        values = self._environment.signals_now(("goal_offset",))
        q, states = values["qpos"][:, 3:7], self._environment.states
        way = states["goal_position"] - values["qpos"][:, :3]
        self._sum = (self._sum + 0.02 * 15.0 * way[:, 2:]).clamp(-20.0, 20.0)
        wanted = 12.0 * way - 5.0 * values["qvel"][:, :3] + torch.tensor([0.0, 0.0, 9.81])
        wanted[:, 2:] += self._sum
        w, x, y, z = q.unbind(1)
        rows = [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]  # the world's z axis in the body
        sideways = torch.stack((torch.zeros_like(w), wanted[:, 0], wanted[:, 1]), 1) / 9.81
        rate = 8.0 * torch.stack((rows[1] * -1 - sideways[:, 2], rows[0] + sideways[:, 1]), 1)
        thrust = 0.04338 * wanted[:, 2:].clamp_min(0.0)
        return self._environment.interface.action.action(torch.cat((thrust, rate, torch.zeros_like(thrust)), 1))


def cart(**changes: Any) -> RunConfig:
    changes = {"seconds": 10.0, "policy": ("place", "speed", "told"), "measurements": {}, **changes}
    return toy.config(ranges={"wind": [-3.0, 3.0]}, **changes)


def hover() -> RunConfig:
    still = [f"task.settings.{name}=0" for name in ("start_tilt", "start_speed", "start_rate", "goal_distance")]
    return compose("task=uav_hover", *still, "task.episode_seconds=4")


@pytest.fixture(scope="module")
def swept() -> Sweep:
    return sweep(cart(), Driver, episodes=6)


def test_a_cart_passes_up_to_the_wind_that_its_force_can_hold(swept: Sweep) -> None:
    """Drag is 0.5 N·s/m: 10 N hold against 20 m/s, 6 N the other way against 12 m/s."""
    wind = swept.parameters["wind"]
    assert (wind.floor, wind.ceiling, wind.nominal) == (-24.0, 24.0, 0.0)
    assert -toy.UPPER / toy.DRAG <= wind.low <= 0.75 * -toy.UPPER / toy.DRAG
    assert 0.75 * -toy.LOWER / toy.DRAG <= wind.high <= -toy.LOWER / toy.DRAG
    assert [p.value for p in wind.points] == sorted(p.value for p in wind.points)
    assert all(p.success >= swept.bar for p in wind.points if wind.low <= p.value <= wind.high)
    assert swept.errors is None, "a task without sensor errors"


def test_a_vehicle_passes_down_to_the_gain_with_which_it_can_lift_itself() -> None:
    gain = sweep(hover(), Hoverer, episodes=5, only=["motor_gain"]).parameters["motor_gain"]
    assert gain.is_factor
    assert 1.0 / THRUST_TO_WEIGHT <= gain.low <= 1.2 / THRUST_TO_WEIGHT


def test_a_sweep_repeats_itself_and_survives_its_file(tmp_path: Path) -> None:
    config = cart(measurements=toy.NOISY, seconds=4.0, settings={"visits": 1})
    first, second = (sweep(config, Driver, episodes=3) for _ in range(2))
    save(first, tmp_path / "deep" / "sweep.json")
    assert load(tmp_path / "deep" / "sweep.json") == first == second
    assert "wind (m/s, nominal 0): passes from" in first.table()
    (tmp_path / "deep" / "sweep.json").write_text("{}")
    with pytest.raises(UserError, match="damaged"):
        load(tmp_path / "deep" / "sweep.json")


def test_positions_and_values_are_inverse(swept: Sweep) -> None:
    for one in swept.parameters.values():
        for position in (-1.0, -0.3, 0.0, 0.7, 1.4):
            assert one.position(one.at(position)) == pytest.approx(position, abs=1e-12)


def test_a_policy_that_never_succeeds_cannot_be_swept() -> None:
    with pytest.raises(UserError, match="none of 3 validation episodes of visits"):
        sweep(cart(seconds=1.0), Sleeper, episodes=3)


def test_the_same_episodes_fly_with_each_value() -> None:
    """Winds of zero, three times over: three times the same flights."""
    flown = fly(cart(), Driver, 4, {"wind": np.zeros(12)})
    steps = flown.steps.reshape(3, 4)
    assert (steps == steps[0]).all()
    assert len(set(steps[0].tolist())) > 1
    assert (steps[0] == fly(cart(), Driver, 4).steps).all()
    assert (steps[0, 1:] == fly(cart(), Driver, 3, {"wind": np.zeros(6)}, first=1).steps.reshape(2, 3)).all()


def test_held_out_worlds_are_the_same_for_everyone_and_other_in_the_test_split(swept: Sweep) -> None:
    config = cart(measurements=toy.NOISY, seconds=4.0, settings={"visits": 1})
    worlds = HeldOut(config, swept)
    names = {world.name for world in worlds.worlds}
    assert names == {"vehicles", "extremes", "sensors", "late commands", "gusts"}
    first, again = (worlds.successes(Driver, 8) for _ in range(2))
    assert first == again
    other = HeldOut(dataclasses.replace(config, seed=5, randomization=config.randomization), swept)
    assert other.successes(Driver, 8) == first, "a run's seed and ranges change nothing"
    scored = share(first, 8)
    assert scored.value == pytest.approx(np.mean(list(first.values())), abs=0.01)
    assert "gusts" in told(first)
    worst = {world.name: world for world in worlds.worlds}
    one = worlds._values(worst["extremes"], 40, "validation", 0)  # pyright: ignore[reportPrivateUsage]
    moved = np.stack([values != swept.parameters[name].nominal for name, values in one.items()])
    assert (moved.sum(0) == 1).all(), "one parameter at a time"
    wind, border = one["wind"][one["wind"] > 0], swept.parameters["wind"].high
    assert wind.min() >= 0.75 * border - 1e-9
    assert wind.max() > border
    test = worlds._values(worst["extremes"], 40, "test", 0)  # pyright: ignore[reportPrivateUsage]
    assert not np.array_equal(test["wind"], one["wind"])


def test_gusts_change_the_wind_and_keep_their_size() -> None:
    """A Gauss-Markov process around the parameter's value: in the long run its deviation is what was asked for."""
    seen: list[Tensor] = []

    class Watcher(Driver):
        def act(self, observation: Observation, /) -> Tensor:
            seen.append(self._environment.states["wind"].clone())
            return super().act(observation)

    fly(cart(seconds=10.0, settings={"visits": 1000}), Watcher, 100, gusts={"wind": 0.5})
    late = torch.stack(seen[100:])
    assert float(late.std()) == pytest.approx(0.5, rel=0.1)
    assert float(torch.stack(seen[0:1]).abs().max()) == 0.0
