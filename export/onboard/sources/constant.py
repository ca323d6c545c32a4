"""A source of what does not change in a flight: `source=mavlink,constant source.constant.goal=1,2,1.5`."""

from __future__ import annotations

import time
from typing import Tuple, Union

from ..contract import Contract
from ..errors import UserError, did_you_mean
from ..vehicle import Sample
from .source import Source

Numbers = Union[float, Tuple[float, ...]]


class ConstantSource(Source):
    """Measurements by name, each a number or a tuple of numbers, told anew in every tick."""

    def __init__(self, **values: Numbers) -> None:
        self._values = {name: v if isinstance(v, tuple) else (float(v),) for name, v in values.items()}
        self.provides = tuple(self._values)

    def open(self, contract: Contract) -> None:
        """Refuse what the policy does not take, or takes in another size."""
        sizes = {port.name: port.size for port in contract.inputs}
        for name, values in self._values.items():
            if name not in sizes:
                raise UserError(
                    f"source.constant.{name}: the policy takes no such measurement; {did_you_mean(name, sizes)}"
                )
            if len(values) != sizes[name]:
                raise UserError(f"source.constant.{name} has {len(values)} numbers; the policy takes {sizes[name]}")

    def poll(self) -> list[Sample]:
        """All of them."""
        stamp = time.monotonic()
        return [Sample(name, values, stamp) for name, values in self._values.items()]
