"""One environment with its robot: a MuJoCo model and its data, in Isaac Gym's order and frames."""

import mujoco
import numpy as np

from .structures import AssetOptions, PlaneParams, SimParams, Transform

WXYZ_TO_XYZW = [1, 2, 3, 0]
XYZW_TO_WXYZ = [3, 0, 1, 2]


class Asset:
    """A file and how to import it; links and dofs as the importer orders them."""

    def __init__(self, path, options: AssetOptions) -> None:
        self.path = path
        self.options = options
        self.model = mujoco.MjSpec.from_file(path).compile()
        root, *rest = range(1, self.model.nbody)
        self.links = [root, *reversed(rest)]
        free = self.model.njnt and self.model.jnt_type[0] == mujoco.mjtJoint.mjJNT_FREE
        if bool(free) == options.fix_base_link:
            raise RuntimeError("fix_base_link and the file disagree on whether the base floats")
        self.joints = list(reversed(range(1 if free else 0, self.model.njnt)))
        shapes = [np.flatnonzero(self.model.geom_bodyid == link) for link in self.links]
        self.shapes = [int(shape) for part in shapes for shape in part]
        self.shape_counts = [len(part) for part in shapes]

    def link_names(self) -> list[str]:
        return [self.model.body(link).name for link in self.links]

    def dof_names(self) -> list[str]:
        return [self.model.joint(joint).name for joint in self.joints]


class Actor:
    """A robot in its own world."""

    def __init__(self, asset: Asset, pose: Transform, origin: np.ndarray, touches_itself: bool) -> None:
        self.asset = asset
        self.origin = origin
        self.touches_itself = touches_itself
        self.place = np.array((pose.p.x, pose.p.y, pose.p.z))
        self.turn = np.array((pose.r.x, pose.r.y, pose.r.z, pose.r.w))
        model = asset.model
        self.mass, self.centre = model.body_mass[asset.links].copy(), model.body_ipos[asset.links].copy()
        self.inertia = np.stack([self._full_inertia(link) for link in asset.links])
        self.friction = model.geom_friction[asset.shapes].copy()
        dofs = model.jnt_dofadr[asset.joints]
        numbers = ("stiffness", "damping", "friction", "armature", "effort", "velocity")
        self.dofs = np.zeros(len(dofs), dtype=[("driveMode", "i4"), *((name, "f4") for name in numbers)])
        self.dofs["effort"] = 1e-3  # of an importer that found no actuator
        self.dofs["damping"], self.dofs["armature"] = model.dof_damping[dofs], model.dof_armature[dofs]

    def _full_inertia(self, link: int) -> np.ndarray:
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, self.asset.model.body_iquat[link])
        turn = turn.reshape(3, 3)
        return turn @ np.diag(self.asset.model.body_inertia[link]) @ turn.T

    def prepare(self, params: SimParams, ground: PlaneParams | None) -> None:
        """Compile the world."""
        spec = mujoco.MjSpec.from_file(self.asset.path)
        for geom in spec.geoms:
            geom.contype, geom.conaffinity = (3, 3) if self.touches_itself else (2, 1)
        if ground is not None:
            plane = spec.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, size=(1, 1, 1))
            plane.pos = self.origin - np.array((0.0, 0.0, ground.distance))
            plane.friction[0] = ground.static_friction
            plane.contype, plane.conaffinity = 1, 2
        spec.option.gravity[:] = (params.gravity.x, params.gravity.y, params.gravity.z)
        spec.option.timestep = params.dt / params.substeps
        spec.option.disableflags = int(mujoco.mjtDisableBit.mjDSBL_WARMSTART) | int(
            mujoco.mjtDisableBit.mjDSBL_AUTORESET
        )
        self.model = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.floats = not self.asset.options.fix_base_link
        self.positions = self.model.jnt_qposadr[self.asset.joints]
        self.velocities = self.model.jnt_dofadr[self.asset.joints]
        self.shapes = [int(geom) + self.model.ngeom - self.asset.model.ngeom for geom in self.asset.shapes]
        self.apply_properties()
        self.root = np.zeros(13, dtype=np.float32)
        self.root[0:3], self.root[3:7] = self.origin + self.place, self.turn
        self.dof = np.zeros((len(self.positions), 2), dtype=np.float32)
        self.set_state(self.root, self.dof)

    def apply_properties(self) -> None:
        """Bring the model up to what was set."""
        model, links = self.model, self.asset.links
        model.body_mass[links] = self.mass
        model.body_ipos[links] = self.centre
        for link, tensor in zip(links, self.inertia, strict=True):
            moments, axes = np.linalg.eigh(tensor)
            axes[:, 0] *= np.sign(np.linalg.det(axes))
            model.body_inertia[link] = moments
            mujoco.mju_mat2Quat(model.body_iquat[link], axes.flatten())
        model.geom_friction[self.shapes] = self.friction
        model.dof_damping[self.velocities] = self.dofs["damping"]
        model.dof_armature[self.velocities] = self.dofs["armature"]
        mujoco.mj_setConst(model, mujoco.MjData(model))

    def set_state(self, root: np.ndarray, dof: np.ndarray) -> None:
        """Root (13,) and dofs (n, 2) as Isaac Gym has them: float32."""
        data, wide = self.data, root.astype(np.float64)
        self.root, self.dof = root.copy(), dof.copy()
        data.qpos[self.positions], data.qvel[self.velocities] = dof[:, 0], dof[:, 1]
        if self.floats:
            data.qpos[0:3], data.qpos[3:7] = wide[0:3], wide[3:7][XYZW_TO_WXYZ]
            turn = self._turn()
            data.qvel[0:3] = wide[7:10] - np.cross(wide[10:13], turn @ self.centre[0])
            data.qvel[3:6] = turn.T @ wide[10:13]

    def simulate(self, substeps: int, effort: np.ndarray, force: np.ndarray, torque: np.ndarray) -> None:
        """Advance with efforts on dofs and forces on links, rows in the importer's order."""
        model, data = self.model, self.data
        self.set_state(self.root, self.dof)
        data.qfrc_applied[self.velocities] = np.clip(effort, -self.dofs["effort"], self.dofs["effort"])
        data.xfrc_applied[self.asset.links, 0:3] = force
        data.xfrc_applied[self.asset.links, 3:6] = torque
        for _ in range(substeps):
            mujoco.mj_step(model, data)
        data.qfrc_applied[:], data.xfrc_applied[:] = 0.0, 0.0
        if self.floats:
            turn = self._turn()
            spin = turn @ data.qvel[3:6]
            self.root[0:3], self.root[3:7] = data.qpos[0:3], data.qpos[3:7][WXYZ_TO_XYZW]
            self.root[7:10] = data.qvel[0:3] + np.cross(spin, turn @ self.centre[0])
            self.root[10:13] = spin
        self.dof[:, 0], self.dof[:, 1] = data.qpos[self.positions], data.qvel[self.velocities]

    def links(self) -> np.ndarray:
        """States of all links (links, 13)."""
        model, data, links = self.model, self.data, self.asset.links
        self.set_state(self.root, self.dof)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        velocity = np.zeros(6)
        states = np.zeros((len(links), 13), dtype=np.float32)
        for state, link in zip(states, links, strict=True):
            mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, link, velocity, 0)
            state[0:3], state[3:7] = data.xpos[link], data.xquat[link][WXYZ_TO_XYZW]
            state[7:10], state[10:13] = velocity[3:6], velocity[0:3]
        return states

    def _turn(self) -> np.ndarray:
        turn = np.zeros(9)
        attitude = self.data.qpos[3:7] / np.linalg.norm(self.data.qpos[3:7])
        mujoco.mju_quat2Mat(turn, attitude)
        return turn.reshape(3, 3)
