"""Reward terms of the toy."""

import torch
from torch import Tensor


def gain(gap: Tensor, previous_gap: Tensor) -> Tensor:
    return previous_gap - gap


def effort(last_action: Tensor, previous_last_action: Tensor, *, power: int) -> Tensor:
    return -((last_action - previous_last_action).abs() ** power).sum(1)


def quickening(more_way: Tensor) -> Tensor:
    return more_way


def wrong_shape(place: Tensor) -> Tensor:
    return place


def explosive(place: Tensor) -> Tensor:
    return 1.0 / (place - place)[:, 0]


def alive(place: Tensor) -> Tensor:
    return torch.ones_like(place[:, 0])
