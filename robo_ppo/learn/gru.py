"""A gated recurrent unit: a policy's memory of an episode (Cho et al., arXiv:1406.1078), as `torch.nn.GRUCell` has it.

    memory = GRU(inputs=46, size=64, generator)
    state = memory(observation, state)                      # one step of n environments
    states = memory.over_time(observations, state, ended)   # many steps, for learning

    r, z = sigmoid(W_r x + b_r + U_r h + c_r), sigmoid(W_z x + b_z + U_z h + c_z)
    h'   = (1 - z) tanh(W_n x + b_n + r (U_n h + c_n)) + z h

What depends on the input alone is computed for all steps at once; only the rest has to wait for the step before. The
state begins at 0 in every episode.
"""

import torch
from torch import Tensor, nn

_GATES = 3  # reset, update, new: in this order in the rows of both weights


class GRU(nn.Module):
    """`size` numbers that are remembered from step to step; they lie between -1 and 1."""

    def __init__(self, inputs: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.size = size
        self.input = nn.Linear(inputs, _GATES * size)
        self.recurrent = nn.Linear(size, _GATES * size)
        for layer in (self.input, self.recurrent):
            for gate in layer.weight.data.split(size):
                nn.init.orthogonal_(gate, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: Tensor, state: Tensor) -> Tensor:
        """The next state (n, size), from inputs (n, inputs) and the state so far (n, size)."""
        return self._next(self.input(inputs), state)

    def over_time(self, inputs: Tensor, state: Tensor, ended: Tensor) -> Tensor:
        """States after each of many steps (steps · n, size), from the inputs of all steps one after another.

        `inputs` (steps · n, inputs), the state before the first step (n, size), and where an episode ended with a step
        (steps · n,): the next step begins without a memory.
        """
        projected = self.input(inputs).float().unflatten(0, (-1, len(state)))
        goes_on = (~ended).to(state.dtype).view(-1, len(state), 1)
        states: list[Tensor] = []
        # In single precision: errors would add up from step to step.
        with torch.autocast(state.device.type, enabled=False):
            for now, alive in zip(projected.unbind(), goes_on.unbind(), strict=True):
                state = self._next(now, state)
                states.append(state)
                state = state * alive
        return torch.cat(states)

    def _next(self, projected: Tensor, state: Tensor) -> Tensor:
        """One step, from the part of the gates (n, 3 · size) that the input alone decides."""
        gates, new = projected.split([2 * self.size, self.size], 1)
        remembered_gates, remembered = self.recurrent(state).split([2 * self.size, self.size], 1)
        reset, keep = torch.sigmoid(gates + remembered_gates).chunk(2, 1)
        new = torch.tanh(new + reset * remembered)
        return new + keep * (state - new)
