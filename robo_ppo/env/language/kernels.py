"""What the operations of a program do to tensors: the allow-listed part of torch, and nothing else.

A value is `(num_envs,)` or `(num_envs, …)`. Where two values differ in their number of axes, the shorter one gets axes
behind its own, so that environments always meet the same environments; and what reduces runs over all axes but the
first. So a program cannot mix environments, whatever it writes.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from robo_ppo.env.constants import constant

Number = float | Tensor


def _aligned(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def run(a: Tensor, b: Tensor) -> Tensor:
        if a.ndim == b.ndim:
            return function(a, b)
        return function(_deep(a, b.ndim), _deep(b, a.ndim))

    return run


def _deep(x: Tensor, axes: int) -> Tensor:
    """With as many axes, the new ones behind its own."""
    return x if x.ndim >= axes else x.reshape(*x.shape, *[1] * (axes - x.ndim))


def _tensor(x: Number, like: Tensor) -> Tensor:
    """A number as a tensor on the device of another, made once."""
    if isinstance(x, Tensor):
        return x
    return constant(float(x), like if like.is_floating_point() else like.new_empty((), dtype=torch.float32))


def _numbers(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Number, Number], Tensor]:
    """For operations of torch that want tensors: one of the two may be a number."""

    def run(a: Number, b: Number) -> Tensor:
        if isinstance(a, Tensor):
            return function(_deep(a, _axes(b)), _deep(_tensor(b, a), a.ndim if isinstance(b, Tensor) else 0))
        assert isinstance(b, Tensor)
        return function(_tensor(a, b), b)

    return run


def _axes(x: Number) -> int:
    return x.ndim if isinstance(x, Tensor) else 0


def _maximum(a: Number, b: Number) -> Tensor:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.maximum(_deep(a, b.ndim), _deep(b, a.ndim))
    return torch.clamp(a, min=b) if isinstance(a, Tensor) else torch.clamp(_only(b), min=a)


def _minimum(a: Number, b: Number) -> Tensor:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.minimum(_deep(a, b.ndim), _deep(b, a.ndim))
    return torch.clamp(a, max=b) if isinstance(a, Tensor) else torch.clamp(_only(b), max=a)


def _only(x: Number) -> Tensor:
    assert isinstance(x, Tensor)
    return x


def _clamp(x: Number, low: Number | None, high: Number | None) -> Tensor:
    if isinstance(x, Tensor) and not isinstance(low, Tensor) and not isinstance(high, Tensor):
        return torch.clamp(x, low, high) if low is not None or high is not None else x
    raised = x if low is None else _maximum(x, low) if isinstance(x, Tensor) or isinstance(low, Tensor) else max(x, low)
    return _only(raised if high is None else _minimum(raised, high))


def _where(condition: Tensor, a: Number, b: Number) -> Tensor:
    axes = max(condition.ndim, _axes(a), _axes(b))
    like = a if isinstance(a, Tensor) else b if isinstance(b, Tensor) else condition
    values = [_deep(x, axes) if isinstance(x, Tensor) else _tensor(x, like) for x in (a, b)]
    return torch.where(_deep(condition, axes), *values)


def _over(function: Callable[[Tensor], Tensor], name: str) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        if x.ndim < 2:
            raise ValueError(
                f"{name} runs over the vector of each environment, and this is one number for each; environments "
                "cannot be mixed"
            )
        return function(x if x.ndim == 2 else x.flatten(1))

    return run


def _dot(a: Number, b: Number) -> Tensor:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.ndim < 2 or a.shape != b.shape:
        raise ValueError("dot takes two vectors of the same size")
    return (a * b).flatten(1).sum(1)


def _as_float(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.float()


def _as_condition(x: Tensor) -> Tensor:
    if x.is_floating_point():
        raise ValueError("this needs a condition, such as speed < 1.0, and the signal is a number; compare it")
    return x if x.dtype == torch.bool else x != 0


def _column(x: Tensor, index: int) -> Tensor:
    _check_size(x, index + 1)
    return x[:, index]


def _part(x: Tensor, first: int, last: int | None) -> Tensor:
    _check_size(x, first + 1 if last is None else last)
    if last is not None and last <= first:
        raise ValueError("this takes no part at all")
    return x[:, first:last]


def _check_size(x: Tensor, size: int) -> None:
    if x.ndim < 2:
        raise ValueError("this is one number for each environment and has no parts")
    if size > x.shape[1]:
        raise ValueError(f"this has {x.shape[1]} numbers for each environment, from [:, 0] to [:, {x.shape[1] - 1}]")


WITH_NUMBERS: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name)
    for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lt", "le", "gt", "ge", "eq", "ne")
} | {"logical_and": operator.and_, "logical_or": operator.or_}
"""The signs, where one of the two is a plain number."""

KERNELS: dict[str, Callable[..., Any]] = {
    **{name: _aligned(function) for name, function in WITH_NUMBERS.items()},
    "neg": operator.neg,
    "abs": torch.abs,
    "square": torch.square,
    "sqrt": torch.sqrt,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": torch.log,
    "log1p": torch.log1p,
    "sin": torch.sin,
    "cos": torch.cos,
    "tan": torch.tan,
    "asin": torch.asin,
    "acos": torch.acos,
    "atan": torch.atan,
    "atan2": _numbers(torch.atan2),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": torch.nn.functional.softplus,
    "relu": torch.relu,
    "sign": torch.sign,
    "floor": torch.floor,
    "ceil": torch.ceil,
    "round": torch.round,
    "clamp": _clamp,
    "clip": _clamp,
    "maximum": _maximum,
    "minimum": _minimum,
    "ones_like": torch.ones_like,
    "zeros_like": torch.zeros_like,
    "where": _where,
    "logical_not": torch.logical_not,
    "sum": _over(lambda x: x.sum(1), "sum"),
    "mean": _over(lambda x: x.mean(1), "mean"),
    "norm": _over(lambda x: x.norm(dim=1), "norm"),
    "max": _over(lambda x: x.amax(1), "max"),
    "min": _over(lambda x: x.amin(1), "min"),
    "dot": _dot,
    "any": _over(lambda x: x.any(1), "any"),
    "all": _over(lambda x: x.all(1), "all"),
    "as_float": _as_float,
    "float": _as_float,
    "to_float": lambda x: x.float(),
    "as_condition": _as_condition,
    "column": _column,
    "part": _part,
}
