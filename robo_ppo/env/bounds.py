"""What a reward program may compute: every training and evaluation with one begins with this check.

    check_bounds(program, reward, table)          # UserError with the line, or nothing

The language makes it impossible to mix environments, to grow without bound, or to look at a number in Python. Here that
is proved of each program all the same, since a hole in a wall is found by knocking: on tensors without numbers, of two
sizes, and on numbers, row by row.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from robo_ppo.env.language import Program
from robo_ppo.env.language.term import Term
from robo_ppo.env.rewards import PREFIX, Reward
from robo_ppo.env.signals import SignalTable, where
from robo_ppo.errors import UserError

MOST_NUMBERS = 4096  # of any intermediate value, for each environment
MOST_STEPS = 500  # operations of a program
MOST_WORK = 1024  # numbers that a program computes for each environment, in all its operations together
MOST_PLAIN = 1e18  # of a plain number, as large as float32 can square
_ROWS = 7


def check_bounds(program: Program, reward: Reward, table: SignalTable) -> None:
    """Refuse a program that computes too much, or one environment's pay from another's.

    `table` knows the signals that the reward's terms are made from.
    """
    _check_steps(program)
    names = tuple({name for found in reward.signals.values() for name in found.inputs})
    sizes = {rows: table.on_meta(table.graph(names), rows) for rows in (3, 5)}
    work = 0
    for name, found in reward.signals.items():
        term = program.functions.get(name.removeprefix(PREFIX))
        if term is None:
            continue
        settings: Mapping[str, float] = getattr(found.function, "keywords", {})
        work += max(
            _check_intermediates(term, [values[signal] for signal in found.inputs], settings, rows)
            for rows, values in sizes.items()
        )
        if work > MOST_WORK:
            raise UserError(
                f"{where(term)}: the program computes more than {MOST_WORK} numbers for each environment in every "
                "step, which would slow the training down; compute with fewer and shorter vectors"
            )
        _check_rows(term, [_made_up(sizes[3][signal]) for signal in found.inputs], settings)


def _check_steps(program: Program) -> None:
    steps = sum(len(term.code.steps) for term in program.functions.values())
    if steps > MOST_STEPS:
        raise UserError(
            f"{program.where}:{program.lines[0]}: the program has {steps} operations, which would slow the training "
            f"down; at most {MOST_STEPS}"
        )


def _check_intermediates(term: Term, inputs: list[Tensor], settings: Mapping[str, float], rows: int) -> int:
    """Every step gives one row for each environment, and no step much for any; how many numbers for each in all."""
    numbers = 0

    def look(line: int, value: object) -> None:
        nonlocal numbers
        numbers += value.numel() // rows if isinstance(value, Tensor) else 0
        if isinstance(value, float) and not abs(value) <= MOST_PLAIN:
            raise UserError(f"{term.file}:{line}: this is {value:g}, which is no number to compute with")
        if isinstance(value, Tensor) and (value.ndim == 0 or value.shape[0] != rows):
            raise UserError(f"{term.file}:{line}: this has not one row for each environment, but {tuple(value.shape)}")
        if isinstance(value, Tensor) and value.numel() > MOST_NUMBERS * rows:
            raise UserError(f"{term.file}:{line}: this makes {value.numel() // rows} numbers for each environment")

    term.watched(look)(*inputs, **settings)
    return numbers


def _check_rows(term: Term, inputs: list[Tensor], settings: Mapping[str, float]) -> None:
    """What an environment is paid depends on itself alone."""
    together = term(*inputs, **settings)
    alone = torch.cat([term(*[value[row : row + 1] for value in inputs], **settings) for row in range(_ROWS)])
    if not torch.allclose(together, alone, rtol=1e-4, atol=1e-5, equal_nan=True):
        raise UserError(f"{where(term)}: the term '{term.__name__}' depends on other environments than its own")


def _made_up(like: Tensor) -> Tensor:
    """Numbers of the shape and kind of a signal, always the same."""
    numbers = torch.randn((_ROWS, *like.shape[1:]), generator=torch.Generator().manual_seed(0))
    return numbers > 0 if like.dtype == torch.bool else numbers.to(like.dtype)
