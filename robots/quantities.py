"""Units and frames that an MJCF model implies: of its joints, its sensors, and the commands of its actuators."""

from collections.abc import Sequence

import mujoco

from robo_ppo.env.signals import Quantity

_HINGE, _SLIDE = mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE
_Sensor = mujoco.mjtSensor

_IN_OWN_FRAME = {
    _Sensor.mjSENS_ACCELEROMETER: "m/s²",
    _Sensor.mjSENS_VELOCIMETER: "m/s",
    _Sensor.mjSENS_GYRO: "rad/s",
    _Sensor.mjSENS_FORCE: "N",
    _Sensor.mjSENS_TORQUE: "N·m",
}
"""Vectors in the frame of the site that the sensor is on."""

_IN_REFERENCE_FRAME = {
    _Sensor.mjSENS_FRAMEPOS: "m",
    _Sensor.mjSENS_FRAMELINVEL: "m/s",
    _Sensor.mjSENS_FRAMEANGVEL: "rad/s",
}
"""Vectors in the frame of the reference object, or of the world where there is none."""

_WITHOUT_FRAME = {_Sensor.mjSENS_TOUCH: "N", _Sensor.mjSENS_RANGEFINDER: "m"}


def joints_unit(model: mujoco.MjModel, joints: Sequence[int]) -> str:
    """Unit of the positions of hinges or slides; a ValueError for other joints, and for both together."""
    units: dict[str, str] = {}
    for joint in joints:
        kind, name = mujoco.mjtJoint(int(model.jnt_type[joint])), model.joint(joint).name
        if kind not in (_HINGE, _SLIDE):
            raise ValueError(
                f"the joint '{name}' is neither a hinge nor a slide; sensors (framepos, framequat, gyro) measure it"
            )
        units["rad" if kind == _HINGE else "m"] = name
    if len(units) > 1:
        raise ValueError(f"'{units['rad']}' is in rad and '{units['m']}' in m; give each a name of its own")
    return next(iter(units))


def sensor_quantity(model: mujoco.MjModel, sensor: int) -> Quantity:
    """Unit and frame of a sensor; a ValueError for types that are not known here."""
    kind = _Sensor(int(model.sensor_type[sensor]))
    place = _name(model, int(model.sensor_objtype[sensor]), int(model.sensor_objid[sensor]))
    reference = _name(model, int(model.sensor_reftype[sensor]), int(model.sensor_refid[sensor]))
    if kind in _IN_OWN_FRAME:
        return Quantity(_IN_OWN_FRAME[kind], place)
    if kind in _IN_REFERENCE_FRAME:
        return Quantity(_IN_REFERENCE_FRAME[kind], reference)
    if kind == _Sensor.mjSENS_FRAMEQUAT:
        return Quantity("quaternion", f"{place} to {reference}")
    if kind in _WITHOUT_FRAME:
        return Quantity(_WITHOUT_FRAME[kind])
    if kind in (_Sensor.mjSENS_JOINTPOS, _Sensor.mjSENS_JOINTVEL):
        unit = joints_unit(model, [int(model.sensor_objid[sensor])])
        return Quantity(unit if kind == _Sensor.mjSENS_JOINTPOS else f"{unit}/s")
    first = int(model.sensor_adr[sensor])
    raise ValueError(
        f"the unit of the sensor '{model.sensor(sensor).name}' is not known here; write a measurement that reads "
        f"sensordata[:, {first}:{first + int(model.sensor_dim[sensor])}]"
    )


def command_unit(model: mujoco.MjModel, actuator: int) -> str:
    """Unit of what an actuator is told: of a motor or a servo in a joint, without a gear; "1" for anything else."""
    transmission, gear = mujoco.mjtTrn(int(model.actuator_trntype[actuator])), model.actuator_gear[actuator, 0]
    if transmission != mujoco.mjtTrn.mjTRN_JOINT or gear != 1.0:
        return "1"
    is_hinge = mujoco.mjtJoint(int(model.jnt_type[model.actuator_trnid[actuator, 0]])) == _HINGE
    gain = model.actuator_gainprm[actuator, 0]
    _, stiffness, damping = model.actuator_biasprm[actuator, :3]
    if mujoco.mjtBias(int(model.actuator_biastype[actuator])) == mujoco.mjtBias.mjBIAS_NONE:
        return ("N·m" if is_hinge else "N") if gain == 1.0 else "1"
    if stiffness == -gain:  # force = gain · (command - position) - …
        return "rad" if is_hinge else "m"
    if stiffness == 0.0 and damping == -gain:  # force = gain · (command - velocity)
        return "rad/s" if is_hinge else "m/s"
    return "1"


def _name(model: mujoco.MjModel, kind: int, number: int) -> str:
    """Name of an object that a sensor is on or refers to."""
    return mujoco.mj_id2name(model, kind, number) if number >= 0 else "world"
