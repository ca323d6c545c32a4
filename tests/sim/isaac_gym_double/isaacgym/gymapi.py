"""`gymapi`: the calls that the worker makes, over MuJoCo."""

from pathlib import Path

import numpy as np
import torch

from .actor import Actor, Asset
from .structures import (
    AssetOptions,
    CoordinateSpace,
    DofDriveMode,
    IndexDomain,
    IndexRange,
    Mat33,
    PhysXParams,
    PlaneParams,
    Quat,
    RigidBodyProperties,
    RigidShapeProperties,
    SimParams,
    SimType,
    Tensor,
    Transform,
    UpAxis,
    Vec3,
)

__all__ = [
    "AssetOptions",
    "Gym",
    "Mat33",
    "PhysXParams",
    "PlaneParams",
    "Quat",
    "SimParams",
    "Tensor",
    "Transform",
    "Vec3",
    "acquire_gym",
]

SIM_PHYSX, UP_AXIS_Z = SimType.SIM_PHYSX, UpAxis.UP_AXIS_Z
DOF_MODE_EFFORT, DOMAIN_SIM, ENV_SPACE = DofDriveMode.DOF_MODE_EFFORT, IndexDomain.DOMAIN_SIM, CoordinateSpace.ENV_SPACE


class BrokenRule(Exception):
    """A use that Isaac Gym does not allow, or punishes in silence."""


class Sim:
    def __init__(self, params: SimParams) -> None:
        self.params = params
        self.ground: PlaneParams | None = None
        self.envs: list[Env] = []
        self.actors: list[Actor] = []
        self.is_prepared = False
        self.is_fetched = True
        self.set_since_step: set[str] = set()
        self.pending: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.forces: dict[str, np.ndarray] = {}
        self.tensors: dict[str, torch.Tensor] = {}


class Env:
    def __init__(self, sim: Sim, origin: np.ndarray) -> None:
        self.sim = sim
        self.origin = origin
        self.first = len(sim.actors)
        self.actors: list[Actor] = []


def acquire_gym() -> "Gym":
    return Gym()


class Gym:
    def create_sim(self, compute_device: int, graphics_device: int, type: SimType, params: SimParams) -> Sim:
        _rule(type == SimType.SIM_PHYSX, "the tensor interface needs SIM_PHYSX")
        _rule(params.up_axis == UpAxis.UP_AXIS_Z, "up_axis must be z")
        _rule(not params.use_gpu_pipeline and not params.physx.use_gpu, "there is no GPU here")
        return Sim(params)

    def add_ground(self, sim: Sim, params: PlaneParams) -> None:
        _rule(not sim.is_prepared and not sim.envs, "the ground comes before the environments")
        _rule((params.normal.x, params.normal.y, params.normal.z) == (0.0, 0.0, 1.0), "the ground is not level")
        sim.ground = params

    def load_asset(self, sim: Sim, rootpath: str, filename: str, options: AssetOptions) -> Asset:
        _rule(not sim.is_prepared, "assets are loaded before prepare_sim")
        _rule(options.default_dof_drive_mode == DofDriveMode.DOF_MODE_EFFORT, "dofs must be driven by efforts")
        _rule(options.angular_damping == options.linear_damping == 0.0, "MuJoCo has no such damping")
        return Asset(str(Path(rootpath, filename)), options)

    def create_env(self, sim: Sim, lower: Vec3, upper: Vec3, per_row: int) -> Env:
        _rule(not sim.is_prepared, "environments are created before prepare_sim")
        row, column = divmod(len(sim.envs), per_row)
        origin = np.array((column * (upper.x - lower.x), row * (upper.y - lower.y), 0.0))
        env = Env(sim, origin)
        sim.envs.append(env)
        return env

    def create_actor(self, env: Env, asset: Asset, pose: Transform, name: str, group: int, filter: int) -> int:
        _rule(not env.sim.is_prepared, "actors are created before prepare_sim")
        _rule(group == len(env.sim.envs) - 1, "each environment needs a collision group of its own")
        actor = Actor(asset, pose, env.origin, filter == 0)
        env.actors.append(actor)
        env.sim.actors.append(actor)
        return len(env.actors) - 1

    def prepare_sim(self, sim: Sim) -> bool:
        _rule(not sim.is_prepared, "prepare_sim is called once")
        for actor in sim.actors:
            actor.prepare(sim.params, sim.ground)
        sim.is_prepared = True
        return True

    def get_env_origin(self, env: Env) -> Vec3:
        return Vec3(*map(float, env.origin))

    def get_actor_index(self, env: Env, actor: int, domain: IndexDomain) -> int:
        _rule(domain == IndexDomain.DOMAIN_SIM, "tensors are indexed over the whole simulation")
        return env.first + actor

    def get_actor_rigid_body_names(self, env: Env, actor: int) -> list[str]:
        return env.actors[actor].asset.link_names()

    def get_actor_dof_names(self, env: Env, actor: int) -> list[str]:
        return env.actors[actor].asset.dof_names()

    def get_actor_rigid_body_shape_indices(self, env: Env, actor: int) -> list[IndexRange]:
        counts = env.actors[actor].asset.shape_counts
        return [IndexRange(sum(counts[:number]), count) for number, count in enumerate(counts)]

    def get_sim_rigid_body_count(self, sim: Sim) -> int:
        return sum(len(actor.asset.links) for actor in sim.actors)

    def get_sim_dof_count(self, sim: Sim) -> int:
        return sum(len(actor.asset.joints) for actor in sim.actors)

    def get_actor_rigid_body_properties(self, env: Env, actor: int) -> list[RigidBodyProperties]:
        it = env.actors[actor]
        return [
            RigidBodyProperties(float(mass), Vec3(*centre), Mat33(*(Vec3(*row) for row in tensor)))
            for mass, centre, tensor in zip(it.mass, it.centre, it.inertia, strict=True)
        ]

    def set_actor_rigid_body_properties(
        self, env: Env, actor: int, props: list[RigidBodyProperties], recompute: bool
    ) -> bool:
        it = env.actors[actor]
        centre = np.array([(p.com.x, p.com.y, p.com.z) for p in props])
        _rule(not env.sim.is_prepared or np.allclose(centre, it.centre), "centres of mass stay after prepare_sim")
        _rule(not recompute, "inertias are given, not recomputed")
        it.mass, it.centre = np.array([p.mass for p in props]), centre
        it.inertia = np.array(
            [[(row.x, row.y, row.z) for row in (p.inertia.x, p.inertia.y, p.inertia.z)] for p in props]
        )
        return self._changed(env, it)

    def get_actor_rigid_shape_properties(self, env: Env, actor: int) -> list[RigidShapeProperties]:
        return [RigidShapeProperties(*map(float, friction)) for friction in env.actors[actor].friction]

    def set_actor_rigid_shape_properties(self, env: Env, actor: int, props: list[RigidShapeProperties]) -> bool:
        it = env.actors[actor]
        it.friction = np.array([(p.friction, p.torsion_friction, p.rolling_friction) for p in props])
        return self._changed(env, it)

    def get_actor_dof_properties(self, env: Env, actor: int) -> np.ndarray:
        return env.actors[actor].dofs.copy()

    def set_actor_dof_properties(self, env: Env, actor: int, props: np.ndarray) -> bool:
        it = env.actors[actor]
        _rule((props["driveMode"] == DofDriveMode.DOF_MODE_EFFORT).all(), "dofs must be driven by efforts")
        _rule(not props["stiffness"].any(), "a drive's stiffness pulls towards its target")
        _rule(not props["friction"].any() and (props["velocity"] > 1e3).all(), "MuJoCo has no such friction and limits")
        it.dofs = props.copy()
        return self._changed(env, it)

    def acquire_actor_root_state_tensor(self, sim: Sim) -> Tensor:
        return self._acquire(sim, "root", (len(sim.actors), 13))

    def acquire_dof_state_tensor(self, sim: Sim) -> Tensor:
        return self._acquire(sim, "dof", (self.get_sim_dof_count(sim), 2))

    def acquire_rigid_body_state_tensor(self, sim: Sim) -> Tensor:
        return self._acquire(sim, "links", (self.get_sim_rigid_body_count(sim), 13))

    def refresh_actor_root_state_tensor(self, sim: Sim) -> bool:
        return self._refresh(sim, "root", [actor.root[None] for actor in sim.actors])

    def refresh_dof_state_tensor(self, sim: Sim) -> bool:
        return self._refresh(sim, "dof", [actor.dof for actor in sim.actors])

    def refresh_rigid_body_state_tensor(self, sim: Sim) -> bool:
        return self._refresh(sim, "links", [actor.links() for actor in sim.actors])

    def set_actor_root_state_tensor_indexed(self, sim: Sim, states: Tensor, indices: Tensor, count: int) -> bool:
        return self._set(sim, "root", states, (len(sim.actors), 13), indices, count)

    def set_dof_state_tensor_indexed(self, sim: Sim, states: Tensor, indices: Tensor, count: int) -> bool:
        return self._set(sim, "dof", states, (self.get_sim_dof_count(sim), 2), indices, count)

    def set_dof_actuation_force_tensor(self, sim: Sim, efforts: Tensor) -> bool:
        return self._push(sim, "effort", efforts, self.get_sim_dof_count(sim))

    def apply_rigid_body_force_tensors(self, sim: Sim, forces: Tensor, torques: Tensor, space: CoordinateSpace) -> bool:
        _rule(space == CoordinateSpace.ENV_SPACE, "forces are given in the axes of the world")
        links = self.get_sim_rigid_body_count(sim)
        return self._push(sim, "force", forces, links * 3) and self._push(sim, "torque", torques, links * 3)

    def simulate(self, sim: Sim) -> None:
        _rule(sim.is_prepared, "prepare_sim comes before simulate")
        _rule(sim.is_fetched, "results were not fetched")
        link = dof = 0
        for number, actor in enumerate(sim.actors):
            links, dofs = slice(link, link + len(actor.asset.links)), slice(dof, dof + len(actor.asset.joints))
            link, dof = links.stop, dofs.stop
            for name, (states, which) in sim.pending.items():
                if number in which:
                    root, joints = (states[number], actor.dof) if name == "root" else (actor.root, states[dofs])
                    actor.set_state(root, joints)
            pushed = [
                sim.forces.get(name, np.zeros((self.get_sim_rigid_body_count(sim), 3)))[links]
                for name in ("force", "torque")
            ]
            effort = sim.forces.get("effort", np.zeros(self.get_sim_dof_count(sim)))[dofs]
            actor.simulate(sim.params.substeps, effort, *pushed)
        sim.pending.clear()
        sim.forces.clear()
        sim.set_since_step.clear()
        sim.is_fetched = False

    def fetch_results(self, sim: Sim, wait: bool) -> None:
        sim.is_fetched = True

    def _changed(self, env: Env, actor: Actor) -> bool:
        _rule(not env.sim.pending, "properties change before states are set")
        if env.sim.is_prepared:
            actor.apply_properties()
        return True

    def _acquire(self, sim: Sim, name: str, shape: tuple[int, ...]) -> Tensor:
        _rule(sim.is_prepared, "tensors are acquired after prepare_sim")
        sim.tensors[name] = torch.full(shape, torch.nan)
        return Tensor(sim.tensors[name])

    def _refresh(self, sim: Sim, name: str, states: list[np.ndarray]) -> bool:
        _rule(name in sim.tensors, f"the {name} tensor was not acquired")
        _rule(sim.is_fetched, "results are fetched before a refresh on the CPU")
        _rule(not sim.pending, "a refresh before simulate brings back what was there before the set")
        sim.tensors[name].copy_(torch.from_numpy(np.concatenate(states)))
        return True

    def _set(self, sim: Sim, name: str, states: Tensor, shape: tuple[int, ...], indices: Tensor, count: int) -> bool:
        _rule(sim.is_prepared, "states are set after prepare_sim")
        _rule(name not in sim.set_since_step, f"set_{name} was called twice in one step; the first is lost")
        values = states.values
        _rule(values.dtype == torch.float32, f"states are float32, not {values.dtype}")
        _rule(values.numel() == int(np.prod(shape)), f"the buffer of all actors is needed, {shape}")
        _rule(indices.values.dtype == torch.int32, f"indices are int32, not {indices.values.dtype}")
        _rule(len(indices.values) == count and int(indices.values.max()) < len(sim.actors), "indices are of actors")
        _rule(bool(torch.isfinite(values.reshape(len(sim.actors), -1)[indices.values.long()]).all()), "not finite")
        sim.set_since_step.add(name)
        sim.pending[name] = (values.reshape(shape).numpy().copy(), indices.values.numpy().copy())
        return True

    def _push(self, sim: Sim, name: str, forces: Tensor, size: int) -> bool:
        _rule(sim.is_prepared, "forces are applied after prepare_sim")
        _rule(forces.values.dtype == torch.float32 and forces.values.numel() == size, f"{size} float32 are needed")
        _rule(bool(torch.isfinite(forces.values).all()), f"{name} is not finite")
        shape = (-1,) if name == "effort" else (-1, 3)
        sim.forces[name] = forces.values.reshape(shape).numpy().copy()
        return True


def _rule(holds: object, otherwise: str) -> None:
    if not holds:
        raise BrokenRule(otherwise)
