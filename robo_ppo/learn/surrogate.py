"""Surrogate objectives: what the policy maximises for one sample. `conf/ppo` names one."""

from collections.abc import Callable

import torch
from torch import Tensor

Surrogate = Callable[[Tensor, Tensor, float], Tensor]


def clip(ratio: Tensor, advantage: Tensor, epsilon: float) -> Tensor:
    """Clipped surrogate (n,): Schulman et al., arXiv:1707.06347, eq. 7; ratio is new over old probability."""
    return torch.minimum(ratio * advantage, ratio.clamp(1.0 - epsilon, 1.0 + epsilon) * advantage)


SURROGATES: dict[str, Surrogate] = {"clip": clip}
