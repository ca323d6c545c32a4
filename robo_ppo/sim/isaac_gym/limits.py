"""What of a MuJoCo model Isaac Gym can simulate; the rest is refused by name, since none of it may be lost in silence.

check(model)   # raises UserError, naming the first thing that would be simulated otherwise than it is written
"""

from collections.abc import Callable

import mujoco
import numpy as np

from robo_ppo.errors import UserError

FREE, HINGE, SLIDE = (
    int(joint.value) for joint in (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
)
SITE = int(mujoco.mjtTrn.mjTRN_SITE.value)
SHAPES = {
    int(mujoco.mjtGeom.mjGEOM_SPHERE.value): "sphere",
    int(mujoco.mjtGeom.mjGEOM_CAPSULE.value): "capsule",
    int(mujoco.mjtGeom.mjGEOM_CYLINDER.value): "cylinder",
    int(mujoco.mjtGeom.mjGEOM_BOX.value): "box",
}
"""Shapes of contacts, by mjtGeom."""

_TRANSMISSIONS = (int(mujoco.mjtTrn.mjTRN_JOINT.value), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT.value), SITE)
_DYNAMICS = (
    int(mujoco.mjtDyn.mjDYN_NONE.value),
    int(mujoco.mjtDyn.mjDYN_INTEGRATOR.value),
    int(mujoco.mjtDyn.mjDYN_FILTER.value),
    int(mujoco.mjtDyn.mjDYN_FILTEREXACT.value),
)
_GAINS = (int(mujoco.mjtGain.mjGAIN_FIXED.value), int(mujoco.mjtGain.mjGAIN_AFFINE.value))
_BIASES = (int(mujoco.mjtBias.mjBIAS_NONE.value), int(mujoco.mjtBias.mjBIAS_AFFINE.value))

# Switches that change nothing here: how MuJoCo solves, and what this back end maps (contact, gravity).
_HARMLESS_SWITCHES = frozenset(
    "mjDSBL_CONTACT mjDSBL_GRAVITY mjDSBL_WARMSTART mjDSBL_REFSAFE mjDSBL_SENSOR mjDSBL_MIDPHASE mjDSBL_AUTORESET "
    "mjDSBL_NATIVECCD mjDSBL_ISLAND mjDSBL_MULTICCD mjDSBL_EQUALITY mjDSBL_FRICTIONLOSS mjNDISABLE".split()
)


def check(model: mujoco.MjModel) -> None:
    """Refuse what cannot be mapped; `Robot` adds what it finds where bodies and shapes are collected."""
    _check_options(model)
    for count, kind in ((model.neq, "equality constraints"), (model.ntendon, "tendons"), (model.nflex, "flexes")):
        if count:
            refuse(f"the model has {kind}")
    if model.npair or model.nexclude:
        refuse("the model names pairs of geoms or bodies that do or do not touch (<contact>)")
    _check_bodies(model)
    _check_joints(model)
    for actuator in range(model.nu):
        _check_actuator(model, actuator)


def refuse(what: str) -> None:
    """The one form of these messages."""
    raise UserError(f"sim.backend=isaac_gym cannot simulate this model: {what}; another back end can (sim=mujoco_cpu)")


def name_of(name: str, kind: str, number: int) -> str:
    """A thing's name in the model, or its number where it has none."""
    return f"{kind} '{name}'" if name else f"{kind} number {number}"


def _check_options(model: mujoco.MjModel) -> None:
    options = model.opt
    for name, bit in mujoco.mjtDisableBit.__members__.items():
        if name not in _HARMLESS_SWITCHES and options.disableflags & int(bit.value):
            refuse(f"its options disable {name.removeprefix('mjDSBL_').lower()}")
    if options.enableflags:
        refuse("its options enable features of MuJoCo's own solver (option/flag)")
    if options.density or options.viscosity:
        refuse("it has a fluid (option density, viscosity)")
    if options.disableactuator:
        refuse("it disables groups of actuators (option actuatorgroupdisable)")


def _check_bodies(model: mujoco.MjModel) -> None:
    for body in range(1, model.nbody):
        if model.body_gravcomp[body]:
            refuse(f"{name_of(model.body(body).name, 'body', body)} has gravcomp")


def _check_joints(model: mujoco.MjModel) -> None:
    for joint in range(model.njnt):
        name = name_of(model.joint(joint).name, "joint", joint)
        kind, body = int(model.jnt_type[joint]), int(model.jnt_bodyid[joint])
        dofs = slice(int(model.jnt_dofadr[joint]), int(model.jnt_dofadr[joint]) + (6 if kind == FREE else 1))
        if kind not in (FREE, HINGE, SLIDE):
            refuse(f"{name} is a ball joint")
        if model.body_jntnum[body] > 1:
            refuse(f"{name_of(model.body(body).name, 'body', body)} has several joints; give each a body of its own")
        if model.dof_frictionloss[dofs].any():
            refuse(f"{name} has frictionloss")
        polynomials = (model.dof_dampingpoly[dofs], model.jnt_stiffnesspoly[joint], model.jnt_springyield[joint])
        if any(np.any(numbers) for numbers in polynomials):
            refuse(f"{name} has a spring or damper that is not linear")
        if model.jnt_actgravcomp[joint]:
            refuse(f"{name} has actuatorgravcomp")
        if kind == FREE and (model.dof_damping[dofs].any() or model.dof_armature[dofs].any()):
            refuse(f"{name} is free and has damping or armature")


def _check_actuator(model: mujoco.MjModel, actuator: int) -> None:
    name = name_of(model.actuator(actuator).name, "actuator", actuator)
    kinds: tuple[tuple[int, tuple[int, ...], Callable[[int], object]], ...] = (
        (int(model.actuator_trntype[actuator]), _TRANSMISSIONS, mujoco.mjtTrn),
        (int(model.actuator_dyntype[actuator]), _DYNAMICS, mujoco.mjtDyn),
        (int(model.actuator_gaintype[actuator]), _GAINS, mujoco.mjtGain),
        (int(model.actuator_biastype[actuator]), _BIASES, mujoco.mjtBias),
    )
    for kind, known, words in kinds:
        if kind not in known:
            allowed = ", ".join(_word(words(number)) for number in known)
            refuse(f"{name} has the type {_word(words(kind))}, known are {allowed}")
    target, second = (int(number) for number in model.actuator_trnid[actuator])
    if kinds[0][0] == SITE and second >= 0:
        refuse(f"{name} has a refsite")
    if kinds[0][0] != SITE and int(model.jnt_type[target]) not in (HINGE, SLIDE):
        refuse(f"{name} acts on a free joint; use a site")
    if model.actuator_actearly[actuator]:
        refuse(f"{name} has actearly")
    if model.actuator_historyadr[actuator] >= 0:
        refuse(f"{name} has a delay")
    if model.actuator_damping[actuator] or np.any(model.actuator_dampingpoly[actuator]):
        refuse(f"{name} has damping")
    if model.actuator_armature[actuator]:
        refuse(f"{name} has armature; give it to the joint")


def _word(kind: object) -> str:
    return str(getattr(kind, "name", kind)).partition("_")[2].lower()
