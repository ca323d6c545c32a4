"""Advantage estimators: how much better an action was than what the critic expected. `conf/ppo` names one."""

from collections.abc import Callable

import torch
from torch import Tensor

from robo_ppo.learn.rollout import Rollout

Estimator = Callable[[Rollout, float, float], Tensor]


def gae(rollout: Rollout, gamma: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimation (horizon, num_envs): Schulman et al., arXiv:1506.02438, eq. 16.

    A terminated episode has no future; a truncated one goes on to the value of the state where it was cut. A step
    without weight, in which a world broke, counts as if the critic had been right there.
    """
    alive = (~rollout.terminated).float()
    continues = (~rollout.ended).float()
    delta = rollout.weight * (rollout.reward + gamma * alive * rollout.next_value - rollout.value)
    advantage = torch.empty_like(delta)
    later = torch.zeros_like(delta[0])
    for step in range(rollout.horizon - 1, -1, -1):
        later = delta[step] + gamma * gae_lambda * continues[step] * later
        advantage[step] = later
    return advantage


ESTIMATORS: dict[str, Estimator] = {"gae": gae}
