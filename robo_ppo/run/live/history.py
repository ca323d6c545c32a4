"""All signals of the present episode, step by step, so that a plot can be asked for after the fact."""

from collections.abc import Mapping

import numpy as np


class History:
    """A row per control step: every signal's numbers, and the time."""

    def __init__(self, sizes: Mapping[str, int], rows: int, period: float) -> None:
        """Room for `rows` steps of `period` seconds; `sizes` are the numbers of each signal."""
        self._values = {name: np.zeros((rows, size)) for name, size in sizes.items()}
        self._times = np.arange(rows) * period
        self._length = 0

    def __len__(self) -> int:
        """How many rows there are."""
        return self._length

    def clear(self) -> None:
        """Begin an episode."""
        self._length = 0

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """Append the present values of all signals; what is no longer finite is left out of every plot."""
        for name, rows in self._values.items():
            rows[self._length] = values[name].reshape(-1)
        self._length += 1

    @property
    def times(self) -> np.ndarray:
        """Seconds since the episode began (rows,)."""
        return self._times[: self._length]

    def of(self, signal: str) -> np.ndarray:
        """A signal's numbers (rows, size)."""
        return self._values[signal][: self._length]


def components(shape: tuple[int, ...], unit: str) -> list[str]:
    """A name for each number of a signal: `x y z` for a vector, `w x y z` for a rotation, else its indices."""
    if shape == ():
        return [""]
    if shape == (3,):
        return ["x", "y", "z"]
    if shape == (4,) and unit == "quaternion":
        return ["w", "x", "y", "z"]
    return [",".join(map(str, index)) for index in np.ndindex(shape)]
