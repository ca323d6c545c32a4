"""A compiled function of a program: called with signals as any reward term is, it runs its steps one after another.

    term = program.functions["slow_near"]
    value = term(goal_distance, speed, margin=0.2)     # (num_envs,)

Intermediate values are let go of as soon as nobody needs them, as hand-written code does by itself.
"""

import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor

from robo_ppo.env.language.kernels import KERNELS, WITH_NUMBERS
from robo_ppo.env.language.operations import on_numbers
from robo_ppo.env.language.steps import Code, Step
from robo_ppo.errors import UserError

Function = Callable[..., Any]


class Term:
    """A function of signals, with settings by keyword."""

    def __init__(self, code: Code, where: str) -> None:
        self.code = code
        self.__name__ = code.name
        self.__doc__ = code.says
        self.__signature__ = _signature(code)
        self.robo_ppo_where = f"{where}:{code.line}"  # robo_ppo.env.signals.where
        self.file = where  # what messages call it
        self._defaults = tuple(code.settings.values())
        self._order = {name: place for place, name in enumerate(code.settings, len(code.signals))}
        self._blank = [code.constants.get(register) for register in range(code.registers)]
        plain = _plain_registers(code)
        self._steps: list[tuple[Function, tuple[int, ...], int, tuple[int, ...]]] = [
            (_function(step, plain), step.inputs, step.output, step.dead) for step in code.steps
        ]

    def __call__(self, /, *signals: Tensor, **settings: float) -> Tensor:
        """The term's value for every environment; a `UserError` with the line where a step fails."""
        registers: list[Any] = self._blank.copy()
        first = len(signals)
        registers[:first] = signals
        registers[first : first + len(self._defaults)] = self._defaults
        for name, value in settings.items():
            registers[self._order[name]] = value
        output = 0
        try:
            for function, inputs, output, dead in self._steps:
                registers[output] = function(*[registers[register] for register in inputs])
                for register in dead:
                    registers[register] = None
        except UserError:
            raise
        except Exception as error:
            step = next(step for step in self.code.steps if step.output == output)
            raise UserError(self._why(step, registers, error)) from error
        return registers[self.code.result]

    def watched(self, look: Callable[[int, object], None]) -> "Term":
        """The same term, telling of the line and the value of every step."""
        term = Term(self.code, self.file)
        term._steps = [
            (_watched(function, step.line, look), inputs, output, dead)
            for (function, inputs, output, dead), step in zip(self._steps, self.code.steps, strict=True)
        ]
        return term

    def _why(self, step: Step, registers: list[Any], error: Exception) -> str:
        """Where it failed, and on what."""
        given = [registers[register] for register in step.inputs]
        shapes = [tuple(value.shape) for value in given if isinstance(value, Tensor)]
        reason = " ".join(str(error).split())
        if isinstance(error, ZeroDivisionError):
            reason = "this divides by zero"
        elif step.plain:
            reason = "this has no value that is a number"
        elif len(shapes) > 1:
            sizes = " and ".join("×".join(map(str, shape[1:])) or "one number" for shape in shapes)
            reason = f"{step.operation} cannot join, for each environment, {sizes}; {reason}"
        return f"{self.file}:{step.line}: the term '{self.code.name}' fails: {reason}"


def _watched(function: Function, line: int, look: Callable[[int, object], None]) -> Function:
    def run(*inputs: Any) -> Any:
        value = function(*inputs)
        look(line, value)
        return value

    return run


def _signature(code: Code) -> inspect.Signature:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    signals = [inspect.Parameter(name, kind, annotation=Tensor) for name in code.signals]
    settings = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if default is None else default,
            annotation=float,
        )
        for name, default in code.settings.items()
    ]
    return inspect.Signature([*signals, *settings], return_annotation=Tensor)


def _plain_registers(code: Code) -> set[int]:
    """Registers that hold plain numbers."""
    first = len(code.signals)
    plain = {*range(first, first + len(code.settings)), *code.constants}
    return plain | {step.output for step in code.steps if step.plain}


def _function(step: Step, plain: set[int]) -> Function:
    if step.plain:
        return on_numbers(step.operation)
    if step.operation in WITH_NUMBERS and any(register in plain for register in step.inputs):
        return WITH_NUMBERS[step.operation]
    return KERNELS[step.operation]
