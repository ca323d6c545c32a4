"""The controller that a simulated autopilot has of its own: position → velocity → acceleration → tilt → body rates.

    cascade = Cascade(mass=0.043, thrust_limits=(0.09, 0.8), rate_limits=(6.0, 6.0, 3.0), period=0.01)
    thrust, rates = cascade.hold(state, position, yaw)
    thrust, rates = cascade.fly(state, velocity, yaw_rate)

It knows the vehicle's nominal mass and the true state. An integral of the velocity's error finds the thrust that
hovering really takes, and what the wind does.
"""

import math

import numpy as np

from robo_ppo.export.vehicles.flight import RigidBody
from robo_ppo_onboard.safety.fallback import GRAVITY, rotation

APPROACH = 1.5  # 1/s: speed for each metre that is left
FASTEST = np.array([1.0, 1.0, 0.7])  # m/s
PULL = np.array([3.0, 3.0, 5.0])  # 1/s: acceleration for an error of velocity
LEARN = np.array([1.5, 1.5, 3.0])  # 1/s²: … and for its integral
MOST_LEARNED = np.array([1.5, 1.5, 4.0])  # m/s²
STEEPEST = math.radians(20.0)
TURN, SPIN = 7.0, 2.0  # 1/s: rates for errors of tilt and of yaw

Command = tuple[float, tuple[float, float, float]]


class Cascade:
    """Thrust (N) and body rates (rad/s) that bring a multirotor where it shall be."""

    def __init__(
        self, mass: float, thrust_limits: tuple[float, float], rate_limits: tuple[float, ...], period: float
    ) -> None:
        self._mass, self._thrust_limits, self._period = mass, thrust_limits, period
        self._rate_limits = np.array(rate_limits)
        self._learned = np.zeros(3)  # m/s²

    def reset(self) -> None:
        """Forget what was learned: a new vehicle."""
        self._learned = np.zeros(3)

    def hold(self, state: RigidBody, position: np.ndarray, yaw: float) -> Command:
        """Go to a position (m) and stay there."""
        velocity = np.clip(APPROACH * (position - state.position), -FASTEST, FASTEST)
        off = math.remainder(yaw - state.yaw, 2.0 * math.pi)
        return self.fly(state, velocity, SPIN * off)

    def fly(self, state: RigidBody, velocity: np.ndarray, yaw_rate: float) -> Command:
        """Fly at a velocity (m/s), turning at a rate (rad/s)."""
        error = velocity - state.velocity
        self._learned = np.clip(self._learned + LEARN * error * self._period, -MOST_LEARNED, MOST_LEARNED)
        wanted = PULL * error + self._learned + (0.0, 0.0, GRAVITY)
        level = math.hypot(wanted[0], wanted[1])
        most = math.tan(STEEPEST) * max(wanted[2], 0.3 * GRAVITY)
        wanted[:2] *= min(1.0, most / max(level, 1e-9))
        wanted[2] = max(wanted[2], 0.3 * GRAVITY)
        to_world = np.array(rotation(state.attitude.tolist()))
        direction = to_world.T @ (wanted / np.linalg.norm(wanted))  # in the body frame, where it should be (0, 0, 1)
        rates = TURN * np.array([-direction[1], direction[0], 0.0]) + to_world.T @ np.array([0.0, 0.0, yaw_rate])
        rates = np.clip(rates, -self._rate_limits, self._rate_limits)
        thrust = float(np.clip(self._mass * float(wanted @ to_world[:, 2]), *self._thrust_limits))
        return thrust, (float(rates[0]), float(rates[1]), float(rates[2]))
