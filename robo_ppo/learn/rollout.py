"""What the learner remembers of one iteration: `horizon` steps of every environment, in tensors that are made once."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Rollout:
    """Tensors (horizon, num_envs, …); observations are kept as the networks saw them, normalised."""

    def __init__(
        self, horizon: int, num_envs: int, observation_sizes: Mapping[str, int], action_size: int, device: torch.device
    ) -> None:
        def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(horizon, num_envs, *shape, dtype=dtype, device=device)

        self.horizon, self.num_envs = horizon, num_envs
        self.observation = {name: empty(size) for name, size in observation_sizes.items()}
        self.action = empty(action_size)
        self.mean = empty(action_size)
        self.log_prob = empty()
        self.value = empty()
        self.next_value = empty()  # of the state that the step led to, before any reset
        self.reward = empty()
        self.terminated = empty(dtype=torch.bool)
        self.ended = empty(dtype=torch.bool)  # terminated or truncated
        self.weight = empty()  # 0 where a world broke: nothing to be learnt there
        self.log_std = torch.zeros(action_size, device=device)  # of the policy that acted
        self.policy_state: Tensor | None = None  # at the first step

    def flat(self) -> dict[str, Tensor]:
        """All that the update needs of a step, (horizon · num_envs, …)."""
        return {
            "policy": self.observation["policy"].flatten(0, 1),
            "critic": self.observation["critic"].flatten(0, 1),
            "action": self.action.flatten(0, 1),
            "mean": self.mean.flatten(0, 1),
            "log_prob": self.log_prob.flatten(),
            "value": self.value.flatten(),
            "weight": self.weight.flatten(),
        }
