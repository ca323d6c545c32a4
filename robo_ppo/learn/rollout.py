"""What the learner remembers of one iteration: `horizon` steps of every environment, in tensors that are made once."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Rollout:
    """Tensors (horizon, num_envs, …), filled step by step; observations are kept as the networks saw them, normalised.

    On an accelerator the number of the present step lies there too, so that one recorded graph serves every step.
    """

    def __init__(
        self,
        horizon: int,
        num_envs: int,
        observation_sizes: Mapping[str, int],
        action_size: int,
        device: torch.device,
        state_size: int = 0,
    ) -> None:
        def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(horizon, num_envs, *shape, dtype=dtype, device=device)

        self.horizon, self.num_envs, self.device = horizon, num_envs, device
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
        self.policy_state = torch.zeros(num_envs, state_size, device=device)  # before the first step
        self._step = 0
        self._step_on_device = torch.zeros(1, dtype=torch.int64, device=device)
        self._host_counts = device.type == "cpu"

    def begin(self) -> None:
        """Go back to the first step."""
        self._step = 0
        self._step_on_device.zero_()

    def keep(self, field: Tensor, values: Tensor) -> None:
        """Write values (num_envs, …) into the present step of a field."""
        if self._host_counts:
            field[self._step] = values
        else:
            field.index_copy_(0, self._step_on_device, values.to(field.dtype).unsqueeze(0))

    def advance(self) -> None:
        """Go on to the next step."""
        if self._host_counts:
            self._step += 1
        else:
            self._step_on_device += 1

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
