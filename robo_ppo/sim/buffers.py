"""How many contacts and constraint rows a world of a model can need, for back ends whose buffers have a fixed size.

The bound counts every pair of geoms that may touch with the most contacts that MuJoCo gives such a pair, every joint
and tendon at its limit, every dry friction and every equality. It holds in any state. For a robot with many geoms it is
far more than what ever happens, and memory and time would be wasted on it: then the estimate is what the model needs
when it tumbles about and lies on the ground in many poses, three times over.
"""

from dataclasses import dataclass

import mujoco
import numpy as np

_GENEROUS = 3
_ENOUGH = 64  # contacts for which the bound costs nothing worth saving
_POSES = 64
_TUMBLE = 100  # substeps
_MOST = {  # contacts of a pair of types, lower one first; any other pair: 8
    (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_SPHERE): 1,
    (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_CAPSULE): 2,
    (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_CYLINDER): 4,
    (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_ELLIPSOID): 1,
    (mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_BOX): 4,
    (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_SPHERE): 1,
    (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CAPSULE): 1,
    (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_BOX): 1,
    (mujoco.mjtGeom.mjGEOM_SPHERE, mujoco.mjtGeom.mjGEOM_CYLINDER): 1,
    (mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_CAPSULE): 2,
    (mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_BOX): 2,
}


@dataclass(frozen=True)
class Buffers:
    """Sizes for one world."""

    contacts: int
    constraints: int


def estimate(model: mujoco.MjModel) -> Buffers:
    """Enough for any state where that is little, otherwise generously more than what tumbling needs."""
    most = bound(model)
    if most.contacts <= _ENOUGH:
        return most
    seen = _tumble(model)
    contacts = min(most.contacts, max(_ENOUGH, _GENEROUS * seen.contacts))
    return Buffers(
        contacts, min(most.constraints, contacts * _rows_of_a_contact(model) + _rows_without_contacts(model))
    )


def bound(model: mujoco.MjModel) -> Buffers:
    """What no state can exceed."""
    contacts = sum(_contacts_of(model, a, b) for a, b in _pairs(model))
    contacts += sum(
        _contacts_of(model, int(a), int(b)) for a, b in zip(model.pair_geom1, model.pair_geom2, strict=True)
    )
    return Buffers(contacts, contacts * _rows_of_a_contact(model) + _rows_without_contacts(model))


def _pairs(model: mujoco.MjModel) -> list[tuple[int, int]]:
    """Geoms that MuJoCo would look at: masks that match, bodies that are neither the same nor parent and child."""
    excluded = {int(signature) for signature in model.exclude_signature}
    weld, parent = model.body_weldid, model.body_parentid
    found: list[tuple[int, int]] = []
    for a in range(model.ngeom):
        for b in range(a + 1, model.ngeom):
            matches = (model.geom_contype[a] & model.geom_conaffinity[b]) or (
                model.geom_contype[b] & model.geom_conaffinity[a]
            )
            one, other = int(model.geom_bodyid[a]), int(model.geom_bodyid[b])
            first, second = int(weld[one]), int(weld[other])
            related = first == second or (
                0 not in (first, second) and (weld[parent[first]] == second or weld[parent[second]] == first)
            )
            if matches and not related and min(one, other) * 65536 + max(one, other) not in excluded:
                found.append((a, b))
    return found


def _contacts_of(model: mujoco.MjModel, a: int, b: int) -> int:
    low, high = sorted((int(model.geom_type[a]), int(model.geom_type[b])))
    if low == int(mujoco.mjtGeom.mjGEOM_HFIELD):
        return 50  # mjMAXCONPAIR
    return _MOST.get((mujoco.mjtGeom(low), mujoco.mjtGeom(high)), 8)


def _rows_of_a_contact(model: mujoco.MjModel) -> int:
    widest = max([1, *model.geom_condim.tolist(), *model.pair_dim.tolist()])
    pyramidal = model.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL
    return 2 * (widest - 1) if pyramidal and widest > 1 else widest


def _rows_without_contacts(model: mujoco.MjModel) -> int:
    per_equality = {mujoco.mjtEq.mjEQ_CONNECT: 3, mujoco.mjtEq.mjEQ_WELD: 6}
    equalities = sum(per_equality.get(mujoco.mjtEq(int(kind)), 1) for kind in model.eq_type)
    friction = int((model.dof_frictionloss > 0).sum() + (model.tendon_frictionloss > 0).sum())
    ball = (model.jnt_type == int(mujoco.mjtJoint.mjJNT_BALL)) & (model.jnt_limited == 1)
    # Both ends of a range can be violated at once only where the range is empty; MuJoCo makes a row for each.
    limits = 2 * int((model.jnt_limited == 1).sum() + (model.tendon_limited == 1).sum()) - int(ball.sum())
    return equalities + friction + limits


def _tumble(model: mujoco.MjModel) -> Buffers:
    """The most that shows up from random poses, near the ground and far from it."""
    data, rng = mujoco.MjData(model), np.random.default_rng(0)
    contacts = constraints = 0
    for _ in range(_POSES):
        mujoco.mj_resetData(model, data)
        data.qpos[:] += rng.normal(0.0, 0.5, model.nq)
        data.qvel[:] = rng.normal(0.0, 1.0, model.nv)
        mujoco.mj_normalizeQuat(model, data.qpos)
        for _ in range(_TUMBLE):
            mujoco.mj_step(model, data)
            contacts, constraints = max(contacts, data.ncon), max(constraints, data.nefc)
            if not np.isfinite(data.qpos).all():
                break
    return Buffers(contacts, constraints)
