"""The bank of episodes: what happens in an episode is a function of (split, seed, episode id), and of nothing else.

A bank holds, for each of its rows, everything that is drawn when an episode begins: the start state, the scene (goal,
obstacles), the physical parameters and the sensors' errors. It is built once, on the host, where unsolvable scenes are
rejected. Rows are made in blocks with a random generator of their own, so that a row does not depend on the bank's
size, the number of environments, the backend or the device.

Train, validation and test use separate random streams. Validation and test do not depend on the run's seed, so that
runs can be compared.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Split = Literal["train", "validation", "test"]
Columns = dict[str, np.ndarray]
Draw = Callable[[np.random.Generator, int], Columns]

BLOCK = 512
_STREAM = {"train": 1, "validation": 2, "test": 3}


def build_bank(draws: Mapping[str, Draw], split: Split, seed: int, size: int, device: torch.device) -> "SceneBank":
    """Draw `size` rows; each named draw has its own random stream, so that changing one leaves the others alone."""
    stream = stream_of(split, seed)
    blocks: list[Columns] = []
    for block in range(-(-size // BLOCK)):
        columns: Columns = {}
        for name, draw in draws.items():
            rng = np.random.default_rng([*stream, block, zlib.crc32(name.encode())])
            columns.update(draw(rng, BLOCK))
        blocks.append(columns)
    joined = {name: np.concatenate([block[name] for block in blocks])[:size] for name in blocks[0]}
    return SceneBank({n: torch.as_tensor(v).to(device) for n, v in joined.items()}, seed, in_order=split != "train")


def stream_of(split: Split, seed: int) -> tuple[int, int]:
    """What tells the random streams of a split apart from all others; only training depends on the run's seed."""
    return _STREAM[split], seed if split == "train" else 0


def seed_of(purpose: str, *parts: int) -> int:
    """A seed for a generator that shares nothing with those of other purposes or parts."""
    words = np.random.SeedSequence([zlib.crc32(purpose.encode()), *parts]).generate_state(2, np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


class SceneBank:
    """Rows of start states and scenes, in float32.

    `in_order` gives episode i the row i, otherwise a hash of (seed, i) picks it.
    """

    def __init__(self, columns: dict[str, Tensor], seed: int, in_order: bool) -> None:
        self.size = len(next(iter(columns.values())))
        # In one table: every look into a table takes its time, and there is one in nearly every step.
        self._shapes = {name: values.shape[1:] for name, values in columns.items()}
        self._widths = [shape.numel() for shape in self._shapes.values()]
        self._table = torch.cat([values.reshape(self.size, -1).float() for values in columns.values()], 1)
        self._seed = seed
        self._in_order = in_order

    @property
    def columns(self) -> dict[str, Tensor]:
        """All rows: name → (size, ...)."""
        return self._named(self._table)

    def repeated(self, columns: Mapping[str, Tensor]) -> "SceneBank":
        """The same rows again and again, as often as the given columns (times · size, ...) are long, with these in."""
        length = len(next(iter(columns.values())))
        if length % self.size:
            raise ValueError(f"{length} values are no whole number of times {self.size} rows")
        rows = {name: torch.cat([values] * (length // self.size)) for name, values in self.columns.items()}
        given = {name: values.to(self._table) for name, values in columns.items()}
        return SceneBank(rows | given, self._seed, self._in_order)

    def since(self, first: int) -> "SceneBank":
        """The rows from `first` on."""
        return SceneBank({name: values[first:] for name, values in self.columns.items()}, self._seed, self._in_order)

    def episodes(self, ids: Tensor) -> dict[str, Tensor]:
        """Columns of the given episodes (k,) int64: name → (k, ...)."""
        rows = ids % self.size if self._in_order else _hash(ids, self._seed) % self.size
        return self._named(self._table[rows])

    def _named(self, table: Tensor) -> dict[str, Tensor]:
        pieces = zip(self._shapes.items(), table.split(self._widths, 1), strict=True)
        return {name: piece.reshape(len(table), *shape) for (name, shape), piece in pieces}


def _hash(ids: Tensor, seed: int) -> Tensor:
    """SplitMix64 (Steele et al., OOPSLA 2014) of the ids, in non-negative int64."""
    x = ids * -0x61C8864680B583EB + (seed + 1) * 0x632BE59BD9B4E019 % 2**62
    x = (x ^ _shift(x, 30)) * -0x40A7B892E31B1A47
    x = (x ^ _shift(x, 27)) * -0x6B2FB644ECCEEE15
    return (x ^ _shift(x, 31)) & 0x7FFF_FFFF_FFFF_FFFF


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right (torch's is arithmetic)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
