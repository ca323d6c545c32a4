"""The diagonal Gaussian against torch's own distributions."""

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from robo_ppo.learn.gaussian import DiagonalGaussian


def theirs(gaussian: DiagonalGaussian) -> Distribution:
    return Independent(Normal(gaussian.mean, gaussian.log_std.exp().expand_as(gaussian.mean)), 1)


def draw(generator: torch.Generator, per_row: bool) -> DiagonalGaussian:
    mean = 3.0 * torch.randn(50, 4, generator=generator, dtype=torch.float64)
    log_std = torch.randn(50 if per_row else 1, 4, generator=generator, dtype=torch.float64)
    return DiagonalGaussian(mean, log_std if per_row else log_std[0])


@pytest.fixture(params=[False, True], ids=["one std", "a std per row"])
def pair(request: pytest.FixtureRequest) -> tuple[DiagonalGaussian, DiagonalGaussian]:
    generator = torch.Generator().manual_seed(1)
    return draw(generator, request.param), draw(generator, request.param)


def test_log_density(pair: tuple[DiagonalGaussian, DiagonalGaussian]) -> None:
    ours, value = pair[0], pair[1].mean
    torch.testing.assert_close(ours.log_prob(value), theirs(ours).log_prob(value))


def test_entropy(pair: tuple[DiagonalGaussian, DiagonalGaussian]) -> None:
    expected = theirs(pair[0]).entropy()
    torch.testing.assert_close(pair[0].entropy().expand_as(expected), expected)


def test_divergence(pair: tuple[DiagonalGaussian, DiagonalGaussian]) -> None:
    one, other = pair
    torch.testing.assert_close(one.kl(other), kl_divergence(theirs(one), theirs(other)))
    torch.testing.assert_close(one.kl(one), torch.zeros(50, dtype=torch.float64))


def test_draws_have_its_mean_and_spread_and_repeat() -> None:
    gaussian = DiagonalGaussian(torch.tensor([[1.0, -2.0]]).expand(200_000, 2), torch.tensor([0.3, -1.0]))

    def sample() -> Tensor:
        return gaussian.sample(torch.Generator().manual_seed(5))

    drawn = sample()
    torch.testing.assert_close(drawn.mean(0), gaussian.mean[0], atol=0.02, rtol=0.0)
    torch.testing.assert_close(drawn.std(0), gaussian.log_std.exp(), atol=0.02, rtol=0.0)
    assert torch.equal(drawn, sample())
