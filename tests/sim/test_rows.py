"""Rows by index and rows by mask select the same, whatever is done with them."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given

from robo_ppo.sim.rows import IndexRows, MaskRows, Rows


def both(mask: list[bool]) -> tuple[Rows, Rows]:
    return IndexRows(torch.tensor(mask)), MaskRows(torch.tensor(mask))


@given(st.lists(st.booleans(), min_size=1, max_size=9), st.integers(0, 1))
def test_put_write_and_order_agree(mask: list[bool], dim: int) -> None:
    n = len(mask)
    values = torch.arange(4.0 * n).reshape((n, 4) if dim == 0 else (4, n))
    truth = values.clone()
    for row in range(n):
        if mask[row]:
            truth.select(dim, row).mul_(-2.0)
    order = [sum(mask[:row]) for row in range(n) if mask[row]]
    for rows in both(mask):
        assert rows.indices.tolist() == [row for row in range(n) if mask[row]]
        fresh = -2.0 * rows.take(values, dim)
        assert fresh.shape[dim] == len(rows)
        before = values.clone()
        assert torch.equal(rows.put(values, fresh, dim), truth)
        assert torch.equal(values, before), "put changes nothing in place"
        rows.write(before, fresh, dim)
        assert torch.equal(before, truth)
        rows.write(before, -777.0, dim)
        assert torch.equal(before == -777.0, rows.put(values != values, rows.take(values == values, dim), dim))
        assert rows.order()[rows.mask if len(rows) == n else slice(None)].tolist() == order


def test_types_are_those_of_the_target() -> None:
    for rows in both([False, True]):
        assert rows.put(torch.zeros(2, dtype=torch.int64), rows.take(torch.tensor([1.0, 2.0]))).tolist() == [0, 2]
        counts = torch.zeros(2, dtype=torch.float64)
        rows.write(counts, rows.take(torch.tensor([1.0, 2.0])))
        assert counts.tolist() == [0.0, 2.0] and counts.dtype == torch.float64


@pytest.mark.parametrize("mask", [[True, True], [False, False]])
def test_only_indices_know_that_they_are_empty(mask: list[bool]) -> None:
    by_index, by_mask = both(mask)
    assert by_index.is_empty is not any(mask)
    assert not by_mask.is_empty, "to know would be to ask the device"
