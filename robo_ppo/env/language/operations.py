"""The operations that a reward program may call: what each takes and gives, and what it does to plain numbers.

What they do to tensors is in `kernels.py`. This module knows no torch, so that a mistake in a program is told before
anything heavy is imported. A value is one number or one vector per environment; nothing here can mix environments.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Numbers = Callable[..., Any]
CONSTANTS = {"pi": math.pi}


@dataclass(frozen=True)
class Operation:
    """One row of the table."""

    parameters: tuple[str, ...]  # that ends with "=" may be left out; "condition" is true or false
    says: str
    group: str
    on_numbers: Numbers | None = None  # None: it needs a tensor
    gives: str = "float"  # or condition, or choice: what its last two parameters are

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(name.rstrip("=") for name in self.parameters)

    @property
    def least(self) -> int:
        """Fewest arguments."""
        return sum(not name.endswith("=") for name in self.parameters)


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def _clamp(x: float, low: float | None = None, high: float | None = None) -> float:
    x = x if low is None else max(x, low)
    return x if high is None else min(x, high)


def _choose(condition: bool, x: float, y: float) -> float:
    return x if condition else y


def _each(says: str, on_numbers: Numbers, *parameters: str) -> Operation:
    return Operation(parameters or ("x",), says, "of each number", on_numbers)


def _over(says: str, *parameters: str, gives: str = "float") -> Operation:
    return Operation(parameters or ("x",), says, "over the vector of each environment", None, gives)


def _logic(says: str, on_numbers: Numbers, *parameters: str) -> Operation:
    return Operation(parameters, says, "of conditions", on_numbers, "condition")


_CLAMP = _each("x, but not below min nor above max", _clamp, "x", "min=", "max=")
_POWER = _each("x to the power of y", math.pow, "x", "y")
_ATAN2 = _each("angle of the point (x, y), rad", math.atan2, "y", "x")

OPERATIONS: dict[str, Operation] = {
    "abs": _each("magnitude", abs),
    "square": _each("x·x", lambda x: x * x),
    "sqrt": _each("square root", math.sqrt),
    "exp": _each("e to the power of x", math.exp),
    "expm1": _each("exp(x) - 1", math.expm1),
    "log": _each("natural logarithm", math.log),
    "log1p": _each("log(1 + x)", math.log1p),
    "sin": _each("sine", math.sin),
    "cos": _each("cosine", math.cos),
    "tan": _each("tangent", math.tan),
    "asin": _each("inverse sine", math.asin),
    "acos": _each("inverse cosine", math.acos),
    "atan": _each("inverse tangent", math.atan),
    "atan2": _ATAN2,
    "tanh": _each("hyperbolic tangent", math.tanh),
    "sigmoid": _each("1 / (1 + exp(-x))", _sigmoid),
    "softplus": _each("log(1 + exp(x))", lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x)))),
    "relu": _each("x where it is positive, else 0", lambda x: max(x, 0.0)),
    "sign": _each("-1, 0 or 1", lambda x: float((x > 0) - (x < 0))),
    "floor": _each("next whole number below", lambda x: float(math.floor(x))),
    "ceil": _each("next whole number above", lambda x: float(math.ceil(x))),
    "round": _each("nearest whole number", lambda x: float(round(x))),
    "pow": _POWER,
    "clamp": _CLAMP,
    "clip": _CLAMP,
    "maximum": _each("the larger of two", max, "x", "y"),
    "minimum": _each("the smaller of two", min, "x", "y"),
    "float": _each("a condition as 1 and 0", float),
    "ones_like": Operation(("x",), "1 for each of x", "of each number"),
    "zeros_like": Operation(("x",), "0 for each of x", "of each number"),
    "where": Operation(
        ("condition", "x", "y"), "x where the condition holds, else y", "of conditions", _choose, "choice"
    ),
    "logical_and": _logic("both hold; as `and`", lambda a, b: a and b, "condition", "condition"),
    "logical_or": _logic("one of them holds; as `or`", lambda a, b: a or b, "condition", "condition"),
    "logical_not": _logic("it does not hold; as `not`", lambda a: not a, "condition"),
    "sum": _over("sum"),
    "mean": _over("mean"),
    "norm": _over("Euclidean length"),
    "max": _over("largest; with two parameters as maximum"),
    "min": _over("smallest; with two parameters as minimum"),
    "dot": _over("sum of the products of two vectors", "x", "y"),
    "any": _over("one of the conditions holds", "condition", gives="condition"),
    "all": _over("all conditions hold", "condition", gives="condition"),
}
"""What a program may call, by name."""

ARITHMETIC: dict[str, Numbers] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "truediv": lambda a, b: a / b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "pow": math.pow,
    "neg": lambda a: -a,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}
"""What stands behind the signs, on plain numbers."""


def on_numbers(operation: str) -> Numbers:
    """What an operation does to plain numbers."""
    if operation in ARITHMETIC:
        return ARITHMETIC[operation]
    found = OPERATIONS[operation].on_numbers
    assert found is not None
    return found
