"""Running mean and variance of an observation, part of the policy and exported with it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

LIMIT = 10.0
"""Networks see nothing beyond this many standard deviations."""
_FLOOR = 1e-5
"""The least variance: what has hardly moved so far must not fill the network's sight when it first does."""

_PIECE = 4096


def limited(normalized: Tensor) -> Tensor:
    """A normalised observation as the networks see it."""
    return normalized.clamp(-LIMIT, LIMIT)


class Normalizer(nn.Module):
    """Shifts and scales (n, size) to zero mean and unit variance, as seen so far.

    `update` merges a batch into the statistics (T. F. Chan, G. H. Golub, R. J. LeVeque: "Updating formulae and a
    pairwise algorithm for computing sample variances", eq. 2.1). Learners call it between acting and learning: what is
    learnt is then learnt for the numbers that the next action is chosen from.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("variance", torch.ones(size))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    def forward(self, observation: Tensor) -> Tensor:
        """Normalised observation (n, size), not limited: `update` needs it whole."""
        return (observation - self.mean) * torch.rsqrt(self.variance.clamp_min(_FLOOR))

    @torch.no_grad()
    def update(
        self, normalized: Tensor, weight: Tensor, mean_over_ranks: Callable[[Tensor], Tensor] = lambda tensor: tensor
    ) -> None:
        """Merge observations (n, size) that this normaliser itself has normalised, each as often as its weight (n,).

        They are normalised anew in place, by the statistics that they now are part of.
        """
        scale = torch.sqrt(self.variance.clamp_min(_FLOOR))
        total, batch_count = mean_over_ranks(torch.stack((weight @ normalized, weight.sum().expand_as(self.mean))))
        batch_mean = total / batch_count.clamp_min(1.0)
        # Around the mean: of a first batch far from zero, the mean of the squares would have no digits left. In pieces
        # that stay in the processor's cache.
        pieces = zip(weight.split(_PIECE), normalized.split(_PIECE), strict=True)
        squares = mean_over_ranks(torch.stack([w @ torch.square(x - batch_mean) for w, x in pieces]).sum(0))
        batch_variance = squares / batch_count.clamp_min(1.0)
        count = self.count + batch_count[0].double()
        share = (batch_count[0] / count.clamp_min(1.0)).float()
        # All in normalised units, in which the mean so far is 0.
        so_far = self.variance / torch.square(scale)
        merged = so_far + share * (batch_variance - so_far) + share * (1.0 - share) * torch.square(batch_mean)
        shift = share * batch_mean
        self.mean += scale * shift
        self.variance.copy_(torch.square(scale) * merged)
        self.count.copy_(count)
        normalized.sub_(shift).mul_(scale * torch.rsqrt(self.variance.clamp_min(_FLOOR)))
