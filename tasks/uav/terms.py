"""Reward terms for flight: each a function of signals, one value per environment, more is better."""

import torch
from torch import Tensor


def progress(goal_distance: Tensor, previous_goal_distance: Tensor) -> Tensor:
    """Metres gained towards the goal in this step; the sum over an episode is bounded by the first distance."""
    return previous_goal_distance - goal_distance


def near_goal(goal_distance: Tensor, velocity: Tensor, *, distance: float, speed: float) -> Tensor:
    """1 where the vehicle rests at the goal; falls with distance to it and speed, to 1/e at one of these (m, m/s)."""
    return torch.exp(-torch.square(goal_distance / distance) - torch.square(velocity / speed).sum(1))


def success_bonus(success: Tensor) -> Tensor:
    """1 at success; must be worth more than resting near the goal for the rest of the episode."""
    return success.float()


def failure(failed: Tensor) -> Tensor:
    """-1 at a failure."""
    return -failed.float()


def time(goal_distance: Tensor) -> Tensor:
    """-1 in every step."""
    return -torch.ones_like(goal_distance)


def clearance_margin(clearance: Tensor, *, margin: float) -> Tensor:
    """Intrusion into a margin (m) around whatever can be hit: 0 outside it, -1 at contact."""
    return -torch.clamp(1.0 - clearance / margin, 0.0, 1.0)


def closing_speed(clearance: Tensor, previous_clearance: Tensor, *, margin: float) -> Tensor:
    """Metres by which the clearance shrank in this step, weighted by how far inside the margin (m) the vehicle is."""
    inside = torch.clamp(1.0 - clearance / margin, 0.0, 1.0)
    return -inside * torch.clamp(previous_clearance - clearance, min=0.0)


def excess_speed(speed: Tensor, *, limit: float) -> Tensor:
    """Squared speed beyond a limit (m/s): what is seen late can only be avoided by who flies slowly."""
    return -torch.square(torch.clamp(speed - limit, min=0.0))


def action_change(last_action: Tensor, previous_last_action: Tensor) -> Tensor:
    """Squared change of the action from the step before, in its own range of -1 to 1."""
    return -torch.square(last_action - previous_last_action).sum(1)


def body_rate(gyro: Tensor) -> Tensor:
    """Squared angular velocity (rad²/s²)."""
    return -torch.square(gyro).sum(1)


def facing_goal(goal_direction: Tensor) -> Tensor:
    """Cosine between the heading and the direction to the goal, 0 at the goal."""
    return goal_direction[:, 0]
