"""Robots from an MJCF file: its actuators are the commands, its joints and sensors what is measured.

    class Arm(MjcfRobot):
        mjcf = Path(__file__).with_name("arm.xml")
        measures = {
            "joint_position": position_of("shoulder", "elbow"),     # (n, 2) rad
            "joint_velocity": velocity_of("shoulder", "elbow"),     # (n, 2) rad/s
            "acceleration": sensor("accelerometer"),                # (n, 3) m/s², in the frame of the sensor's site
        }
        varies = {"load": mass_of("forearm"), "friction": damping_of("shoulder", "elbow")}

Units and frames are found in the model. One number is (n,), several are (n, k). All actuators are commanded, in the
model's order and within their `ctrlrange`. Marked methods of the class are signals besides. A name that the model does
not have is a `UserError` with the nearest right one.

Sensors of forces and accelerations belong to the last physics step, all others to the present state.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import mujoco
import numpy as np
from torch import Tensor
from typing_extensions import override

from robo_ppo.env.robot import ActionInterface, Parameter, Robot, Scale
from robo_ppo.env.signals import Quantity, measurement
from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.robots.quantities import command_unit, joints_unit, sensor_quantity

ACTION = "actuators"
"""The one action interface: `robot.action=actuators`."""

Kind = Literal["actuator", "body", "joint", "sensor"]


@dataclass(frozen=True)
class Reading:
    """Where a measurement comes from: a field of the simulation, and the joints or the sensor that it is of."""

    field: Literal["qpos", "qvel", "sensordata"]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """What a factor of the randomization multiplies: fields of the model, for the things named."""

    kind: Literal["actuator", "body", "joint"]
    names: tuple[str, ...]
    fields: tuple[str, ...]


def position_of(*joints: str) -> Reading:
    """Positions of hinges (rad) or slides (m)."""
    return Reading("qpos", joints)


def velocity_of(*joints: str) -> Reading:
    """Velocities of hinges (rad/s) or slides (m/s)."""
    return Reading("qvel", joints)


def sensor(name: str) -> Reading:
    """What a sensor of the model says."""
    return Reading("sensordata", (name,))


def mass_of(*bodies: str) -> Part:
    """Mass and inertia of bodies."""
    return Part("body", bodies, ("body_mass", "body_inertia"))


def gain_of(*actuators: str) -> Part:
    """Strength of motors, stiffness of servos."""
    return Part("actuator", actuators, ("actuator_gainprm", "actuator_biasprm"))


def damping_of(*joints: str) -> Part:
    """Viscous friction of joints."""
    return Part("joint", joints, ("dof_damping",))


def _check_declarations(robot: type["MjcfRobot"]) -> None:
    """Refuse what a person easily writes instead: a text for a path, a name for a measurement or a part."""
    name = robot.__name__
    if not isinstance(robot.mjcf, Path):
        raise UserError(f"{name}.mjcf must be a path, as Path(__file__).with_name('arm.xml'), not {robot.mjcf!r}")
    for what, table, kind, example in (
        ("measures", robot.measures, Reading, "position_of('elbow')"),
        ("varies", robot.varies, Part, "mass_of('arm')"),
    ):
        for key, value in table.items():
            if not isinstance(value, kind):
                raise UserError(f"{name}.{what}: '{key}' must be what a function gives, as {example}, not {value!r}")


class MjcfRobot(Robot):
    """A robot that is an MJCF file and what its class names of it."""

    mjcf: ClassVar[Path]
    measures: ClassVar[Mapping[str, Reading]] = {}
    varies: ClassVar[Mapping[str, Part]] = {}
    radius = 0.0  # nothing here is a sphere

    def __init__(self, action: str) -> None:
        _check_declarations(type(self))
        self.name = self.mjcf.stem
        if action != ACTION:
            raise UserError(f"robot.action={action}: {self.name} has no such action interface; known: {ACTION}")
        if not self.mjcf.is_file():
            raise UserError(f"there is no {self.mjcf}; {type(self).__name__}.mjcf must be the path of an MJCF file")
        try:
            self._model = self.spec().compile()
            self.action = self._commands()
            measurements = {name: self._measurement(reading) for name, reading in self.measures.items()}
            self._parameters = {name: self._parameter(part) for name, part in self.varies.items()}
        except ValueError as error:  # of MuJoCo, and of what is below
            raise UserError(f"{self.mjcf}: {' '.join(str(error).split())}") from error
        for name, function in measurements.items():
            if hasattr(self, name):
                raise UserError(f"{type(self).__name__}.measures: every robot has a '{name}' already; rename it")
            setattr(self, name, function)

    @override
    def spec(self) -> mujoco.MjSpec:
        return mujoco.MjSpec.from_file(str(self.mjcf))

    @override
    def fields(self) -> tuple[str, ...]:
        reads_sensors = any(reading.field == "sensordata" for reading in self.measures.values())
        return ("qpos", "qvel", "sensordata") if reads_sensors else ("qpos", "qvel")

    @override
    def parameters(self) -> dict[str, Parameter]:
        return self._parameters

    def _commands(self) -> ActionInterface:
        model, names = self._model, self._names("actuator")
        if not names:
            raise ValueError("it has no actuators, so there is nothing to command")
        for number, name in enumerate(names):
            if not name:
                raise ValueError(f"actuator {number} has no name; name it after what it is told")
            if not model.actuator_ctrllimited[number]:
                raise ValueError(f"the actuator '{name}' needs a ctrlrange: the least and the most that it is told")
        return ActionInterface(
            names=tuple(names),
            units=tuple(command_unit(model, number) for number in range(model.nu)),
            lower=tuple(model.actuator_ctrlrange[:, 0].tolist()),
            upper=tuple(model.actuator_ctrlrange[:, 1].tolist()),
        )

    def _measurement(self, reading: Reading) -> Callable[..., Tensor]:
        """The function that reads it; the name of its parameter is the field that it needs."""
        model = self._model
        if reading.field == "sensordata":
            (number,) = self._ids("sensor", reading.names)
            first, quantity = int(model.sensor_adr[number]), sensor_quantity(model, number)
            columns = list(range(first, first + int(model.sensor_dim[number])))
        else:
            joints = self._ids("joint", reading.names)
            unit, is_position = joints_unit(model, joints), reading.field == "qpos"
            quantity = Quantity(unit if is_position else f"{unit}/s")
            columns = [int(a) for a in (model.jnt_qposadr if is_position else model.jnt_dofadr)[list(joints)]]
        chosen = _selection(columns)
        readers: dict[str, Callable[..., Tensor]] = {
            "qpos": lambda qpos: qpos[:, chosen],
            "qvel": lambda qvel: qvel[:, chosen],
            "sensordata": lambda sensordata: sensordata[:, chosen],
        }
        return measurement(unit=quantity.unit, frame=quantity.frame)(readers[reading.field])

    def _parameter(self, part: Part) -> Parameter:
        entries = self._ids(part.kind, part.names)
        if part.kind == "joint":  # fields of joints are by degree of freedom
            entries = tuple(np.flatnonzero(np.isin(self._model.dof_jntid, entries)).tolist())
        return Parameter("1", 1.0, tuple(Scale(field, entries) for field in part.fields))

    def _ids(self, kind: Kind, names: Sequence[str]) -> tuple[int, ...]:
        known = self._names(kind)
        if not names:
            raise ValueError(f"{type(self).__name__} names no {kind}; known: {', '.join(filter(None, known))}")
        for name in names:
            if name not in known:
                raise ValueError(f"there is no {kind} '{name}'; {did_you_mean(name, filter(None, known))}")
        return tuple(known.index(name) for name in names)

    def _names(self, kind: Kind) -> list[str]:
        count = getattr(self._model, {"actuator": "nu", "body": "nbody", "joint": "njnt", "sensor": "nsensor"}[kind])
        return [getattr(self._model, kind)(number).name for number in range(count)]


def _selection(columns: list[int]) -> int | slice | list[int]:
    """Columns as what picks them fastest: one number, a stretch, or a list."""
    if len(columns) == 1:
        return columns[0]
    stretch = slice(columns[0], columns[-1] + 1)
    return stretch if columns == list(range(stretch.start, stretch.stop)) else columns
