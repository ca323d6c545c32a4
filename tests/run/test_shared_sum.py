"""Sums through shared memory are those of numpy, the same bits on every rank, and nothing is left behind."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from robo_ppo.run.shared_sum import SharedSum, is_supported

CALLS = 400
SIZES = (1, 7, 15_000, 200_000)

pytestmark = pytest.mark.skipif(not is_supported(), reason="this processor does not order stores")


def numbers(rank: int, call: int) -> torch.Tensor:
    kind = torch.float64 if call % 3 == 0 else torch.float32
    generator = torch.Generator().manual_seed(1000 * rank + call)
    return torch.randn(SIZES[call % len(SIZES)], generator=generator, dtype=kind)


def work(path: str, rank: int, size: int, queue: "multiprocessing.Queue[list[bytes]]") -> None:
    sums = SharedSum.attach(Path(path), rank, size, lambda: False)
    queue.put([sums_of(sums, rank, call) for call in range(CALLS)])


def sums_of(sums: SharedSum, rank: int, call: int) -> bytes:
    tensor = numbers(rank, call)
    assert sums.add(tensor)
    return tensor.numpy().tobytes()


@pytest.mark.parametrize("size", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_every_rank_gets_the_sum(size: int) -> None:
    sums = SharedSum.create(size, lambda: False)
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[list[bytes]] = context.Queue()
    others = [context.Process(target=work, args=(str(sums.path), rank, size, queue)) for rank in range(1, size)]
    for process in others:
        process.start()
    own = [sums_of(sums, 0, call) for call in range(CALLS)]
    theirs = [queue.get(timeout=60) for _ in others]
    for process in others:
        process.join()
    assert all(found == own for found in theirs)
    for call in range(CALLS):
        parts = [numbers(rank, call).numpy() for rank in range(size)]
        np.testing.assert_allclose(np.frombuffer(own[call], parts[0].dtype), np.sum(parts, 0), rtol=1e-5, atol=1e-6)
    sums.forget_path()
    assert not sums.path.exists()


def test_a_rank_that_waits_alone_gives_up() -> None:
    sums = SharedSum.create(2, lambda: True)
    sums.forget_path()
    assert not sums.add(torch.ones(3))


def test_what_does_not_fit_is_not_taken() -> None:
    sums = SharedSum.create(2, lambda: False)
    sums.forget_path()
    assert sums.takes(torch.zeros(1000)) and not sums.takes(torch.zeros(2_000_000))
    assert not sums.takes(torch.zeros(3, device="meta"))


def test_without_room_for_it_it_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        SharedSum.create(2, lambda: False)
