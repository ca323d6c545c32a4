"""Multirotors: four rotors on a rigid body, commanded by collective thrust and body rates, or rotor by rotor.

A vehicle is a folder with `<name>.xml` (MJCF with the sites `imu` and `rotor_…`, no actuators) and `parameters.yaml`
(identified numbers with their source); its `robot.py` says only where they are. Two action interfaces:

- `body_rates`: collective thrust (N) and roll, pitch and yaw rate (rad/s). The rate loop is a servo inside MuJoCo that
  stands for the one of the vehicle's firmware: torque = inertia · (command - rate) / time constant, within limits.
- `motors`: the thrust of each rotor (N).

In both, thrust follows its command with the rotors' first-order lag. Drag is linear in the velocity through the air.
"""

from functools import cached_property
from pathlib import Path
from typing import Any

import mujoco
import torch
import yaml
from torch import Tensor
from typing_extensions import override

from robo_ppo.env.constants import constant
from robo_ppo.env.robot import ActionInterface, Parameter, Robot, Scale
from robo_ppo.env.rotations import rotate, rotate_inverse
from robo_ppo.env.signals import measurement, signal
from robo_ppo.errors import UserError, did_you_mean
from robo_ppo_onboard.contract import Fallback

ROTORS = ("front_left", "front_right", "back_left", "back_right")
AXES = ("roll", "pitch", "yaw")
GRAVITY = 9.81  # m/s²
LONGEST_SATURATION = 2.0  # s that a command may lie at its limit: more is no manoeuvre
TILT_TIME = {"body_rates": 0.2, "motors": 0.4}  # s in which the fallback takes a tilt back: a few times its rate loop's
RATE_TIME = 2.0  # of the fallback's rate loop, in rotor time constants


class Multirotor(Robot):
    """A quadrotor in X configuration, described by the files in its folder."""

    def __init__(self, folder: Path, action: str) -> None:
        self.name = folder.name
        self._folder = folder
        self._numbers: dict[str, Any] = yaml.safe_load((folder / "parameters.yaml").read_text())
        interfaces = {"body_rates": self._body_rates, "motors": self._motors}
        if action not in interfaces:
            raise UserError(
                f"robot.action={action}: {self.name} has no such action interface; {did_you_mean(action, interfaces)}"
            )
        self._action_name = action
        self.action = interfaces[action]()
        self.radius = self._numbers["vehicle_radius"]
        # Three times what can be commanded: episodes begin with nearly as much, a vehicle out of control has more.
        rates = {f"max_{axis}_rate_rad_s": 3.0 * self._numbers[f"rate_max_{axis}"] for axis in AXES}
        self.limits = rates | {"max_saturation_s": LONGEST_SATURATION}
        self.fallback = self._level()

    @override
    def spec(self) -> mujoco.MjSpec:
        spec = mujoco.MjSpec.from_file(str(self._folder / f"{self.name}.xml"))
        spec.option.gravity[:] = (0.0, 0.0, -GRAVITY)
        if self._action_name == "motors":
            for rotor in ROTORS:
                self._add_thrust(spec, f"rotor_{rotor}", self._numbers[f"rotor_yaw_sign_{rotor}"])
        else:
            self._add_thrust(spec, "imu", 0.0)
            for axis in AXES:
                self._add_rate_servo(spec, axis)
        return spec

    @override
    def initial(self) -> dict[str, tuple[float, ...]]:
        per_rotor = self._numbers["mass"] * GRAVITY / len(ROTORS)
        return {"act": (per_rotor,) * 4 if self._action_name == "motors" else (4 * per_rotor,)}

    @override
    def parameters(self) -> dict[str, Parameter]:
        thrust = tuple(range(4)) if self._action_name == "motors" else (0,)
        return {
            "mass": Parameter("1", 1.0, (Scale("body_mass"), Scale("body_inertia"))),
            "motor_gain": Parameter("1", 1.0, (Scale("actuator_gainprm", thrust),)),
            "motor_lag": Parameter("1", 1.0, (Scale("actuator_dynprm", thrust),)),
            "drag": Parameter("1", 1.0),
            "wind_x": Parameter("m/s", 0.0),
            "wind_y": Parameter("m/s", 0.0),
            "wind_z": Parameter("m/s", 0.0),
        }

    @override
    def drives(self) -> dict[str, str]:
        return {"qfrc_applied": "aerodynamic_force"}

    @measurement(unit="m", frame="world")
    def position(self, qpos: Tensor) -> Tensor:
        """Position of the centre of mass (n, 3)."""
        return qpos[:, 0:3]

    @measurement(unit="quaternion", frame="body to world")
    def attitude(self, qpos: Tensor) -> Tensor:
        """Rotation from the body frame to the world frame (n, 4), wxyz."""
        return qpos[:, 3:7]

    @measurement(unit="m/s", frame="world")
    def velocity(self, qvel: Tensor) -> Tensor:
        """Velocity of the centre of mass (n, 3)."""
        return qvel[:, 0:3]

    @measurement(unit="rad/s", frame="body")
    def gyro(self, qvel: Tensor) -> Tensor:
        """Angular velocity (n, 3)."""
        return qvel[:, 3:6]

    @signal(unit="m/s", frame="world")
    def wind(self, wind_x: Tensor, wind_y: Tensor, wind_z: Tensor) -> Tensor:
        """Velocity of the air (n, 3)."""
        return torch.stack((wind_x, wind_y, wind_z), 1)

    @signal(unit="N", frame="world")
    def aerodynamic_force(self, attitude: Tensor, velocity: Tensor, wind: Tensor, drag: Tensor) -> Tensor:
        """Linear drag on the six velocities of the free joint (n, 6): force in the world frame, no torque."""
        through_air = rotate_inverse(attitude, velocity - wind)
        force = rotate(attitude, -drag.unsqueeze(1) * constant(self._drag, velocity) * through_air)
        return torch.nn.functional.pad(force, (0, 3))

    @cached_property
    def _drag(self) -> tuple[float, ...]:
        return tuple(self._numbers[f"drag_{axis}"] for axis in "xyz")

    def _body_rates(self) -> ActionInterface:
        numbers = self._numbers
        rates = [numbers[f"rate_max_{axis}"] for axis in AXES]
        return ActionInterface(
            names=("collective_thrust", "roll_rate", "pitch_rate", "yaw_rate"),
            units=("N", "rad/s", "rad/s", "rad/s"),
            lower=(4 * numbers["rotor_thrust_min"], *(-rate for rate in rates)),
            upper=(4 * numbers["rotor_thrust_max"], *rates),
            note="collective thrust along body z, body rates forward-left-up",
            throttle=((0.0, 0.0), (4 * numbers["rotor_thrust_max"], 1.0)),
        )

    def _motors(self) -> ActionInterface:
        numbers = self._numbers
        return ActionInterface(
            names=tuple(f"thrust_{rotor}" for rotor in ROTORS),
            units=("N",) * 4,
            lower=(numbers["rotor_thrust_min"],) * 4,
            upper=(numbers["rotor_thrust_max"],) * 4,
            note="thrust of each rotor",
            throttle=((0.0, 0.0), (numbers["rotor_thrust_max"], 1.0)),
        )

    def _level(self) -> Fallback:
        """The law that levels the vehicle on board without the policy, with this vehicle's numbers."""
        numbers = self._numbers
        law = {"mass": numbers["mass"], "tilt_time": TILT_TIME[self._action_name]}
        if self._action_name == "body_rates":
            return Fallback("level_rates", law)
        law |= {f"inertia_{axis}": numbers[f"inertia_{axis}"] for axis in "xyz"}
        law |= {f"yaw_sign_{rotor}": float(numbers[f"rotor_yaw_sign_{rotor}"]) for rotor in ROTORS}
        return Fallback(
            "level_motors",
            law
            | {
                "rate_time": RATE_TIME * numbers["rotor_time_constant"],
                "rotor_offset": numbers["rotor_offset"],
                "torque_per_thrust": numbers["rotor_torque_per_thrust"],
            },
        )

    def _add_thrust(self, spec: mujoco.MjSpec, site: str, yaw_sign: float) -> None:
        actuator = spec.add_actuator(name=f"thrust_{site}", target=site, trntype=mujoco.mjtTrn.mjTRN_SITE)
        actuator.gear[:] = (0, 0, 1, 0, 0, yaw_sign * self._numbers["rotor_torque_per_thrust"])
        actuator.dyntype = mujoco.mjtDyn.mjDYN_FILTEREXACT
        actuator.dynprm[0] = self._numbers["rotor_time_constant"]
        actuator.ctrllimited = True
        actuator.ctrlrange[:] = (self.action.lower[0], self.action.upper[0])

    def _add_rate_servo(self, spec: mujoco.MjSpec, axis: str) -> None:
        number = AXES.index(axis)
        gain = self._numbers[f"inertia_{'xyz'[number]}"] / self._numbers[f"rate_time_constant_{axis}"]
        torque, rate = self._numbers[f"torque_max_{axis}"], self._numbers[f"rate_max_{axis}"]
        actuator = spec.add_actuator(name=f"{axis}_rate", target="imu", trntype=mujoco.mjtTrn.mjTRN_SITE)
        actuator.gear[:] = [0.0] * 3 + [1.0 if i == number else 0.0 for i in range(3)]
        actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE
        actuator.gainprm[0] = gain
        actuator.biasprm[2] = -gain
        actuator.ctrllimited, actuator.forcelimited = True, True
        actuator.ctrlrange[:], actuator.forcerange[:] = (-rate, rate), (-torque, torque)
