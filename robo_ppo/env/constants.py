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
    if isinstance(values, Sequence):
        return _kept(tuple(float(value).hex() for value in values), like.dtype, like.device)
    return _kept(float(values).hex(), like.dtype, like.device)


@functools.cache  # for ever: a recorded graph reads them where they are
def _kept(values: tuple[str, ...] | str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Numbers in hexadecimal, which tells 0.0 from -0.0."""
    numbers = [float.fromhex(value) for value in values] if isinstance(values, tuple) else float.fromhex(values)
    return torch.tensor(numbers, dtype=dtype, device=device)
