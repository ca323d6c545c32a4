"""All parameters of a model, and their gradients, as two flat tensors.

An optimiser that walks over a dozen small tensors spends its time walking. Here each parameter and its gradient are
views into one tensor: the optimiser, the mean over ranks and the gradient's norm take one operation each.

    parameters = FlatParameters([[*actor.parameters()], [*critic.parameters()]])
    optimizer = torch.optim.Adam([parameters.value])
    parameters.differentiate(loss)                   # instead of `loss.backward()`, which would add to what is there
    optimizer.step()
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """Moves parameters into one tensor; the modules that own them notice nothing.

    `groups` lists the parameters in order; `value` (an `nn.Parameter`, for the optimiser) and `gradients` hold all.
    An optimiser's `zero_grad` would drop the gradients' tensor, and is not needed.
    """

    def __init__(self, groups: Sequence[Sequence[nn.Parameter]]) -> None:
        self._parameters = parameters = [parameter for group in groups for parameter in group]
        self.value = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
        self._gradient = torch.zeros_like(self.value)
        self.value.grad = self._gradient
        start = 0
        for parameter in parameters:
            end = start + parameter.numel()
            parameter.data = self.value.data[start:end].view_as(parameter)
            parameter.grad = self._gradient[start:end].view_as(parameter)
            start = end
        ends = torch.tensor([sum(p.numel() for p in group) for group in groups]).cumsum(0).tolist()
        self._slices = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]

    def differentiate(self, loss: Tensor) -> None:
        """Set the gradients to those of a loss that depends on every parameter."""
        gradients = torch.autograd.grad(loss, self._parameters)
        torch.cat([gradient.flatten() for gradient in gradients], out=self._gradient)

    @property
    def gradients(self) -> Tensor:
        """The gradients of all parameters (n,), a view."""
        return self._gradient

    def clip(self, limit: float) -> list[Tensor]:
        """Scale the gradient of each group to a norm of at most `limit`; returns the norms before, one per group."""
        norms: list[Tensor] = []
        for part in self._slices:
            gradient = self._gradient[part]
            norm = torch.linalg.vector_norm(gradient)
            gradient.mul_((limit / (norm + 1e-6)).clamp_max(1.0))
            norms.append(norm)
        return norms
