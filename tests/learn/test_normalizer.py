"""The normaliser against numpy's mean and variance over everything that it was given."""

import numpy as np
import pytest
import torch
from torch import Tensor

from robo_ppo.learn.normalizer import Normalizer, limited
from tests.learn.making import on_all

SCALE = torch.tensor([1.0, 100.0, 0.01])
SHIFT = torch.tensor([0.0, 50.0, -3.0])


def batches(*sizes: int, seed: int = 0) -> list[Tensor]:
    """Batches whose distribution wanders from one to the next."""
    generator = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(size, 3, generator=generator) * (1 + number) + number) * SCALE + SHIFT
        for number, size in enumerate(sizes)
    ]


def merge(normalizer: Normalizer, batch: Tensor, weight: Tensor | None = None) -> None:
    normalizer.update(normalizer(batch), torch.ones(len(batch)) if weight is None else weight)


def check(normalizer: Normalizer, everything: np.ndarray) -> None:
    np.testing.assert_allclose(normalizer.mean, everything.mean(0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(normalizer.variance, everything.var(0), rtol=2e-4)


def test_nothing_changes_before_the_first_batch() -> None:
    values = torch.randn(7, 3)
    torch.testing.assert_close(Normalizer(3)(values), values)


@pytest.mark.parametrize("sizes", [(1000,), (10, 1000, 3), (256,) * 20])
def test_statistics_of_merged_batches(sizes: tuple[int, ...]) -> None:
    normalizer, given = Normalizer(3), batches(*sizes)
    for batch in given:
        merge(normalizer, batch)
    everything = torch.cat(given)
    check(normalizer, everything.double().numpy())
    assert normalizer.count.item() == len(everything)
    normalized = normalizer(everything)
    torch.testing.assert_close(normalized.mean(0), torch.zeros(3), atol=1e-3, rtol=0.0)
    torch.testing.assert_close(normalized.std(0, correction=0), torch.ones(3), atol=1e-3, rtol=0.0)


def test_rows_without_weight_do_not_count() -> None:
    normalizer, kept = Normalizer(3), []
    for batch in batches(500, 300, 200):
        weight = (torch.arange(len(batch)) % 3 != 0).float()
        kept.append(batch[weight > 0])
        batch[weight == 0] = 1e4
        merge(normalizer, batch, weight)
    check(normalizer, torch.cat(kept).double().numpy())


def test_a_batch_without_any_weight_changes_nothing() -> None:
    normalizer = Normalizer(3)
    merge(normalizer, batches(100)[0])
    before = {name: value.clone() for name, value in normalizer.state_dict().items()}
    merge(normalizer, torch.full((10, 3), 7.0), torch.zeros(10))
    for name, value in normalizer.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_a_constant_stays_finite() -> None:
    normalizer = Normalizer(1)
    for _ in range(3):
        merge(normalizer, torch.full((50, 1), 4.0))
    assert torch.isfinite(normalizer(torch.tensor([[4.0], [5.0]]))).all()
    torch.testing.assert_close(normalizer(torch.full((1, 1), 4.0)), torch.zeros(1, 1), atol=0.1, rtol=0.0)


def test_what_never_moved_does_not_blind_the_networks_when_it_does() -> None:
    normalizer = Normalizer(1)
    for _ in range(100):
        merge(normalizer, torch.zeros(1000, 1))
    first_move = torch.zeros(1000, 1)
    first_move[:5] = 0.5
    assert limited(normalizer(first_move)).abs().max() <= 10.0
    for _ in range(10):
        merge(normalizer, first_move)
    assert normalizer(first_move).abs().max() < 60.0  # 0.5 against a standard deviation of about 0.01


def test_a_batch_is_normalised_anew_by_the_statistics_that_it_is_part_of() -> None:
    normalizer = Normalizer(3)
    for batch in batches(1000, 1000):
        normalized = normalizer(batch)
        normalizer.update(normalized, torch.ones(len(batch)))
        torch.testing.assert_close(normalized, normalizer(batch), atol=1e-4, rtol=1e-4)


def test_two_ranks_know_what_one_would() -> None:
    ranks = (Normalizer(3), Normalizer(3))
    given = batches(400, 400, 400)
    for batch in given:
        halves = (batch[:150], batch[150:])  # unequal shares, as where worlds broke
        on_all(lambda rank, mean, h=halves: ranks[rank].update(ranks[rank](h[rank]), torch.ones(len(h[rank])), mean))
    check(ranks[0], torch.cat(given).double().numpy())
    for name, value in ranks[0].state_dict().items():
        assert torch.equal(value, ranks[1].state_dict()[name])
