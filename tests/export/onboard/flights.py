"""What the tests of the onboard package fly: a contract without a policy, and messages for it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from robo_ppo_onboard.contract import Contract, Fallback, Golden, Port, Training
from robo_ppo_onboard.safety.limits import Limits
from robo_ppo_onboard.safety.supervisor import Supervisor
from robo_ppo_onboard.safety.table import State
from robo_ppo_onboard.vehicle import Requests, Sample, Setpoint, Status

PERIOD = 0.02
HOVER = 0.04338 * 9.81

INPUTS = (
    Port(name="position", shape=(3,), unit="m", frame="world", noise=0.01, delay=(0.0, 0.0)),
    Port(name="velocity", shape=(3,), unit="m/s", frame="world", noise=0.05, delay=(0.0, 0.02)),
    Port(name="attitude", shape=(4,), unit="1", frame="body to world", quaternion_order="wxyz", noise=0.01),
    Port(name="gyro", shape=(3,), unit="rad/s", frame="body", noise=0.05),
    Port(name="ranges", shape=(4,), unit="m", lower=(0.0,) * 4),
    Port(name="goal", shape=(3,), unit="m", frame="world"),
)
OUTPUTS = (
    Port(name="collective_thrust", shape=(), unit="N", lower=(0.08,), upper=(0.8,), throttle=((0.0, 0.0), (0.8, 1.0))),
    Port(name="roll_rate", shape=(), unit="rad/s", lower=(-6.0,), upper=(6.0,)),
    Port(name="pitch_rate", shape=(), unit="rad/s", lower=(-6.0,), upper=(6.0,)),
    Port(name="yaw_rate", shape=(), unit="rad/s", lower=(-3.0,), upper=(3.0,)),
)
ENVELOPE = {
    "max_tilt_rad": 1.9,
    "max_roll_rate_rad_s": 12.0,
    "max_pitch_rate_rad_s": 12.0,
    "max_yaw_rate_rad_s": 6.0,
    "max_speed_m_s": 5.0,
    "max_saturation_s": 0.5,
    **{f"{side}_{axis}_m": value for axis in "xy" for side, value in (("min", -4.0), ("max", 4.0))},
    "min_z_m": 0.0,
    "max_z_m": 3.0,
}
CALM: dict[str, tuple[float, ...]] = {
    "position": (0.0, 0.0, 1.5),
    "velocity": (0.0, 0.0, 0.0),
    "attitude": (1.0, 0.0, 0.0, 0.0),
    "gyro": (0.0, 0.0, 0.0),
    "ranges": (3.0, 3.0, 3.0, 3.0),
    "goal": (1.0, 1.0, 1.0),
}
STEADY = {"collective_thrust": HOVER, "roll_rate": 0.1, "pitch_rate": 0.0, "yaw_rate": 0.0}


def contract(**changes: Any) -> Contract:
    def arrays(ports: tuple[Port, ...]) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
        return {port.name: np.zeros((2, *port.shape), np.float32) for port in ports}

    inputs, outputs = changes.pop("inputs", INPUTS), changes.pop("outputs", OUTPUTS)
    parts: dict[str, Any] = {
        "task": "uav_nav",
        "robot": "crazyflie",
        "control_period": PERIOD,
        "inputs": inputs,
        "outputs": outputs,
        "state": (),
        "limits": ENVELOPE,
        "fallback": Fallback("level_rates", {"mass": 0.04338, "tilt_time": 0.2}),
        "versions": {},
        "training": Training("", 0, 0, ""),
        "golden": Golden(arrays(inputs), arrays(outputs)),
    }
    return Contract(**(parts | changes))


class Flight:
    """A supervisor, tick after tick: everything is calm unless a test says otherwise."""

    def __init__(self, start: State = State.POLICY, *, flies_itself: bool = False, **limits: Any) -> None:
        given = {"ramp_s": 0.1, "hover_s": 0.2, "max_engage_s": 0.3, "max_launch_s": 1.0} | limits
        self.contract = contract()
        self.supervisor = Supervisor(
            self.contract, Limits.of(self.contract, given), flies_itself=flies_itself, start=start
        )
        self.now = 10.0
        self.asked = False

    @property
    def state(self) -> State:
        return self.supervisor.state

    def tick(
        self,
        measured: Mapping[str, tuple[float, ...]] | None = None,
        answer: Mapping[str, float] | None = STEADY,
        requests: Requests | None = None,
        *,
        silent: tuple[str, ...] = (),
        wait: float = PERIOD,
        heard: float | None = None,
        **status: Any,
    ) -> Setpoint:
        self.now += wait
        values = {name: value for name, value in (CALM | dict(measured or {})).items() if name not in silent}
        samples = [Sample(name, numbers, self.now) for name, numbers in values.items()]
        vehicle: dict[str, Any] = {"armed": True, "flying": True} | status
        known = Status(heard=self.now if heard is None else heard, **vehicle)
        self.asked = self.supervisor.begin_tick(self.now, samples, known, requests or Requests())
        return self.supervisor.end_tick(self.now, answer if self.asked else None)

    def ticks(self, count: int, **arguments: Any) -> Setpoint:
        for _ in range(count - 1):
            self.tick(**arguments)
        return self.tick(**arguments)


def tilted(degrees: float) -> tuple[float, ...]:
    half = math.radians(degrees) / 2
    return (math.cos(half), math.sin(half), 0.0, 0.0)
