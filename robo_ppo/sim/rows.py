"""Some of many worlds: as indices where the host may look at them, as a mask where looking would stop the device.

    rows = sim.rows(ended)                       # ended (num_envs,) bool; the back end knows what suits it
    fresh = function(rows.take(values))          # the selected rows alone, or all of them
    values = rows.put(values, fresh)             # replaced where selected, in a new tensor

A CPU computes only what is selected. An accelerator computes everything and keeps what is selected: that costs it
little, while waiting for the host to count the selected rows would cost much, and could not be captured in a graph.
Code that uses `take`, `put` and `write` alone is right for both.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import override


class Rows(ABC):
    """A selection of `num_envs` rows; tensors that belong to it have `len(rows)` rows, in the order of the worlds."""

    mask: Tensor
    """(num_envs,) bool."""
    is_empty: bool
    """Whether the host knows that nothing is selected."""

    @property
    @abstractmethod
    def indices(self) -> Tensor:
        """Selected rows (k,), sorted; of a mask this asks the device, and waits for it."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, values: Tensor, dim: int = 0) -> Tensor:
        """The part of (…, num_envs, …) that belongs to the selection."""

    @abstractmethod
    def put(self, values: Tensor, fresh: Tensor, dim: int = 0) -> Tensor:
        """`values` with the selected rows replaced, as a new tensor of the same type."""

    @abstractmethod
    def write(self, values: Tensor, fresh: Tensor | float, dim: int = 0) -> None:
        """Replace the selected rows of `values` in place."""

    @abstractmethod
    def order(self) -> Tensor:
        """Number of each selected row among the selected: 0, 1, 2, … where selected."""

    def take_all(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`take` of every tensor."""
        return {name: self.take(values) for name, values in tensors.items()}

    def put_all(self, tensors: dict[str, Tensor], fresh: Mapping[str, Tensor]) -> None:
        """Replace tensors of a dictionary by new ones with the selected rows `put` in."""
        for name, values in fresh.items():
            tensors[name] = self.put(tensors[name], values)


class IndexRows(Rows):
    """Rows as indices: only these are computed."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self._indices = mask.nonzero().squeeze(1)
        self.is_empty = len(self._indices) == 0

    @property
    @override
    def indices(self) -> Tensor:
        return self._indices

    @override
    def __len__(self) -> int:
        return len(self._indices)

    @override
    def take(self, values: Tensor, dim: int = 0) -> Tensor:
        return values.index_select(dim, self._indices)

    @override
    def put(self, values: Tensor, fresh: Tensor, dim: int = 0) -> Tensor:
        return values.index_copy(dim, self._indices, fresh.to(values.dtype))

    @override
    def write(self, values: Tensor, fresh: Tensor | float, dim: int = 0) -> None:
        if isinstance(fresh, Tensor):
            values.index_copy_(dim, self._indices, fresh.to(values.dtype))
        else:
            values.index_fill_(dim, self._indices, fresh)

    @override
    def order(self) -> Tensor:
        return torch.arange(len(self._indices), device=self.mask.device)


class MaskRows(Rows):
    """Rows as a mask: all are computed, and what is not selected is left as it was."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask
        self.is_empty = False

    @property
    @override
    def indices(self) -> Tensor:
        return self.mask.nonzero().squeeze(1)

    @override
    def __len__(self) -> int:
        return len(self.mask)

    @override
    def take(self, values: Tensor, dim: int = 0) -> Tensor:
        return values

    @override
    def put(self, values: Tensor, fresh: Tensor, dim: int = 0) -> Tensor:
        return torch.where(self._along(values, dim), fresh.to(values.dtype), values)

    @override
    def write(self, values: Tensor, fresh: Tensor | float, dim: int = 0) -> None:
        if isinstance(fresh, Tensor):
            values.copy_(self.put(values, fresh, dim))
        else:
            values.masked_fill_(self._along(values, dim), fresh)

    @override
    def order(self) -> Tensor:
        return torch.cumsum(self.mask, 0) - 1

    def _along(self, values: Tensor, dim: int) -> Tensor:
        return self.mask.reshape([-1 if axis == dim else 1 for axis in range(values.ndim)])
