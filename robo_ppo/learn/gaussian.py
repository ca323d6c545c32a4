"""The diagonal Gaussian that a policy is: log-density, entropy and divergence in closed form."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LOG_2_PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class DiagonalGaussian:
    """Independent normal distributions of `size` numbers: mean (n, size); log_std (size,) or (n, size)."""

    mean: Tensor
    log_std: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw each (n, size)."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + self.log_std.exp() * noise

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of values (n, size), summed over the numbers: (n,)."""
        z = (value - self.mean) * torch.exp(-self.log_std)
        size = self.mean.shape[-1]
        return -0.5 * (z * z).sum(-1) - self.log_std.sum(-1) - 0.5 * size * _LOG_2_PI

    def entropy(self) -> Tensor:
        """Differential entropy in nats, of the shape that `log_std` has without its last axis."""
        return self.log_std.sum(-1) + 0.5 * self.mean.shape[-1] * (1.0 + _LOG_2_PI)

    def kl(self, other: "DiagonalGaussian") -> Tensor:
        """Kullback-Leibler divergence KL(self ‖ other) in nats (n,)."""
        z = (self.mean - other.mean) * torch.exp(-other.log_std)
        log_ratio = self.log_std - other.log_std
        spread = 0.5 * torch.expm1(2.0 * log_ratio) - log_ratio
        return 0.5 * (z * z).sum(-1) + spread.sum(-1)
