"""Typed values in numbered registers, and the steps that compute them: what a function of a program is compiled to.

Every value has a kind that is known before anything runs: a plain number or truth (of settings and constants), floats
or conditions of every environment, or a signal, which may be either. Constants are computed here; all numbers are
floats, so that none of it can take long.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, NoReturn

from robo_ppo.env.language.operations import on_numbers
from robo_ppo.env.language.text import refuse

Kind = Literal["number", "truth", "float", "condition", "signal"]
Constant = float | bool | int | None
LARGEST = 1e9  # of a constant


@dataclass(frozen=True)
class Step:
    """One operation: what it reads, where it writes, what nobody needs after it."""

    operation: str
    inputs: tuple[int, ...]
    output: int
    line: int
    plain: bool  # on plain numbers; else on tensors
    dead: tuple[int, ...] = ()


@dataclass(frozen=True)
class Code:
    """A compiled function. Registers: the signals, then the settings, then whatever the steps write."""

    name: str
    says: str
    line: int
    signals: tuple[str, ...]
    settings: dict[str, float | None]  # with their defaults; None: must be given
    constants: dict[int, Constant]
    steps: tuple[Step, ...]
    result: int
    registers: int


@dataclass(frozen=True)
class Value:
    """Where a value is and what kind it has."""

    register: int
    kind: Kind


@dataclass
class Registers:
    """Where the values of one function are put, and the steps that put them there."""

    where: str
    terms: tuple[str, ...]  # names of all functions of the program, for messages
    names: dict[str, Value] = field(default_factory=dict)
    constants: dict[int, Constant] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    registers: int = 0
    line: int = 1
    converted: dict[tuple[int, str], Value] = field(default_factory=dict)

    def refuse(self, reason: str) -> NoReturn:
        """Say what is wrong with the line at hand."""
        refuse(self.where, self.line, reason)

    def new(self) -> int:
        """A fresh register."""
        self.registers += 1
        return self.registers - 1

    def constant(self, value: float | bool) -> Value:
        """A number that is known now."""
        if isinstance(value, float) and not abs(value) <= LARGEST:
            self.refuse(f"the number {value:g} is too large; at most {LARGEST:g}")
        register = self.new()
        self.constants[register] = value
        return Value(register, "truth" if isinstance(value, bool) else "number")

    def column(self, value: int | None) -> Value:
        """A place in a vector."""
        register = self.new()
        self.constants[register] = value
        return Value(register, "number")

    def emit(self, operation: str, inputs: list[Value], kind: Kind) -> Value:
        """Append a step, or compute it now where all its inputs are known."""
        plain = kind in ("number", "truth")
        if plain and all(value.register in self.constants for value in inputs):
            return self.constant(self.fold(operation, inputs))
        output = self.new()
        self.steps.append(Step(operation, tuple(v.register for v in inputs), output, self.line, plain))
        return Value(output, kind)

    def fold(self, operation: str, inputs: list[Value]) -> float | bool:
        """Compute with constants."""
        try:
            found = on_numbers(operation)(*[self.constants[value.register] for value in inputs])
        except ZeroDivisionError:
            self.refuse("this divides by zero")
        except (ArithmeticError, ValueError):
            self.refuse("this has no value that is a number")
        return found if isinstance(found, bool) else float(found)

    def as_float(self, value: Value) -> Value:
        """As numbers: a condition counts as 1 and 0."""
        if value.kind in ("number", "float"):
            return value
        if value.kind == "truth":
            return self.emit("float", [value], "number")
        return self.convert("to_float" if value.kind == "condition" else "as_float", value, "float")

    def as_condition(self, value: Value, what: str) -> Value:
        """As true or false."""
        if value.kind in ("truth", "condition"):
            return value
        if value.kind in ("number", "float"):
            self.refuse(f"{what} needs a condition, such as speed < 1.0, not a number; put comparisons in brackets")
        return self.convert("as_condition", value, "condition")

    def convert(self, operation: str, value: Value, kind: Kind) -> Value:
        """Convert once."""
        key = value.register, operation
        if key not in self.converted:
            self.converted[key] = self.emit(operation, [value], kind)
        return self.converted[key]


def freed(steps: list[Step], result: int) -> tuple[Step, ...]:
    """The steps that the result needs, each with the intermediate values that nobody reads after it."""
    needed, kept = {result}, list[Step]()
    written = {step.output for step in steps}
    for step in reversed(steps):
        if step.output not in needed:
            continue
        last = tuple(r for r in dict.fromkeys(step.inputs) if r not in needed and r in written)
        needed.update(step.inputs)
        kept.append(Step(step.operation, step.inputs, step.output, step.line, step.plain, last))
    return tuple(reversed(kept))


def is_sound(value: float) -> bool:
    """Whether a number may be a setting or a weight."""
    return math.isfinite(value) and abs(value) <= LARGEST
