"""Crazyflie 2.1 Brushless: a quadrotor of 43 g and 10 cm; see `parameters.yaml`."""

from pathlib import Path

from robo_ppo.robots.multirotor import Multirotor


class Crazyflie(Multirotor):
    """The Crazyflie with the action interface `body_rates` or `motors`."""

    def __init__(self, action: str) -> None:
        super().__init__(Path(__file__).parent, action)
