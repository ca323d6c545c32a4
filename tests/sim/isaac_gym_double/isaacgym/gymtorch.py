"""Torch tensors in and out of Isaac Gym's descriptors."""

import torch

from .gymapi import Tensor


def wrap_tensor(gym_tensor: Tensor) -> torch.Tensor:
    """The memory behind a descriptor; writing to it alters nothing in the simulation."""
    if gym_tensor.values.numel() == 0:
        raise RuntimeError("an empty tensor cannot be wrapped")
    return gym_tensor.values


def unwrap_tensor(torch_tensor: torch.Tensor) -> Tensor:
    """A descriptor of a tensor, which must be contiguous."""
    if not torch_tensor.is_contiguous():
        raise RuntimeError("Input tensor must be contiguous")
    return Tensor(torch_tensor)
