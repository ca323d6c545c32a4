"""A MuJoCo model as Isaac Gym sees it: one actor of links, dofs and shapes, with its own file and its own numbers.

    robot = Robot(model)         # refuses what Isaac Gym cannot simulate, by name
    robot.mjcf                   # a file of what its importer reads, and nothing besides
    robot.layout()               # constants for the worker, as JSON
    robot.parameters(fields)     # numbers that may differ between worlds: masses, damping, gains …

A world is one robot (a tree of bodies, floating or fixed) above one horizontal plane. Other bodies, mocap ones too,
must have no contacts; they exist in MuJoCo alone, where pictures and kinematics come from.

Names in the file are ours ("link_2", "dof_0"), whatever the model's: the importer alters what it does not like.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robo_ppo.sim.isaac_gym.limits import FREE, SHAPES, SITE, check, name_of, refuse

Array = NDArray[np.float64]

FIELDS = frozenset(
    "body_mass body_inertia dof_damping dof_armature jnt_stiffness geom_friction actuator_gainprm actuator_biasprm "
    "actuator_dynprm actuator_ctrlrange actuator_forcerange".split()
)
"""Fields of the model that may differ between worlds."""

_CONTACT = int(mujoco.mjtDisableBit.mjDSBL_CONTACT.value)
_NO_GRAVITY = int(mujoco.mjtDisableBit.mjDSBL_GRAVITY.value)
_PLANE = int(mujoco.mjtGeom.mjGEOM_PLANE.value)
_FIXED_GAIN = int(mujoco.mjtGain.mjGAIN_FIXED.value)
_NO_BIAS = int(mujoco.mjtBias.mjBIAS_NONE.value)


class Robot:
    """The robot of a compiled model, its links in the order of the model."""

    def __init__(self, model: mujoco.MjModel) -> None:
        check(model)
        self.model = model
        self.bodies = self._moving_bodies()
        self.floats = self._is_free(self.root)
        self.joints = [
            self._joint_of(body) for body in self.bodies if model.body_jntnum[body] and not self._is_free(body)
        ]
        self.dofs = [int(model.jnt_dofadr[joint]) for joint in self.joints]
        self.positions = [int(model.jnt_qposadr[joint]) for joint in self.joints]  # in qpos
        self.ground, self.geoms, self.touches_itself = self._contacts()
        self._check_forces_on_joints()
        self.mjcf = ElementTree.tostring(self._file(), encoding="unicode")

    @property
    def root(self) -> int:
        """The body at the robot's base, by its number in the model."""
        return self.bodies[0]

    @property
    def rest(self) -> Array:
        """Joint positions that Isaac Gym calls zero (dofs)."""
        return np.array(self.model.qpos0[self.positions])

    def layout(self) -> dict[str, Any]:
        """What the worker must know of the robot, for all worlds alike."""
        model = self.model
        gravity = np.zeros(3) if model.opt.disableflags & _NO_GRAVITY else model.opt.gravity
        pose = np.array(model.qpos0[:7]) if self.floats else np.array((0, 0, 0, 1, 0, 0, 0), dtype=float)
        return {
            "timestep": float(model.opt.timestep),
            "gravity": list(map(float, gravity)),
            "ground": None if self.ground is None else self._ground_numbers(self.ground),
            "floats": self.floats,
            "pose": list(map(float, pose)),
            "touches_itself": self.touches_itself,
            "links": [_link(body) for body in self.bodies],
            "shapes": [sum(int(model.geom_bodyid[geom]) == body for geom in self.geoms) for body in self.bodies],
            "centres": model.body_ipos[self.bodies].tolist(),
            "dofs": [_dof(joint) for joint in self.joints],
            "rest": self.rest.tolist(),
            "spring": (model.qpos_spring[self.positions] - self.rest).tolist(),
            "joint_moments": self._joint_moments().tolist(),
            "link_moments": self._link_moments().tolist(),
            "dynamics": [mujoco.mjtDyn(int(kind)).name.partition("_")[2].lower() for kind in model.actuator_dyntype],
            "activations": [int(number) for number in model.actuator_actadr],
            "reads_links": self._reads_links(),
        }

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of `parameters`, without the worlds."""
        return {name: values.shape[1:] for name, values in self.parameters({}).items()}

    def parameters(self, fields: Mapping[str, Array]) -> dict[str, Array]:
        """The worker's numbers from fields of the model (worlds, …); fields that are missing are the model's own."""
        model, bodies = self.model, self.bodies

        def field(name: str) -> Array:
            return fields[name] if name in fields else np.asarray(getattr(model, name), dtype=np.float64)[None]

        fixed, unbiased = model.actuator_gaintype == _FIXED_GAIN, model.actuator_biastype == _NO_BIAS
        gain, bias = field("actuator_gainprm")[:, :, :3].copy(), field("actuator_biasprm")[:, :, :3].copy()
        gain[:, fixed, 1:] = 0.0
        bias[:, unbiased] = 0.0
        return {
            "mass": field("body_mass")[:, bodies],
            "inertia": self._inertia(field("body_inertia")[:, bodies]),
            "damping": field("dof_damping")[:, self.dofs],
            "armature": field("dof_armature")[:, self.dofs],
            "stiffness": field("jnt_stiffness")[:, self.joints],
            "friction": field("geom_friction")[:, self.geoms],
            "gain": gain,
            "bias": bias,
            "time_constant": np.maximum(field("actuator_dynprm")[:, :, 0], mujoco.mjMINVAL),
            "control_range": _limits(field("actuator_ctrlrange"), model.actuator_ctrllimited),
            "force_range": _limits(field("actuator_forcerange"), model.actuator_forcelimited),
            "activation_range": _limits(field("actuator_actrange"), model.actuator_actlimited),
            "effort_range": _limits(field("jnt_actfrcrange")[:, self.joints], model.jnt_actfrclimited[self.joints]),
        }

    def check_field(self, field: str, values: Array) -> None:
        """Refuse values (worlds, …) of a model field that Isaac Gym would not heed in the worlds they are for."""
        nominal = np.asarray(getattr(self.model, field), dtype=np.float64)
        if field == "geom_friction" and self.ground is not None:
            if not np.allclose(values[:, self.ground], nominal[self.ground]):
                refuse("its plane cannot have another friction in each world; vary the robot's geoms")
        if field.startswith("dof_") and self.floats and values[:, :6].any():
            refuse(f"{field} of a free joint must be zero")

    def _joint_of(self, body: int) -> int:
        return int(self.model.body_jntadr[body])

    def _is_free(self, body: int) -> bool:
        return bool(self.model.body_jntnum[body]) and int(self.model.jnt_type[self._joint_of(body)]) == FREE

    def _moving_bodies(self) -> list[int]:
        model = self.model
        roots = sorted({int(model.body_rootid[body]) for body in range(model.nbody) if model.body_dofnum[body]})
        if not roots:
            refuse("nothing in it moves")
        if len(roots) > 1:
            names = ", ".join(name_of(model.body(root).name, "body", root) for root in roots)
            refuse(f"it has {len(roots)} things that move ({names}), one robot is possible")
        return [body for body in range(model.nbody) if int(model.body_rootid[body]) == roots[0]]

    def _contacts(self) -> tuple[int | None, list[int], bool]:
        """The plane, the robot's geoms that touch something, and whether they touch one another."""
        model = self.model
        if model.opt.disableflags & _CONTACT:
            return None, [], False
        own = [geom for geom in range(model.ngeom) if int(model.geom_bodyid[geom]) in self.bodies]
        grounds: list[int] = []
        for geom in (geom for geom in range(model.ngeom) if geom not in own):
            if any(self._may_touch(geom, other) for other in own):
                self._check_ground(geom)
                grounds.append(geom)
        if len(grounds) > 1:
            refuse("it has several planes")
        inner = [(a, b) for i, a in enumerate(own) for b in own[i + 1 :] if self._apart(a, b)]
        touching = [pair for pair in inner if self._may_touch(*pair)]
        geoms = [
            geom
            for geom in own
            if any(self._may_touch(geom, ground) for ground in grounds) or any(geom in pair for pair in touching)
        ]
        for geom in geoms:
            self._check_shape(geom)
            if grounds and not self._may_touch(geom, grounds[0]):
                refuse(f"{self._geom_name(geom)} touches the robot but not the plane")
        among = [pair for pair in inner if pair[0] in geoms and pair[1] in geoms]
        if touching and len(touching) < len(among):
            refuse("some of the robot's geoms touch one another and some do not; it must be all or none")
        return (grounds[0] if grounds else None), geoms, bool(touching)

    def _may_touch(self, one: int, other: int) -> bool:
        types, affinities = self.model.geom_contype, self.model.geom_conaffinity
        return bool((types[one] & affinities[other]) | (types[other] & affinities[one]))

    def _apart(self, one: int, other: int) -> bool:
        """Whether contacts between two geoms of the robot count: not within a body, nor between parent and child."""
        weld, parent = self.model.body_weldid, self.model.body_parentid
        first, second = (int(weld[self.model.geom_bodyid[geom]]) for geom in (one, other))
        return first not in (second, int(weld[parent[second]])) and second != int(weld[parent[first]])

    def _check_ground(self, geom: int) -> None:
        model = self.model
        level = np.zeros(9)
        mujoco.mju_quat2Mat(level, model.geom_quat[geom])
        if int(model.geom_type[geom]) != _PLANE or int(model.geom_bodyid[geom]) != 0 or not np.isclose(level[8], 1.0):
            refuse(f"the robot can touch {self._geom_name(geom)}, which is not a horizontal plane of the world")
        self._check_surface(geom)

    def _check_shape(self, geom: int) -> None:
        if int(self.model.geom_type[geom]) not in SHAPES:
            refuse(f"{self._geom_name(geom)} is not one of {', '.join(SHAPES.values())}, yet has contacts")
        self._check_surface(geom)

    def _check_surface(self, geom: int) -> None:
        if self.model.geom_surfacevel[geom].any() or self.model.geom_adhesion[geom]:
            refuse(f"{self._geom_name(geom)} has a surface that moves or sticks")
        if self.model.geom_condim[geom] == 1:
            refuse(f"{self._geom_name(geom)} has condim 1; give it little friction instead")

    def _check_forces_on_joints(self) -> None:
        """MuJoCo limits the sum of all actuators on a joint; here a site's part of it is not known."""
        model = self.model
        sites = model.actuator_trnid[model.actuator_trntype == SITE, 0]
        elsewhere = any(int(body) != self.root for body in model.site_bodyid[sites])
        if model.jnt_actfrclimited[self.joints].any() and elsewhere:
            refuse("a joint has actuatorfrcrange while actuators act on sites of links")

    def _geom_name(self, geom: int) -> str:
        return name_of(self.model.geom(geom).name, "geom", geom)

    def _ground_numbers(self, ground: int) -> dict[str, float]:
        return {
            "height": float(self.model.geom_pos[ground, 2]),
            "friction": float(self.model.geom_friction[ground, 0]),
        }

    def _inertia(self, principal: Array) -> Array:
        """Inertia about the centre of mass, axes of the link (worlds, links, 9)."""
        turns = np.zeros((len(self.bodies), 9))
        for turn, body in zip(turns, self.bodies, strict=True):
            mujoco.mju_quat2Mat(turn, self.model.body_iquat[body])
        turns = turns.reshape(-1, 3, 3)
        return np.einsum("bij,wbj,bkj->wbik", turns, principal, turns).reshape(len(principal), -1, 9)

    def _joint_moments(self) -> Array:
        """Effort on each dof by one newton of each actuator (actuators, dofs)."""
        moments = np.zeros((self.model.nu, len(self.joints)))
        for actuator in range(self.model.nu):
            if int(self.model.actuator_trntype[actuator]) != SITE:
                joint = int(self.model.actuator_trnid[actuator, 0])
                moments[actuator, self.joints.index(joint)] = self.model.actuator_gear[actuator, 0]
        return moments

    def _link_moments(self) -> Array:
        """Force and torque about a link's centre of mass, in its axes, by one newton (actuators, links, 6)."""
        model = self.model
        moments = np.zeros((model.nu, len(self.bodies), 6))
        turn = np.zeros(9)
        for actuator in range(model.nu):
            if int(model.actuator_trntype[actuator]) == SITE:
                site = int(model.actuator_trnid[actuator, 0])
                body = int(model.site_bodyid[site])
                if body not in self.bodies:
                    name = name_of(model.actuator(actuator).name, "actuator", actuator)
                    refuse(f"{name} acts on a site outside the robot")
                mujoco.mju_quat2Mat(turn, model.site_quat[site])
                force, torque = (turn.reshape(3, 3) @ part for part in model.actuator_gear[actuator].reshape(2, 3))
                torque += np.cross(model.site_pos[site] - model.body_ipos[body], force)
                moments[actuator, self.bodies.index(body)] = np.concatenate((force, torque))
        return moments

    def _reads_links(self) -> bool:
        """Whether an actuator's force depends on the velocity of a link."""
        model = self.model
        prm = np.abs(model.actuator_gainprm[:, 2]) + np.abs(model.actuator_biasprm[:, 2])
        return bool(((model.actuator_trntype == SITE) & (prm > 0)).any())

    def _file(self) -> ElementTree.Element:
        model = self.model
        root = ElementTree.Element("mujoco", model="robot")
        ElementTree.SubElement(root, "compiler", angle="radian", inertiafromgeom="false")
        top = ElementTree.SubElement(root, "worldbody")
        if not self.floats:  # a link that the importer can hold in place
            top = ElementTree.SubElement(top, "body", name="base")
            ElementTree.SubElement(top, "inertial", pos="0 0 0", mass="1", diaginertia="1 1 1")
        elements: dict[int, ElementTree.Element] = {int(model.body_parentid[self.root]): top}
        for body in self.bodies:
            parent = elements[int(model.body_parentid[body])]
            elements[body] = self._add_body(parent, body)
        return root

    def _add_body(self, parent: ElementTree.Element, body: int) -> ElementTree.Element:
        model = self.model
        free = self._is_free(body)
        place = (np.zeros(3), np.array((1.0, 0, 0, 0))) if free else (model.body_pos[body], model.body_quat[body])
        element = ElementTree.SubElement(parent, "body", name=_link(body), pos=_text(place[0]), quat=_text(place[1]))
        if free:
            ElementTree.SubElement(element, "freejoint", name="free")
        elif model.body_jntnum[body]:
            self._add_joint(element, self._joint_of(body))
        ElementTree.SubElement(
            element,
            "inertial",
            pos=_text(model.body_ipos[body]),
            quat=_text(model.body_iquat[body]),
            mass=_text(model.body_mass[body]),
            diaginertia=_text(model.body_inertia[body]),
        )
        for geom in self.geoms:
            if int(model.geom_bodyid[geom]) == body:
                ElementTree.SubElement(
                    element,
                    "geom",
                    type=SHAPES[int(model.geom_type[geom])],
                    pos=_text(model.geom_pos[geom]),
                    quat=_text(model.geom_quat[geom]),
                    size=_text(model.geom_size[geom]),
                    friction=_text(model.geom_friction[geom]),
                )
        return element

    def _add_joint(self, parent: ElementTree.Element, joint: int) -> None:
        model = self.model
        element = ElementTree.SubElement(
            parent,
            "joint",
            name=_dof(joint),
            type=mujoco.mjtJoint(int(model.jnt_type[joint])).name.partition("_")[2].lower(),
            pos=_text(model.jnt_pos[joint]),
            axis=_text(model.jnt_axis[joint]),
            armature=_text(model.dof_armature[model.jnt_dofadr[joint]]),
            damping=_text(model.dof_damping[model.jnt_dofadr[joint]]),
        )
        if model.jnt_limited[joint]:
            rest = model.qpos0[model.jnt_qposadr[joint]]
            element.set("limited", "true")
            element.set("range", _text(model.jnt_range[joint] - rest))


def _link(body: int) -> str:
    return f"link_{body}"


def _dof(joint: int) -> str:
    return f"dof_{joint}"


def _text(numbers: Iterable[float] | float) -> str:
    return " ".join(repr(float(number)) for number in np.atleast_1d(np.asarray(numbers)))


def _limits(ranges: Array, limited: NDArray[Any]) -> Array:
    """Ranges (worlds, n, 2), infinite where there is no limit."""
    return np.where(np.asarray(limited, dtype=bool)[:, None], ranges, np.array((-np.inf, np.inf)))
