"""Sums over the ranks of one machine through shared memory: microseconds, where a message takes a millisecond.

    sums = SharedSum.create(size=2, is_alone=…)              # rank 0; hand `sums.path` to the others
    sums = SharedSum.attach(path, rank=1, size=2, is_alone=…)
    sums.forget_path()                                       # rank 0, once all have attached
    sums.add(tensor)                                         # in place, the same bits on all ranks

Every rank writes its numbers into a slot of its own, then raises its counter; who sees all counters raised adds the
slots up, in the order of the ranks. Two sets of slots take turns: no rank can be more than one call ahead of another,
so none writes where another still reads. This relies on stores becoming visible in order, which x86 processors
guarantee; elsewhere `is_supported` says no, and the ranks send messages.
"""

import mmap
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

_CAPACITY = 4 * 2**20  # bytes of a slot; what is larger goes as a message
_LINE = 64  # bytes: counters that share a cache line would slow each other down
_PATIENCE = 600.0  # s
_SPINS = 2000  # looks at a counter before sleeping between them


def is_supported() -> bool:
    """Whether ranks on this machine can work so."""
    return hasattr(os, "posix_fallocate") and platform.machine().lower() in ("x86_64", "amd64", "i686")


class SharedSum:
    """One rank's view of the shared memory."""

    def __init__(self, path: Path, rank: int, size: int, is_alone: Callable[[], bool]) -> None:
        self.path, self._rank, self._size, self._is_alone = path, rank, size, is_alone
        with open(path, "r+b") as file:
            memory = np.frombuffer(mmap.mmap(file.fileno(), _bytes(size)), dtype=np.uint8)
        self._counters = memory[: size * _LINE].view(np.int64)[:: _LINE // 8]
        self._slots = memory[size * _LINE :].reshape(2, size, _CAPACITY)
        self._calls = 0

    @classmethod
    def create(cls, size: int, is_alone: Callable[[], bool]) -> "SharedSum":
        """Make the memory, as rank 0; `is_alone` says whether waiting for the others has become useless."""
        folder = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()
        handle, name = tempfile.mkstemp(prefix="robo_ppo_", dir=folder)
        try:
            # Taken now: where there is no room for it, a later write would end the process.
            os.posix_fallocate(handle, 0, _bytes(size))
        except OSError:
            os.unlink(name)
            raise
        finally:
            os.close(handle)
        return cls(Path(name), 0, size, is_alone)

    @classmethod
    def attach(cls, path: Path, rank: int, size: int, is_alone: Callable[[], bool]) -> "SharedSum":
        """Join, as another rank."""
        return cls(path, rank, size, is_alone)

    def forget_path(self) -> None:
        """Remove the file's name: the memory lasts as long as the ranks, and nothing stays however they end."""
        self.path.unlink(missing_ok=True)

    def takes(self, tensor: Tensor) -> bool:
        """Whether a tensor fits: on the CPU, of a type that numpy has, not too large."""
        return tensor.device.type == "cpu" and tensor.numel() * tensor.element_size() <= _CAPACITY

    def add(self, tensor: Tensor) -> bool:
        """Sum over all ranks, in place; False where the others are gone, or silent for ten minutes."""
        self._calls += 1
        slots = self._slots[self._calls % 2]
        own = tensor.detach().contiguous().numpy().reshape(-1)
        slots[self._rank, : own.nbytes] = own.view(np.uint8)
        self._counters[self._rank] = self._calls
        if not self._wait():
            return False
        parts = [slots[rank, : own.nbytes].view(own.dtype) for rank in range(self._size)]
        total = parts[0].copy()
        for part in parts[1:]:
            total += part
        tensor.copy_(torch.from_numpy(total).view_as(tensor))
        return True

    def _wait(self) -> bool:
        looks, deadline = 0, time.monotonic() + _PATIENCE
        while not bool((self._counters >= self._calls).all()):
            looks += 1
            if looks > _SPINS:
                time.sleep(50e-6)
                if looks % 1000 == 0 and (self._is_alone() or time.monotonic() > deadline):
                    return False
        return True


def _bytes(size: int) -> int:
    return size * _LINE + 2 * size * _CAPACITY
