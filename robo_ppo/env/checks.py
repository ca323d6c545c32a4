"""`debug=true`: every signal and reward term of every step is checked, and the first one that is wrong is named.

Functions are looked at in the order in which they were called, so the first offender is the cause, and what comes after
it would only repeat its mistake. A wrong value ends the run with a message: what, where in the code, in which episode,
and what it was computed from.
"""

from collections.abc import Generator, Mapping

import torch
from torch import Tensor

from robo_ppo.env.signals import Graph, Signal, SignalTable, where
from robo_ppo.errors import UserError

_SHOWN = 6  # numbers of a vector
_SLACK = 1e-5  # of a range: float32 rounds


class SignalChecks:
    """Checks the values of a table's graphs."""

    def __init__(self, table: SignalTable) -> None:
        self._table = table
        self._shapes: dict[Graph, Mapping[str, tuple[int, ...]]] = {}

    def check(
        self, graph: Graph, values: Mapping[str, Tensor], ages: Tensor, ids: Tensor, meaningless: Tensor | None = None
    ) -> None:
        """UserError for the first value of the wrong shape, not finite or out of its range.

        `values` are those of the graph; `ages` and `ids` (n,) say in which step of which episode they are. Where
        `meaningless` (n,) bool holds, the episode is over, and only shapes are looked at.
        """
        if graph not in self._shapes:
            self._shapes[graph] = self._table.shapes(graph)
        for step in graph.steps:
            value = values[step.name]
            expected = (len(ages), *self._shapes[graph][step.name])
            if tuple(value.shape) != expected:
                raise UserError(
                    f"debug: '{step.name}' has the shape {tuple(value.shape)}, not {expected} ({where(step.function)})"
                )
            for reason, wrong in _wrong(step, value):
                rows = (wrong if meaningless is None else wrong & ~meaningless).nonzero()
                if len(rows):
                    row = int(rows[0])
                    inputs = ", ".join(f"{name} = {_shown(values[name][row])}" for name in step.inputs)
                    raise UserError(
                        f"debug: '{step.name}' {reason} in step {int(ages[row])} of episode {int(ids[row])}: "
                        f"{_shown(value[row])}, from {inputs or 'nothing'} ({where(step.function)})"
                    )


def _wrong(step: Signal, value: Tensor) -> Generator[tuple[str, Tensor]]:
    """What can be wrong with a value, and where it is (n,) bool, the worst first."""
    if not value.is_floating_point():
        return
    flat = value.detach().flatten(1) if value.ndim > 1 else value.detach().unsqueeze(1)
    yield "is not finite", ~torch.isfinite(flat).all(1)
    if step.quantity.unit == "quaternion":
        yield "is no unit quaternion", (flat.norm(dim=1) - 1.0).abs() > 1e-3
    elif step.quantity.range is not None:
        low, high = step.quantity.range
        slack = _SLACK * max(1.0, *(abs(limit) for limit in (low, high) if abs(limit) < float("inf")))
        outside = ((flat < low - slack) | (flat > high + slack)).any(1)
        yield f"is out of its range from {low:g} to {high:g}", outside


def _shown(value: Tensor) -> str:
    numbers = [f"{number:g}" for number in value.flatten().tolist()]
    if len(numbers) == 1:
        return numbers[0]
    return f"({', '.join(numbers[:_SHOWN])}{', …' if len(numbers) > _SHOWN else ''})"
