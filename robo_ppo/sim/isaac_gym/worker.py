"""Isaac Gym's side of `sim=isaac_gym`: a program of its own, for the interpreter that Isaac Gym needs (Python 3.8).

It imports nothing of robo_ppo. Its standard input is a socket: one JSON document a line comes in, one goes out for
each; the numbers lie in memory that both processes map. `robo_ppo.sim.isaac_gym.process` starts it:

    python3.8 worker.py <file descriptor of the socket> <file descriptor of the memory>

A step of k substeps is: properties of worlds that changed, states of worlds that were written (one indexed call each),
then k times (forces of all actuators, simulate, refresh). Names of tensors follow Isaac Gym: root (worlds, 13), dof
(worlds, dofs, 2), links (worlds, links, 13); positions include the origin of each world, quaternions are xyzw.
"""

# pyright: reportMissingModuleSource=false
# Isaac Gym itself is nowhere near when types are checked.

import json
import mmap
import signal
import socket
import sys
import traceback
from typing import Any, Dict, List, Optional, TypeVar

from isaacgym import gymapi, gymtorch  # isort: skip  # Isaac Gym insists on being imported before torch
import numpy as np
import torch
from torch import Tensor

_NO_LIMIT = 1.0e9


class Mistake(Exception):
    """What the person can mend; goes out as a message without a stack trace."""


class World:
    """Handles of one environment and its robot."""

    def __init__(self, env: gymapi.Env, actor: int) -> None:
        self.env = env
        self.actor = actor


class Actuators:
    """MuJoCo's actuators: force = gain · input + bias, from the state at the start of each substep.

    The input is the command, or an activation that follows it; gain and bias are constants plus multiples of the
    actuator's length and velocity (MuJoCo's documentation, Computation: Actuation model).
    """

    def __init__(self, layout: Dict[str, Any], numbers: Dict[str, Tensor], device: torch.device) -> None:
        self.numbers = numbers
        self.timestep = float(layout["timestep"])
        self.joint_moments = _matrix(layout["joint_moments"], len(layout["dofs"]), device)
        self.link_moments = _matrix(layout["link_moments"], len(layout["links"]) * 6, device)
        self.rest = torch.tensor(layout["rest"], dtype=torch.float32, device=device)
        self.spring = torch.tensor(layout["spring"], dtype=torch.float32, device=device)
        self.dynamics = [str(kind) for kind in layout["dynamics"]]
        self.activations = [int(number) for number in layout["activations"]]
        self.reads_links = bool(layout["reads_links"])

    def forces(self, control: Tensor, act: Tensor, dof: Tensor, turns: Tensor, links: Tensor) -> Tensor:
        """Force of each actuator (worlds, actuators)."""
        numbers = self.numbers
        length = torch.matmul(dof[:, :, 0] + self.rest, self.joint_moments.t())
        velocity = torch.matmul(dof[:, :, 1], self.joint_moments.t())
        if self.reads_links:
            seen = torch.cat((_into(turns, links[:, :, 7:10]), _into(turns, links[:, :, 10:13])), 2)
            velocity = velocity + torch.matmul(seen.flatten(1), self.link_moments.t())
        basis = torch.stack((torch.ones_like(length), length, velocity), 2)
        given = control.clone()
        for actuator, number in enumerate(self.activations):
            if number >= 0:
                given[:, actuator] = act[:, number]
        force = (numbers["gain"] * basis).sum(2) * given + (numbers["bias"] * basis).sum(2)
        return _clamp(force, numbers["force_range"])

    def effort(self, force: Tensor, dof: Tensor) -> Tensor:
        """Effort on each dof (worlds, dofs): actuators within the joints' limits, and springs."""
        effort = _clamp(torch.matmul(force, self.joint_moments), self.numbers["effort_range"])
        return effort - self.numbers["stiffness"] * (dof[:, :, 0] - self.spring)

    def wrench(self, force: Tensor) -> Tensor:
        """Force and torque of sites on each link, in its axes (worlds, links, 6)."""
        return torch.matmul(force, self.link_moments).reshape(len(force), -1, 6)

    def advance(self, control: Tensor, act: Tensor) -> None:
        """Activations of the next substep, in place."""
        for actuator, (kind, number) in enumerate(zip(self.dynamics, self.activations)):
            if number >= 0:
                command, tau = control[:, actuator], self.numbers["time_constant"][:, actuator]
                if kind == "integrator":
                    change = command * self.timestep
                elif kind == "filter":
                    change = (command - act[:, number]) / tau * self.timestep
                else:
                    change = (command - act[:, number]) * (1.0 - torch.exp(-self.timestep / tau))
                act[:, number] = _clamp(act[:, number] + change, self.numbers["activation_range"][:, actuator])


class Worker:
    """The worlds."""

    def __init__(self, gym: gymapi.Gym, setup: Dict[str, Any], memory: Dict[str, Tensor]) -> None:
        self.gym = gym
        layout: Dict[str, Any] = setup["layout"]
        settings: Dict[str, Any] = setup["settings"]
        self.layout = layout
        self.settings = settings
        self.memory = memory
        self.count = int(setup["num_envs"])
        self.on_gpu = settings["device"] != "cpu"
        self.device = torch.device(settings["device"])
        self.parameters = [str(name) for name in setup["parameters"]]
        self.sim = self._create_sim()
        if layout["ground"] is not None:
            self._add_ground(layout["ground"])
        asset = self._load_asset(str(setup["folder"]), str(setup["file"]))
        self.worlds = [self._create_world(asset, number) for number in range(self.count)]
        self._find_order()
        for number in range(self.count):
            self._set_properties(number)
        if not gym.prepare_sim(self.sim):
            raise Mistake("Isaac Gym could not prepare the simulation")
        self._acquire()
        numbers = {name: memory[name].to(self.device) for name in self.parameters}
        self.actuators = Actuators(layout, numbers, self.device)
        self.centres = torch.tensor(layout["centres"], dtype=torch.float32, device=self.device)
        self._refresh()
        self._write_out()

    def step(self, substeps: int) -> None:
        """Take what the other side wrote, advance, and show the result."""
        memory = self.memory
        changed = memory["changed"].nonzero().flatten().tolist()
        for number in changed:
            self._set_properties(number)
        if changed:
            for name in self.parameters:
                self.actuators.numbers[name].copy_(memory[name])
        written = memory["written"].nonzero().flatten()
        if len(written):
            self._set_states(written)
        control, act = memory["control"].to(self.device), memory["act"].to(self.device)
        applied = {name: memory[name].to(self.device) for name in ("effort", "root_force", "link_force")}
        # As in MuJoCo: one command that is not a number makes all commands of its world zero.
        control = torch.where(torch.isfinite(control).all(1, keepdim=True), control, torch.zeros_like(control))
        control = _clamp(control, self.actuators.numbers["control_range"])
        for _ in range(substeps):
            self._apply(control, act, applied)
            self.actuators.advance(control, act)
            self.gym.simulate(self.sim)
            if not self.on_gpu:
                self.gym.fetch_results(self.sim, True)
            self._refresh()
        memory["act"].copy_(act)
        self._write_out()

    def _apply(self, control: Tensor, act: Tensor, applied: Dict[str, Tensor]) -> None:
        links = self.links[:, self.link_order]
        dof = self.dof[:, self.dof_order]
        turns = _rotation(links[:, :, 3:7])
        force = self.actuators.forces(control, act, dof, turns, links)
        wrench = self.actuators.wrench(force)
        # On the origin of the root's frame: force in the world's axes, torque in the root's.
        root = applied["root_force"]
        push = _into(turns[:, :1], root[:, None, 0:3])[:, 0]
        wrench[:, 0, 0:3] += push
        wrench[:, 0, 3:6] += root[:, 3:6] - torch.cross(self.centres[0].expand_as(push), push, dim=1)
        self.efforts[:, self.dof_order] = self.actuators.effort(force, dof) + applied["effort"]
        self.forces[:, self.link_order] = _out_of(turns, wrench[:, :, 0:3]) + applied["link_force"][:, :, 0:3]
        self.torques[:, self.link_order] = _out_of(turns, wrench[:, :, 3:6]) + applied["link_force"][:, :, 3:6]
        if self.layout["dofs"]:
            self.gym.set_dof_actuation_force_tensor(self.sim, gymtorch.unwrap_tensor(self.efforts))
        self.gym.apply_rigid_body_force_tensors(
            self.sim,
            gymtorch.unwrap_tensor(self.forces),
            gymtorch.unwrap_tensor(self.torques),
            gymapi.ENV_SPACE,
        )

    def _set_states(self, written: Tensor) -> None:
        """Write states of some worlds: full buffers, and which actors of them count."""
        rows, memory = written.to(self.device), self.memory
        self.root[rows] = memory["root"][written].to(self.device)
        # Until the next simulate Isaac Gym itself would show the links where they were; forces need where they are.
        links = self.links[rows]
        links[:, self.link_order] = memory["links"][written].to(self.device)
        self.links[rows] = links
        indices = self.actor_indices[rows].contiguous()
        self.kept = indices  # Isaac Gym reads it only when it simulates
        self.gym.set_actor_root_state_tensor_indexed(
            self.sim, gymtorch.unwrap_tensor(self.root), gymtorch.unwrap_tensor(indices), len(indices)
        )
        if self.layout["dofs"]:
            dof = self.dof[rows]
            dof[:, self.dof_order] = memory["dof"][written].to(self.device)
            self.dof[rows] = dof
            self.gym.set_dof_state_tensor_indexed(
                self.sim, gymtorch.unwrap_tensor(self.dof), gymtorch.unwrap_tensor(indices), len(indices)
            )

    def _refresh(self) -> None:
        self.gym.refresh_actor_root_state_tensor(self.sim)
        self.gym.refresh_rigid_body_state_tensor(self.sim)
        if self.layout["dofs"]:
            self.gym.refresh_dof_state_tensor(self.sim)

    def _write_out(self) -> None:
        self.memory["root"].copy_(self.root)
        self.memory["dof"].copy_(self.dof[:, self.dof_order])
        self.memory["links"].copy_(self.links[:, self.link_order])

    def _create_sim(self) -> gymapi.Sim:
        settings, params = self.settings, gymapi.SimParams()
        params.dt = float(self.layout["timestep"])
        params.substeps = int(settings["substeps"])
        params.up_axis = gymapi.UP_AXIS_Z
        params.gravity = gymapi.Vec3(*self.layout["gravity"])
        params.use_gpu_pipeline = self.on_gpu
        params.physx.use_gpu = self.on_gpu
        params.physx.num_threads = int(settings["threads"])
        params.physx.solver_type = 1  # temporal Gauss-Seidel
        params.physx.num_position_iterations = int(settings["position_iterations"])
        params.physx.num_velocity_iterations = int(settings["velocity_iterations"])
        params.physx.contact_offset = float(settings["contact_offset"])
        params.physx.rest_offset = 0.0
        params.physx.bounce_threshold_velocity = 0.2
        params.physx.max_depenetration_velocity = float(settings["max_depenetration_velocity"])
        params.physx.max_gpu_contact_pairs = int(settings["max_gpu_contact_pairs"])
        sim = self.gym.create_sim(self.device.index or 0, -1, gymapi.SIM_PHYSX, params)
        return _made(sim, f"a simulation on {self.device}")

    def _add_ground(self, ground: Dict[str, float]) -> None:
        plane = gymapi.PlaneParams()
        plane.normal = gymapi.Vec3(0.0, 0.0, 1.0)
        plane.distance = -float(ground["height"])
        plane.static_friction = plane.dynamic_friction = float(ground["friction"])
        plane.restitution = 0.0
        self.gym.add_ground(self.sim, plane)

    def _load_asset(self, folder: str, file: str) -> gymapi.Asset:
        options = gymapi.AssetOptions()
        options.fix_base_link = not self.layout["floats"]
        options.collapse_fixed_joints = False
        options.replace_cylinder_with_capsule = False
        options.default_dof_drive_mode = int(gymapi.DOF_MODE_EFFORT)
        options.use_physx_armature = True
        options.angular_damping = 0.0
        options.linear_damping = 0.0
        options.max_angular_velocity = 1000.0  # 64 by itself, where a rotor or a fall would be slowed down unseen
        options.max_linear_velocity = 1000.0
        return _made(self.gym.load_asset(self.sim, folder, file, options), "a robot from its file")

    def _create_world(self, asset: gymapi.Asset, number: int) -> World:
        reach = float(self.settings["spacing"]) / 2.0
        env = self.gym.create_env(
            self.sim, gymapi.Vec3(-reach, -reach, 0.0), gymapi.Vec3(reach, reach, 2.0 * reach), _side(self.count)
        )
        x, y, z, qw, qx, qy, qz = self.layout["pose"]
        pose = gymapi.Transform()
        pose.p, pose.r = gymapi.Vec3(x, y, z), gymapi.Quat(qx, qy, qz, qw)
        filter_bits = 0 if self.layout["touches_itself"] else 1
        actor = self.gym.create_actor(env, asset, pose, "robot", number, filter_bits)
        origin = self.gym.get_env_origin(env)
        self.memory["origin"][number] = torch.tensor([origin.x, origin.y, origin.z])
        return World(env, actor)

    def _find_order(self) -> None:
        """Where the links and dofs of the model stand in Isaac Gym's tensors, and what else its importer made."""
        first = self.worlds[0]
        links = self.gym.get_actor_rigid_body_names(first.env, first.actor)
        dofs = self.gym.get_actor_dof_names(first.env, first.actor)
        self.link_order = _order("links", self.layout["links"], links)
        self.dof_order = _order("dofs", self.layout["dofs"], dofs)
        if len(dofs) != len(self.dof_order):
            raise Mistake(f"Isaac Gym's importer made the dofs {dofs}, not {self.layout['dofs']}")
        ranges = self.gym.get_actor_rigid_body_shape_indices(first.env, first.actor)
        self.shape_order: List[int] = []
        for link, place, count in zip(self.layout["links"], self.link_order, self.layout["shapes"]):
            if ranges[place].count != count:
                raise Mistake(f"Isaac Gym's importer made {ranges[place].count} shapes of {link}, not {count}")
            self.shape_order += range(ranges[place].start, ranges[place].start + count)

    def _set_properties(self, number: int) -> None:
        """Masses, inertias, damping, armature and friction of one world."""
        world, memory, gym = self.worlds[number], self.memory, self.gym
        links = gym.get_actor_rigid_body_properties(world.env, world.actor)
        for place, mass, inertia, centre in zip(
            self.link_order, memory["mass"][number].tolist(), memory["inertia"][number].tolist(), self.layout["centres"]
        ):
            links[place].mass = mass
            links[place].com = gymapi.Vec3(*centre)
            tensor = gymapi.Mat33()
            tensor.x, tensor.y, tensor.z = (gymapi.Vec3(*inertia[row : row + 3]) for row in (0, 3, 6))
            links[place].inertia = tensor
        _check(gym.set_actor_rigid_body_properties(world.env, world.actor, links, False), "masses", number)
        if self.shape_order:
            shapes = gym.get_actor_rigid_shape_properties(world.env, world.actor)
            for place, (slide, torsion, roll) in zip(self.shape_order, memory["friction"][number].tolist()):
                shapes[place].friction = slide
                shapes[place].torsion_friction = torsion
                shapes[place].rolling_friction = roll
            _check(gym.set_actor_rigid_shape_properties(world.env, world.actor, shapes), "frictions", number)
        if self.dof_order:
            dofs = gym.get_actor_dof_properties(world.env, world.actor)
            dofs["driveMode"].fill(int(gymapi.DOF_MODE_EFFORT))
            dofs["stiffness"].fill(0.0)
            dofs["friction"].fill(0.0)
            for limit in ("effort", "velocity"):  # MuJoCo's own limits are in the forces already
                dofs[limit].fill(_NO_LIMIT)
            dofs["damping"][self.dof_order] = memory["damping"][number].numpy()
            dofs["armature"][self.dof_order] = memory["armature"][number].numpy()
            _check(gym.set_actor_dof_properties(world.env, world.actor, dofs), "damping", number)

    def _acquire(self) -> None:
        gym, sim, device = self.gym, self.sim, self.device
        links, dofs = gym.get_sim_rigid_body_count(sim) // self.count, gym.get_sim_dof_count(sim) // self.count
        self.root = gymtorch.wrap_tensor(gym.acquire_actor_root_state_tensor(sim)).view(self.count, 13)
        self.links = gymtorch.wrap_tensor(gym.acquire_rigid_body_state_tensor(sim)).view(self.count, links, 13)
        if dofs:
            self.dof = gymtorch.wrap_tensor(gym.acquire_dof_state_tensor(sim)).view(self.count, dofs, 2)
        else:  # an empty tensor cannot be wrapped
            self.dof = torch.zeros(self.count, 0, 2, device=device)
        self.forces = torch.zeros(self.count, links, 3, device=device)
        self.torques = torch.zeros(self.count, links, 3, device=device)
        self.efforts = torch.zeros(self.count, dofs, device=device)
        indices = [gym.get_actor_index(world.env, world.actor, gymapi.DOMAIN_SIM) for world in self.worlds]
        self.actor_indices = torch.tensor(indices, dtype=torch.int32, device=device)


Made = TypeVar("Made")


def _made(thing: Optional[Made], what: str) -> Made:
    """What Isaac Gym made; it answers with nothing where it could not."""
    if thing is None:
        raise Mistake(f"Isaac Gym could not make {what}")
    return thing


def _matrix(rows: List[Any], columns: int, device: torch.device) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32, device=device).reshape(len(rows), columns)


def _clamp(values: Tensor, limits: Tensor) -> Tensor:
    """Values (…) within limits (…, 2)."""
    return torch.max(torch.min(values, limits[..., 1]), limits[..., 0])


def _rotation(attitude: Tensor) -> Tensor:
    """Matrices (…, 3, 3) from quaternions (…, 4), xyzw."""
    x, y, z, w = attitude.unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).reshape((*attitude.shape[:-1], 3, 3))


def _into(turns: Tensor, vectors: Tensor) -> Tensor:
    """Vectors (worlds, links, 3) of the world's axes in each link's."""
    return torch.einsum("nbij,nbi->nbj", turns, vectors)


def _out_of(turns: Tensor, vectors: Tensor) -> Tensor:
    """Vectors (worlds, links, 3) of each link's axes in the world's."""
    return torch.einsum("nbij,nbj->nbi", turns, vectors)


def _side(count: int) -> int:
    """Worlds in one row of a square."""
    return max(1, int(np.ceil(np.sqrt(count))))


def _order(kind: str, ours: List[str], theirs: List[str]) -> List[int]:
    missing = [name for name in ours if name not in theirs]
    if missing:
        raise Mistake(f"Isaac Gym's importer made the {kind} {theirs}; {', '.join(missing)} missing")
    return [theirs.index(name) for name in ours]


def _check(succeeded: bool, what: str, number: int) -> None:
    if not succeeded:
        raise RuntimeError(f"Isaac Gym did not take the {what} of world {number}")


def _map(memory: mmap.mmap, arrays: List[Any]) -> Dict[str, Tensor]:
    """Tensors that lie in the shared memory."""
    tensors: Dict[str, Tensor] = {}
    for name, kind, shape, offset in arrays:
        count = int(np.prod(shape))
        flat = np.frombuffer(memory, dtype=kind, count=count, offset=offset)
        tensors[name] = torch.from_numpy(flat.reshape(shape))
    return tensors


def _answer(worker: Optional[Worker], request: Dict[str, Any], memory: mmap.mmap) -> Worker:
    if request["do"] == "create":
        return Worker(gymapi.acquire_gym(), request, _map(memory, request["arrays"]))
    if worker is None:
        raise RuntimeError("the first request must be 'create'")
    worker.step(int(request["substeps"]))
    return worker


def main(descriptor: int, memory_descriptor: int) -> None:
    """Answer requests until the other side hangs up, which it also does by dying."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then still wants its last snapshot
    memory = mmap.mmap(memory_descriptor, 0)
    worker: Optional[Worker] = None
    with socket.socket(fileno=descriptor) as channel, channel.makefile("rw", encoding="utf-8") as lines:
        lines.write(json.dumps({"ready": sys.version}) + "\n")
        lines.flush()
        for line in lines:
            try:
                worker = _answer(worker, json.loads(line), memory)
                reply: Dict[str, str] = {}
            except Mistake as mistake:
                reply = {"mistake": str(mistake)}
            except Exception:
                reply = {"fault": traceback.format_exc()}
            lines.write(json.dumps(reply) + "\n")
            lines.flush()


if __name__ == "__main__":
    with torch.no_grad():
        main(int(sys.argv[1]), int(sys.argv[2]))
