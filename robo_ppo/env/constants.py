"""Constant tensors for signals: made once for each device, not copied to it anew in every step.

    @signal()
    def room_clearance(self, position: Tensor) -> Tensor:
        upper = constant(self.settings.room, position)        # (3,), of the type and on the device of `position`
        return (upper - position).amin(1)

`position.new_tensor([…])` gives the same numbers, but on an accelerator every call of it copies them from the host and
waits; a step with such a copy cannot be captured in a graph.
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor


def constant(values: Sequence[float] | float, like: Tensor) -> Tensor:
    """A tensor of these numbers with the type and on the device of another; not to be written to."""
    if type(like) is not Tensor:  # tensors of a tracer must not be kept
        return like.new_tensor(values)
    return _kept(tuple(values) if isinstance(values, Sequence) else values, like.dtype, like.device)


@functools.cache  # for ever: a recorded graph reads them where they are
def _kept(values: tuple[float, ...] | float, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)
