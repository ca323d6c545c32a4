"""What a function raises is told with the line of it that failed, without numbers and in the middle of a run."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from robo_ppo.env.signals import Quantity, Signal, SignalTable, with_settings
from robo_ppo.errors import UserError
from tests.env.test_signals import LEAVES, table


def with_a_mistake(position: Tensor, last_action: Tensor) -> Tensor:
    moved = position + 1.0
    return added(moved, last_action)


def added(one: Tensor, other: Tensor) -> Tensor:
    wider = torch.cat((one, one), 1)
    return wider + other


def misspelt(position: Tensor) -> Tensor:
    first = position[:, 0]
    return first + frist  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


def branching(position: Tensor) -> Tensor:
    if position.sum() > 0.0:
        return position
    return -position


def constant(position: Tensor) -> Tensor:
    origin = torch.tensor([1.0, 2.0, 3.0])
    return position - origin


def picky(position: Tensor) -> Tensor:
    moved = position + 1.0
    return torch.linalg.cholesky(moved[:, :, None] * moved[:, None, :])


def strict(position: Tensor) -> Tensor:
    if position.is_meta:
        return position
    raise UserError("the arm has no camera")


def line_of(function: Callable[..., Tensor], offset: int) -> str:
    return rf"\(.*test_failing_signals.py:{function.__code__.co_firstlineno + offset}\)$"


@pytest.mark.parametrize(
    ("function", "said", "line"),
    [
        (with_a_mistake, "fails on position (3, 3), last_action (3, 4): RuntimeError: ", line_of(added, 2)),
        (misspelt, "fails on position (3, 3): NameError: name 'frist' is not defined", line_of(misspelt, 2)),
        (branching, "all environments are computed at once; use torch.where", line_of(branching, 1)),
        (constant, "not where its signals are; make it with constant(…, position)", line_of(constant, 2)),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_fails_without_numbers_is_told_with_the_line_that_failed(
    function: Callable[..., Tensor], said: str, line: str
) -> None:
    signals = table(function)
    with pytest.raises(UserError, match=re.escape(said) + ".*" + line):
        signals.shapes(signals.graph([function.__name__]))


def test_what_fails_on_numbers_is_told_with_the_line_that_failed() -> None:
    signals = table(picky)
    graph = signals.graph(["picky"])
    assert signals.shapes(graph)["picky"] == (3, 3)
    with pytest.raises(
        UserError, match=r"^'picky' fails on position \(2, 3\): _LinAlgError: .*" + line_of(picky, 2)
    ) as raised:
        graph({"qpos": torch.zeros(2, 7)})
    assert isinstance(raised.value.__cause__, RuntimeError), "the stack trace is kept"


def test_a_setting_does_not_hide_the_line() -> None:
    def scaled(position: Tensor, *, factor: float) -> Tensor:
        return position * torch.ones(int(factor))

    filled = with_settings(scaled, {"factor": 4.0}, "reward.scaled")
    graph = SignalTable({"scaled": Signal("scaled", filled, ("qvel",), Quantity())}, LEAVES).graph(["scaled"])
    with pytest.raises(UserError, match=r"^'scaled' fails on qvel \(2, 6\): .*" + line_of(scaled, 1)):
        graph({"qvel": torch.zeros(2, 6)})


def test_what_a_function_says_itself_is_left_as_it_is() -> None:
    signals = table(strict)
    graph = signals.graph(["strict"])
    assert signals.shapes(graph)["strict"] == (3,)
    with pytest.raises(UserError, match=r"^the arm has no camera$"):
        graph({"qpos": torch.zeros(2, 7)})
