"""`debug=true`: the first signal that is wrong is named, with where it is written and what it was computed from."""

import re
from collections.abc import Mapping
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from robo_ppo.env.build import build
from robo_ppo.env.checks import SignalChecks
from robo_ppo.env.signals import Leaf, SignalTable, collect, signal
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from tests.env import toy


@signal()
def root(x: Tensor) -> Tensor:
    """Not a number below 0."""
    return torch.sqrt(x)


@signal(range=(0.0, 2.0))
def half(root: Tensor) -> Tensor:
    return root / 2.0


@signal()
def pair(x: Tensor, half: Tensor) -> Tensor:
    return torch.stack((x, half), 1)


@signal(unit="quaternion")
def turn(x: Tensor) -> Tensor:
    return torch.stack((x, x, x, x), 1)


TABLE = SignalTable(collect(SimpleNamespace(root=root, half=half, pair=pair, turn=turn)), {"x": Leaf((), "field")})
AGES, IDS = torch.tensor([4, 5, 6]), torch.tensor([10, 11, 12])


def check(name: str, x: list[float], wrong: Mapping[str, Tensor] | None = None) -> None:
    graph = TABLE.graph([name])
    SignalChecks(TABLE).check(graph, graph({"x": torch.tensor(x)}) | dict(wrong or {}), AGES, IDS)


def test_what_is_right_passes() -> None:
    check("pair", [0.0, 1.0, 16.0])
    check("turn", [0.5, -0.5, 0.5])


@pytest.mark.parametrize(
    ("name", "x", "wrong", "message"),
    [
        ("pair", [1.0, -4.0, 1.0], {}, "'root' is not finite in step 5 of episode 11: nan, from x = -4 ("),
        (
            "pair",
            [1.0, 1.0, 25.0],
            {},
            "'half' is out of its range from 0 to 2 in step 6 of episode 12: 2.5, from root",
        ),
        ("turn", [0.5, 0.5, 0.6], {}, "'turn' is no unit quaternion in step 6 of episode 12: (0.6, 0.6, 0.6, 0.6)"),
        ("pair", [1.0, 1.0, 1.0], {"half": torch.ones(3, 1)}, "'half' has the shape (3, 1), not (3,)"),
    ],
)
def test_the_first_offender_is_named(name: str, x: list[float], wrong: dict[str, Tensor], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as error:
        check(name, x, wrong)
    assert re.search(rf"\({re.escape(__file__)}:\d+\)$", str(error.value))


def test_shipped_tasks_stay_in_their_ranges() -> None:
    """With random actions, through many ends of episodes and broken sensors."""
    for task in ("uav_hover", "uav_nav"):
        env = build(compose(f"task={task}", "randomization=strong", "debug=true"), "train", 64, episodes=64)
        env.reset()
        generator = torch.Generator().manual_seed(0)
        for _ in range(60):
            env.step(torch.rand(64, 4, generator=generator) * 2.0 - 1.0)


def test_what_follows_an_end_is_not_looked_at() -> None:
    graph = TABLE.graph(["root"])
    values = graph({"x": torch.tensor([1.0, -4.0, 1.0])})
    over = torch.tensor([False, True, False])
    SignalChecks(TABLE).check(graph, values, AGES, IDS, over)
    with pytest.raises(UserError, match="step 5 of episode 11"):
        SignalChecks(TABLE).check(graph, values, AGES, IDS, ~over)


def test_episodes_are_followed_to_their_end_and_no_further() -> None:
    """An evaluation goes on stepping what has ended, and the cart leaves its range."""
    run = toy.config(entry_point="tests.env.toy:Ranged", ranges={}, settings={"near": 0.0})
    run.debug = True
    env = build(run, "test", 4, episodes=4)
    env.reset()
    gaps = [env.step(torch.ones(4, 1), restart=False).values["gap"] for _ in range(env.max_episode_steps)]
    assert bool((gaps[-1] > toy.FAR + 0.5).all())


def test_an_episode_is_looked_at_from_its_beginning() -> None:
    run = toy.config(entry_point="tests.env.toy:RangedTooNarrowly", ranges={})
    run.debug = True
    env = build(run, "test", 4, episodes=4)
    with pytest.raises(UserError, match="'gap' is out of its range from 0 to 1e-06 in step 0 of episode 0"):
        env.reset()
