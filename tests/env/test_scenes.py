"""The bank of episodes: rows that depend on (split, seed, id) alone, and their independent streams."""

import numpy as np
import pytest
import torch

from robo_ppo.env.scenes import BLOCK, Columns, Draw, SceneBank, Split, build_bank

CPU = torch.device("cpu")


def place(rng: np.random.Generator, count: int) -> Columns:
    return {"place": rng.random((count, 3), dtype=np.float32)}


def greedy(rng: np.random.Generator, count: int) -> Columns:
    """Takes another number of draws each time, as rejection does."""
    rng.random(int(rng.integers(1, 1000)))
    return {"greedy": rng.random(count)}


DRAWS: dict[str, Draw] = {"scene": place, "more": greedy}


def bank(split: Split = "train", seed: int = 0, size: int = 700, draws: dict[str, Draw] | None = None) -> SceneBank:
    return build_bank(draws or DRAWS, split, seed, size, CPU)


def hashed(episode: int, seed: int) -> int:
    """SplitMix64 of the id in Python's unbounded integers, as published; the seed moves its starting point."""
    mask = 2**64 - 1
    x = (episode * 0x9E3779B97F4A7C15 + (seed + 1) * 0x632BE59BD9B4E019 % 2**62) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return (x ^ (x >> 31)) & (2**63 - 1)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize("size", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_a_row_does_not_depend_on_the_size_of_the_bank(split: Split, size: int) -> None:
    large, small = bank(split, size=4 * BLOCK), bank(split, size=size)
    assert small.size == size
    for name in ("place", "greedy"):
        assert torch.equal(small.columns[name], large.columns[name][:size])


def test_rows_differ() -> None:
    assert len(torch.unique(bank(size=3 * BLOCK).columns["place"], dim=0)) == 3 * BLOCK


def test_splits_do_not_share_rows() -> None:
    rows = torch.cat([bank(split, size=1000).columns["place"] for split in ("train", "validation", "test")])
    assert len(torch.unique(rows, dim=0)) == 3000


def test_the_seed_changes_training_and_nothing_else() -> None:
    assert not torch.isclose(bank("train", 0).columns["place"], bank("train", 1).columns["place"]).all(1).any()
    for split in ("validation", "test"):
        assert torch.equal(bank(split, 0).columns["place"], bank(split, 1).columns["place"])


def test_changing_one_draw_leaves_the_others_alone() -> None:
    alone = bank(draws={"scene": place})
    later = bank(draws={"more": greedy, "scene": place})
    assert torch.equal(alone.columns["place"], bank().columns["place"])
    assert torch.equal(later.columns["place"], bank().columns["place"])


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_training_picks_rows_by_a_hash_of_the_episode(seed: int) -> None:
    training = bank(seed=seed)
    ids = [0, 1, 2, 255, 4096, 10**9, 2**40, 2**62]
    rows = training.episodes(torch.tensor(ids))
    expected = torch.tensor([hashed(episode, seed) % training.size for episode in ids])
    assert torch.equal(rows["place"], training.columns["place"][expected])


def test_the_hash_spreads_over_the_bank() -> None:
    training = bank(size=512)
    picked = training.episodes(torch.arange(512 * 100))["place"][:, 0]
    _, counts = torch.unique(picked, return_counts=True)
    # 100 expected in each row, with the spread of a fair draw: chi² has mean 511 and deviation 32.
    assert len(counts) == 512
    assert abs(float(((counts - 100.0) ** 2 / 100.0).sum()) - 511) < 5 * 32


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluation_takes_rows_in_order(split: Split) -> None:
    fixed = bank(split)
    assert torch.equal(fixed.episodes(torch.arange(700))["place"], fixed.columns["place"])
    assert torch.equal(fixed.episodes(torch.tensor([699, 3]))["greedy"], fixed.columns["greedy"][[699, 3]])


def test_numbers_are_single_precision() -> None:
    assert bank().columns["greedy"].dtype == torch.float32
