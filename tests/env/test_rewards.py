"""The reward: a weighted sum of named terms, and what is refused as a term or a weight."""

import types
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor

from robo_ppo.env.rewards import Reward
from robo_ppo.env.signals import SignalTable, State, signal
from robo_ppo.errors import UserError

CPU = torch.device("cpu")


def progress(distance: Tensor, previous_distance: Tensor) -> Tensor:
    return previous_distance - distance


def margin(distance: Tensor, *, width: float) -> Tensor:
    return -(distance / width).clamp(0.0, 1.0)


def per_axis(velocity: Tensor) -> Tensor:
    return velocity


def mean(distance: Tensor) -> Tensor:
    return distance.mean()


def near(distance: Tensor) -> Tensor:
    return distance < 1.0


def count(distance: Tensor) -> Tensor:
    return (distance < 1.0).long()


def doubled(distance: Tensor) -> Tensor:
    return distance.double()


def misspelt(distanc: Tensor) -> Tensor:
    return distanc


def _helper(distance: Tensor) -> Tensor:
    return distance


def terms(*functions: Callable[..., Tensor]) -> types.ModuleType:
    """A module that defines the given functions."""
    module = types.ModuleType(__name__)
    for function in functions or (progress, margin, per_axis, mean, near, count, doubled, misspelt, _helper):
        setattr(module, function.__name__, function)
    return module


LEAVES = {"distance": State().leaf(), "velocity": State((3,)).leaf()}


def check(config: dict[str, dict[str, Any]]) -> Reward:
    reward = Reward(config, [terms()], CPU)
    reward.check(SignalTable(reward.signals, LEAVES))
    return reward


def test_the_reward_is_the_weighted_sum_of_its_terms() -> None:
    reward = check({"progress": {"weight": 4}, "margin": {"weight": 0.5, "width": 2.0}, "doubled": {"weight": 0}})
    table = SignalTable(reward.signals, LEAVES)
    values = table.graph(reward.outputs)(
        {"distance": torch.tensor([1.0, 5.0]), "previous_distance": torch.tensor([1.5, 4.0])}
    )
    weighted = reward.terms(values)
    assert reward.names == ("progress", "margin", "doubled")
    assert weighted.tolist() == [[2.0, -4.0], [-0.25, -0.5], [0.0, 0.0]]
    assert weighted.dtype == torch.float32


@given(st.lists(st.floats(0, 100, width=32), min_size=2, max_size=2), st.floats(-10, 10, width=32))
def test_weights_multiply(weights: list[float], distance: float) -> None:
    reward = Reward({"margin": {"weight": weights[0], "width": 3.0}, "doubled": {"weight": weights[1]}}, [terms()], CPU)
    values = SignalTable(reward.signals, LEAVES).graph(reward.outputs)({"distance": torch.tensor([distance])})
    expected = [-min(max(distance / 3.0, 0.0), 1.0) * weights[0], distance * weights[1]]
    assert reward.terms(values)[:, 0].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "the reward has no terms"),
        ({"progres": {"weight": 1.0}}, "no reward term 'progres'; did you mean progress"),
        ({"_helper": {"weight": 1.0}}, "no reward term '_helper'"),
        ({"progress": {"weight": -1.0}}, r"reward.progress.weight must be a number ≥ 0, not -1.0; a penalty's term is"),
        ({"progress": {}}, "reward.progress.weight must be a number ≥ 0, not None"),
        ({"progress": {"weight": "much"}}, "reward.progress.weight must be a number ≥ 0, not 'much'"),
        ({"progress": {"weight": True}}, "reward.progress.weight must be a number ≥ 0, not True"),
        ({"progress": {"weight": float("nan")}}, "reward.progress.weight must be a number ≥ 0, not nan"),
        ({"progress": {"weight": float("inf")}}, "reward.progress.weight must be a number ≥ 0, not inf"),
        ({"progress": {"weight": 1.0, "width": 1.0}}, "reward.progress has no setting 'width'"),
        ({"margin": {"weight": 1.0}}, "reward.margin needs the setting width"),
        ({"margin": {"weight": 1.0, "width": "wide"}}, "reward.margin: width must be of type float"),
        (
            {"per_axis": {"weight": 1.0}},
            r"'per_axis' must return one value per environment.*\(num_envs, 3\).*rewards.py",
        ),
        ({"mean": {"weight": 1.0}}, "'reward.mean' must have one row for each environment"),
        ({"near": {"weight": 1.0}}, r"'near' must return floats, not bool; use .float\(\) \(.*test_rewards.py:\d+\)"),
        ({"count": {"weight": 1.0}}, "'count' must return floats, not int64"),
        ({"misspelt": {"weight": 1.0}}, r"'reward.misspelt' \(.*test_rewards.py:\d+\).*did you mean distance"),
    ],
)
def test_mistakes_are_refused(config: dict[str, dict[str, Any]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(config)


def test_what_a_module_of_terms_imports_is_no_term() -> None:
    module = terms(progress)
    module.__dict__["signal"] = signal
    with pytest.raises(UserError, match="no reward term 'signal'; known: progress"):
        Reward({"signal": {"weight": 1.0}}, [module], CPU)
