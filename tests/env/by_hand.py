"""The toy's environment by hand, one episode at a time, in plain Python: the truth for `test_environment`."""

from dataclasses import dataclass

import torch

from robo_ppo.env.environment import Environment
from tests.env.toy import DECIMATION, DRAG, FAR, LOWER, MASS, NEAR, TIMESTEP, UPPER


@dataclass
class Cart:
    """One cart in one episode."""

    x: float
    v: float
    target: float
    mass: float
    wind: float
    delay: int = 0  # control steps
    visited: int = 0
    near_steps: int = 0
    age: int = 0
    last_action: float = 0.0
    gained: float = 0.0
    way: float = 0.0

    def __post_init__(self) -> None:
        self.commands = [0.0] * (self.delay + 1)
        self.previous_gap, self.previous_x = self.gap, self.x
        self.remembered_gap = self.gap  # the controller's own
        self.air = DRAG * (self.wind - self.v)

    @property
    def gap(self) -> float:
        return abs(self.target - self.x)

    def policy(self) -> list[float]:
        return [self.gap, self.gained, self.x, self.last_action]

    def critic(self) -> list[float]:
        return [self.near_steps, self.way, self.wind]


@dataclass(frozen=True)
class Outcome:
    """What a step did to one cart."""

    reward: float
    success: bool
    failure: bool
    truncated: bool
    rewritten: bool
    final_policy: list[float]
    final_critic: list[float]

    @property
    def ended(self) -> bool:
        return self.success or self.failure or self.truncated


def begin(environment: Environment, episode: int, delay: int = 0) -> Cart:
    """The cart of an episode, from the bank."""
    columns = environment.bank.episodes(torch.tensor([episode]))
    row = {name: float(values.flatten()[0]) for name, values in columns.items() if values.numel()}
    mass, wind = MASS * row.get("model.mass", 1.0), row.get("wind", 0.0)
    return Cart(row["qpos"], row["qvel"], row["target"], mass, wind, delay)


def step(cart: Cart, action: float, *, visits: int = 3, near: float = NEAR, max_steps: int = 50) -> Outcome:
    """One control step in the documented order."""
    action = min(max(action, -1.0), 1.0)
    before, cart.last_action = cart.last_action, action
    cart.commands = [action, *cart.commands[:-1]]
    force = LOWER + (cart.commands[-1] + 1.0) / 2.0 * (UPPER - LOWER)
    for _ in range(DECIMATION):
        cart.v += TIMESTEP * (force + cart.air) / cart.mass
        cart.x += TIMESTEP * cart.v
    cart.age += 1
    cart.gained, cart.way = cart.remembered_gap - cart.gap, abs(cart.x - cart.previous_x)
    reward = 2.0 * (cart.previous_gap - cart.gap) - 0.1 * (action - before) ** 2
    failure = abs(cart.x) > FAR
    success = cart.visited >= visits and not failure
    truncated = cart.age >= max_steps and not (success or failure)
    rewritten = cart.gap < near and not (success or failure or truncated)
    cart.near_steps = cart.near_steps + 1 if cart.gap < 5.0 * NEAR else 0
    outcome = Outcome(reward, success, failure, truncated, rewritten, cart.policy(), cart.critic())
    if rewritten:
        cart.target, cart.visited = -cart.target, cart.visited + 1
        cart.gained = cart.remembered_gap - cart.gap
    cart.previous_gap, cart.previous_x = cart.gap, cart.x
    cart.remembered_gap = cart.gap
    cart.air = DRAG * (cart.wind - cart.v)
    return outcome
