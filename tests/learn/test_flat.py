"""Flat parameters behave as the many small ones that they replace."""

import copy

import torch
from torch import nn

from robo_ppo.learn.flat import FlatParameters


def network() -> nn.Sequential:
    generator = torch.Generator().manual_seed(2)
    made = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return made


def test_training_and_clipping_are_those_of_torch() -> None:
    plain = network()
    moved = copy.deepcopy(plain)
    flat = FlatParameters([list(moved[0].parameters()), list(moved[2].parameters())])
    before = [p.detach().clone() for p in plain.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(before, moved.parameters(), strict=True))

    one, other = torch.optim.Adam(plain.parameters(), lr=0.01), torch.optim.Adam([flat.value], lr=0.01)
    for seed in range(5):
        inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
        one.zero_grad()
        plain(inputs).square().sum().backward()
        expected = [torch.nn.utils.clip_grad_norm_(plain[i].parameters(), 2.0) for i in (0, 2)]
        one.step()
        flat.differentiate(moved(inputs).square().sum())
        torch.testing.assert_close(flat.clip(2.0), expected)
        other.step()
    for a, b in zip(plain.parameters(), moved.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_loading_weights_reaches_the_flat_tensor() -> None:
    moved = network()
    flat = FlatParameters([list(moved.parameters())])
    moved.load_state_dict({name: torch.full_like(value, 0.5) for name, value in moved.state_dict().items()})
    assert bool((flat.value == 0.5).all())
