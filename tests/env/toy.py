"""The smallest robot and task that use everything an environment offers: a cart on a rail that visits places in turn.

Its physics has a closed form (semi-implicit Euler), so that the tests can follow it by hand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from robo_ppo.config import (
    MeasurementConfig,
    ObservationConfig,
    RandomizationConfig,
    RobotConfig,
    RunConfig,
    TaskConfig,
)
from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment
from robo_ppo.env.robot import ActionInterface, Parameter, Robot, Scale
from robo_ppo.env.scenes import Columns
from robo_ppo.env.signals import State, measurement, signal
from robo_ppo.env.task import Rewrite, Task
from tests.env import toy_terms

MASS, DRAG, TIMESTEP, DECIMATION = 2.0, 0.5, 0.01, 3
LOWER, UPPER = -6.0, 10.0  # N
NEAR, FAR = 0.15, 2.0  # m

XML = f"""
<mujoco>
  <option timestep="{TIMESTEP}" gravity="0 0 0"/>
  <worldbody>
    <body name="cart"><joint name="rail" type="slide" axis="1 0 0"/><geom size=".1" mass="{MASS}"/></body>
  </worldbody>
  <actuator><motor joint="rail"/></actuator>
</mujoco>
"""


class Cart(Robot):
    """A cart on a rail, pushed by a force."""

    name = "cart"
    radius = 0.1

    def __init__(self, action: str) -> None:
        self.action = ActionInterface((action,), ("N",), (LOWER,), (UPPER,))

    @override
    def spec(self) -> mujoco.MjSpec:
        return mujoco.MjSpec.from_string(XML)

    @override
    def parameters(self) -> dict[str, Parameter]:
        return {"mass": Parameter("1", 1.0, (Scale("body_mass", (1,)),)), "wind": Parameter("m/s", 0.0)}

    @override
    def drives(self) -> dict[str, str]:
        return {"qfrc_applied": "air"}

    @measurement(unit="m", frame="world")
    def place(self, qpos: Tensor) -> Tensor:
        return qpos

    @measurement(unit="m/s", frame="world")
    def speed(self, qvel: Tensor) -> Tensor:
        return qvel

    @signal(unit="N")
    def air(self, qvel: Tensor, wind: Tensor) -> Tensor:
        return DRAG * (wind.unsqueeze(1) - qvel)


class CartWithOdometer(Cart):
    """With a measurement that is a single number."""

    @measurement(unit="m", frame="world")
    def odometer(self, qpos: Tensor) -> Tensor:
        return qpos[:, 0]


@dataclass(frozen=True)
class VisitsSettings:
    """What an episode asks for."""

    visits: int = 3
    near: float = NEAR  # m; at 0 nothing is ever reached


class Visits(Task):
    """Go to the target; each time it is reached, it moves to the other side."""

    Settings = VisitsSettings
    settings: VisitsSettings
    failures = ("too_far",)

    @override
    def sources(self) -> Sequence[object]:
        return ()

    @override
    def terms(self) -> Sequence[object]:
        return (toy_terms,)

    @override
    def scenes(self, rng: np.random.Generator, count: int) -> Columns:
        return {
            "qpos": rng.uniform(-1.0, 1.0, (count, 1)),
            "qvel": rng.uniform(-1.0, 1.0, (count, 1)),
            "target": rng.uniform(0.5, 1.5, (count, 1)),
        }

    @override
    def states(self) -> dict[str, State]:
        return {
            "target": State((1,), "m", "world"),
            "visited": State((), initial=0.0),
            "near_steps": State((), follows="near_now"),
        }

    @override
    def advance(self, values: Mapping[str, Tensor]) -> Rewrite | None:
        reached = values["gap"] < self.settings.near
        return Rewrite(reached, {"target": -values["target"], "visited": values["visited"] + 1.0})

    @override
    def advance_signals(self) -> tuple[str, ...]:
        return ("gap", "visited", "target")

    @measurement(unit="m", frame="world")
    def told(self, target: Tensor) -> Tensor:
        return target

    @signal(unit="m")
    def gap(self, place: Tensor, told: Tensor) -> Tensor:
        return (told - place).abs()[:, 0]

    @signal(unit="m")
    def gained(self, gap: Tensor, previous_gap: Tensor) -> Tensor:
        return previous_gap - gap

    @signal(unit="m")
    def way(self, place: Tensor, previous_place: Tensor) -> Tensor:
        return (place - previous_place).abs()[:, 0]

    @signal(unit="m")
    def more_way(self, way: Tensor, previous_way: Tensor) -> Tensor:
        return way - previous_way

    @signal()
    def near_now(self, gap: Tensor, near_steps: Tensor) -> Tensor:
        return torch.where(gap < 5.0 * NEAR, near_steps + 1.0, 0.0)

    @signal()
    def drift(self, qvel: Tensor) -> Tensor:
        return 2.0 * qvel[:, 0]

    @signal()
    def success(self, visited: Tensor) -> Tensor:
        return visited >= self.settings.visits

    @signal()
    def too_far(self, place: Tensor) -> Tensor:
        return place.abs()[:, 0] > FAR


class Ranged(Visits):
    """The cart stays as far from the middle as episodes let it go, and one step farther."""

    @signal(unit="m", range=(0.0, FAR + 0.5))
    @override
    def gap(self, place: Tensor, told: Tensor) -> Tensor:
        return place.abs()[:, 0]


class RangedTooNarrowly(Visits):
    """Episodes begin out of the range."""

    @signal(unit="m", range=(0.0, 1e-6))
    @override
    def gap(self, place: Tensor, told: Tensor) -> Tensor:
        return place.abs()[:, 0]


class EndsByNumber(Visits):
    """A success that is no bool."""

    @signal()
    @override
    def success(self, visited: Tensor) -> Tensor:
        return visited


class EndsByAxis(Visits):
    """A success with a value for each axis."""

    @signal()
    def success(self, place: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return place > 1.0


class EndsByLetters(Visits):
    """Names its only failure without making a tuple of it."""

    failures = "too_far"  # pyright: ignore[reportAssignmentType]


NOISY = {
    "place": {"noise": 0.05, "bias": 0.1, "delay": [0.0, 0.05]},
    "told": {"dropout": 0.3},
    "speed": {"noise": 0.1},
}
SEEN = ("gap", "gained", "place", "speed", "last_action")
POLICY = ("gap", "gained", "place", "last_action")
CRITIC = ("near_steps", "way", "wind")
REWARD = {"gain": {"weight": 2.0}, "effort": {"weight": 0.1, "power": 2}}
RANGES = {"mass": [0.5, 2.0], "wind": [-1.0, 1.0]}


def config(**changes: Any) -> RunConfig:
    """A run of the toy; `changes` are fields of its task, or `reward`, `seed`, `ranges` and `errors`."""
    task = TaskConfig(
        name="visits",
        entry_point="tests.env.toy:Visits",
        episode_seconds=changes.pop("seconds", 1.5),
        timestep=TIMESTEP,
        decimation=DECIMATION,
        observation=ObservationConfig(
            policy={name: {} for name in changes.pop("policy", POLICY)},
            critic={name: {} for name in changes.pop("critic", CRITIC)},
            history=changes.pop("history", 1),
        ),
        measurements={name: MeasurementConfig(**e) for name, e in changes.pop("measurements", {}).items()},
        settings=changes.pop("settings", {}),
        action_delay=changes.pop("action_delay", [0.0, 0.0]),
    )
    run = RunConfig(
        task=task,
        robot=RobotConfig(changes.pop("robot", "tests.env.toy:Cart"), "force"),
        reward=changes.pop("reward", REWARD),
        randomization=RandomizationConfig(changes.pop("ranges", RANGES), changes.pop("errors", 1.0)),
        seed=changes.pop("seed", 0),
    )
    run.sim.threads = 1
    for key, value in changes.items():
        setattr(task, key, value)
    return run


def environment(num_envs: int = 16, split: Any = "validation", episodes: int = 512, **changes: Any) -> Environment:
    """An environment of the toy; keywords are those of `config`, `rank`, `ranks` and `extra_signals`."""
    own = {name: changes.pop(name) for name in ("rank", "ranks", "extra_signals") if name in changes}
    return build(config(**changes), split, num_envs, episodes=episodes, **own)


def actions(step: int, num_envs: int = 16) -> Tensor:
    """Pushes that drive a cart about, some of them beyond the limits."""
    return torch.randn(num_envs, 1, generator=torch.Generator().manual_seed(1000 + step)) * 1.2


def close(found: Tensor, expected: list[list[float]] | Tensor) -> None:
    """Refuse what is not the truth to single precision."""
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=torch.float32), atol=2e-5, rtol=0)


def rollout(env: Environment, steps: range) -> list[Tensor]:
    """All that some steps returned."""
    taken: list[Tensor] = []
    for step in steps:
        t = env.step(actions(step))
        taken += [t.reward, t.observation["critic"], t.final_observation["critic"], t.terminated, t.truncated]
    return taken
