"""`Simulation` with Isaac Gym's physics: MuJoCo's names and conventions, PhysX's steps.

Isaac Gym takes the substeps, in a process of its own (`process`, `worker`). Everything else is done here by the CPU
back end on the same model, which holds the state between steps: resets, per-world model fields, and every field that
follows from positions and velocities by kinematics. So a field means here what it means everywhere. What only the
engine that takes a step could know (accelerations, contact forces) is refused by name.

States that are written wait for the next step and go to the engine in one indexed call each; all other worlds keep
what the engine has. A world whose state is not finite stays as it is, while the engine simulates the robot at rest in
its place: one number that is not finite could spoil PhysX's other worlds.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import field as made_by
from pathlib import Path
from typing import NoReturn

import mujoco
import numpy as np
import torch
from mujoco.batch import DATA_FIELDS, MODEL_FIELDS
from torch import Tensor
from typing_extensions import override

from robo_ppo.errors import UserError
from robo_ppo.sim.isaac_gym.agreement import check_agreement, in_motion
from robo_ppo.sim.isaac_gym.frames import Frames
from robo_ppo.sim.isaac_gym.process import WorkerProcess
from robo_ppo.sim.isaac_gym.robot import FIELDS, Robot
from robo_ppo.sim.mujoco_cpu import MujocoCpu
from robo_ppo.sim.rows import Rows
from robo_ppo.sim.simulation import Simulation

_INPUTS = ("qpos", "qvel", "act", "qfrc_applied", "xfrc_applied")
_ENGINE = ("root", "dof", "links")
_LARGEST = 1e10  # what MuJoCo, too, takes for a world that has diverged (mjMAXVAL)
_ACCELERATION_STAGE = int(mujoco.mjtStage.mjSTAGE_ACC.value)


@dataclass(frozen=True)
class IsaacGymSettings:
    """How Isaac Gym runs; the last six are those of its SimParams and PhysXParams."""

    python: str
    """The interpreter that Isaac Gym is installed in."""
    environment: Mapping[str, str] = made_by(default_factory=dict[str, str])
    """Variables for that interpreter, besides those of this process (LD_LIBRARY_PATH)."""
    device: str = "cuda:0"
    """Where PhysX runs; "cpu" is possible."""
    threads: int = 4
    """Of PhysX on the CPU."""
    spacing: float = 4.0
    """Metres between the origins of neighbouring worlds, so that PhysX need not tell apart what lies in one place."""
    substeps: int = 1
    """PhysX's own steps within one of MuJoCo's timesteps."""
    position_iterations: int = 4
    velocity_iterations: int = 1
    contact_offset: float = 0.01
    max_depenetration_velocity: float = 10.0
    max_gpu_contact_pairs: int = 8 * 1024 * 1024


class IsaacGym(Simulation):
    """`Simulation` in Isaac Gym; tensors are on the CPU, wherever the engine runs. `threads` are MuJoCo's (0: all)."""

    def __init__(self, model: mujoco.MjModel, num_envs: int, settings: IsaacGymSettings, threads: int = 0) -> None:
        self._kinematics = MujocoCpu(model, num_envs, threads)
        self.model = model
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self._robot = Robot(model)
        self._frames = Frames(self._robot)
        self._time = torch.zeros(num_envs, dtype=torch.float64)
        self._state = {field: self._kinematics.bind(field) for field in (*_INPUTS, "ctrl")}
        self._fields: dict[str, Tensor] = {}
        nothing = torch.zeros(num_envs, dtype=torch.bool)
        self._written = ~nothing  # the engine's arrays are behind the state
        self._unsent = nothing.clone()  # the engine is behind its own arrays
        self._changed = nothing.clone()  # the engine is behind the parameters
        self.process = WorkerProcess(settings.python, settings.environment, self._array_shapes())
        self._memory = self.process.arrays
        self._send_parameters(slice(None))
        self._create(settings)
        self._check_agreement()

    @override
    def rows(self, mask: Tensor) -> Rows:
        return self._kinematics.rows(mask)

    @override
    def bind(self, field: str) -> Tensor:
        if self._kinematics.lags(field):
            self._refuse_field(field)
        return self._kinematics.bind(field)

    @override
    def lags(self, field: str) -> bool:
        return self._kinematics.lags(field)

    @override
    def write(self, field: str, values: Tensor, rows: Rows | None = None) -> None:
        self._kinematics.write(field, values, rows)
        if field in ("qpos", "qvel"):
            self._written |= self._mask(rows)
        elif field == "time":
            self._time.copy_(values) if rows is None else rows.write(self._time, values)

    @override
    def expand(self, field: str) -> None:
        if field in MODEL_FIELDS and field not in FIELDS:
            raise UserError(
                f"sim.backend=isaac_gym cannot give every world its own {field}; it can {', '.join(sorted(FIELDS))}"
            )
        self._kinematics.expand(field)
        if field not in self._fields:
            self._fields[field] = torch.stack([self._nominal(field)] * self.num_envs)

    @override
    def write_model(self, field: str, values: Tensor, rows: Rows | None = None) -> None:
        self.expand(field)
        self._robot.check_field(field, values.numpy())
        self._kinematics.write_model(field, values, rows)
        self._fields[field].copy_(values) if rows is None else rows.write(self._fields[field], values)

    @override
    def commit(self, rows: Rows | None = None) -> None:
        self._kinematics.commit(rows)
        self._send_parameters(slice(None) if rows is None else rows.indices)
        self._changed |= self._mask(rows)
        self._unsent |= self._changed  # Isaac Gym may forget a state when properties change in the same step

    @override
    def step(self, substeps: int) -> None:
        state, memory = self._state, self._memory
        healthy = torch.stack([_is_sound(state[field]) for field in _INPUTS]).all(0)
        self._written |= ~healthy  # the engine gets the robot at rest in their place
        self._send_states(healthy)
        for name, values in (
            ("control", state["ctrl"]),
            ("act", state["act"]),
            ("effort", state["qfrc_applied"][:, self._robot.dofs]),
            ("root_force", state["qfrc_applied"][:, :6] if self._robot.floats else torch.zeros(self.num_envs, 6)),
            ("link_force", state["xfrc_applied"][:, self._robot.bodies]),
        ):
            memory[name].copy_(torch.where(_along(healthy, values), values, 0.0))
        memory["changed"].copy_(self._changed)
        self._changed.zero_()
        self.process.ask({"do": "step", "substeps": substeps})
        self._time += torch.where(healthy, substeps * float(self.model.opt.timestep), 0.0)
        self._receive(healthy)

    @override
    def forward(self, rows: Rows | None = None) -> None:
        self._kinematics.forward(rows)

    @override
    def reset(self, rows: Rows | None = None) -> None:
        self._kinematics.reset(rows)
        mask = self._mask(rows)
        self._written |= mask
        self._time.masked_fill_(mask, 0.0)

    @override
    def check(self) -> None:
        self.process.check_log()

    @override
    def snapshot(self) -> dict[str, Tensor]:
        saved = {f"kinematics/{name}": values for name, values in self._kinematics.snapshot().items()}
        saved.update({f"engine/{name}": self._memory[name].clone() for name in _ENGINE})
        saved.update({f"model/{name}": values.clone() for name, values in self._fields.items()})
        return saved | {"time": self._time.clone(), "written": self._written.clone()}

    @override
    def restore(self, snapshot: dict[str, Tensor]) -> None:
        self._kinematics.restore(_under("kinematics/", snapshot))
        saved = _under("model/", snapshot)
        for name in self._fields.keys() | saved.keys():
            self.expand(name)
            self._fields[name].copy_(saved.get(name, self._nominal(name)))
        self.commit()
        for name in _ENGINE:
            self._memory[name].copy_(snapshot[f"engine/{name}"])
        self._time.copy_(snapshot["time"])
        self._written.copy_(snapshot["written"])
        self._unsent.fill_(True)

    @override
    def world(self, row: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        return self._kinematics.world(row)

    @override
    def world_index(self) -> Tensor:
        return self._kinematics.world_index()

    def close(self) -> None:
        """End Isaac Gym; this also happens when nothing refers to the simulation any more."""
        self.process.close()

    def _array_shapes(self) -> dict[str, tuple[type[np.generic], tuple[int, ...]]]:
        model, robot, worlds = self.model, self._robot, self.num_envs
        shapes: dict[str, tuple[int, ...]] = {
            "root": (13,),
            "dof": (len(robot.dofs), 2),
            "links": (len(robot.bodies), 13),
            "origin": (3,),
            "control": (model.nu,),
            "act": (model.na,),
            "effort": (len(robot.dofs),),
            "root_force": (6,),
            "link_force": (len(robot.bodies), 6),
            **robot.parameter_shapes(),
        }
        arrays: dict[str, tuple[type[np.generic], tuple[int, ...]]] = {
            name: (np.float32, (worlds, *shape)) for name, shape in shapes.items()
        }
        return arrays | {"written": (np.uint8, (worlds,)), "changed": (np.uint8, (worlds,))}

    def _create(self, settings: IsaacGymSettings) -> None:
        with tempfile.TemporaryDirectory(prefix="robo_ppo-isaac_gym-") as folder:
            Path(folder, "robot.xml").write_text(self._robot.mjcf, encoding="utf-8")
            own = {name: value for name, value in asdict(settings).items() if name not in ("python", "environment")}
            self.process.ask(
                {
                    "do": "create",
                    "num_envs": self.num_envs,
                    "layout": self._robot.layout(),
                    "settings": own,
                    "parameters": list(self._robot.parameter_shapes()),
                    "folder": folder,
                    "file": "robot.xml",
                    "arrays": self.process.specification,
                }
            )

    def _check_agreement(self) -> None:
        qpos, qvel = in_motion(self._robot)
        self.write("qpos", qpos.expand(self.num_envs, -1))
        self.write("qvel", qvel.expand(self.num_envs, -1))
        self.step(1)
        check_agreement(self._robot, self._frames, qpos, self._memory)
        self.reset()

    def _send_parameters(self, rows: slice | Tensor) -> None:
        """Put the numbers of some worlds where the worker reads them."""
        fields = {name: values[rows].numpy() for name, values in self._fields.items()}
        for name, values in self._robot.parameters(fields).items():
            self._memory[name][rows] = torch.from_numpy(values).to(torch.float32)

    def _send_states(self, healthy: Tensor) -> None:
        """Bring the engine's arrays up to the state, and say which of its worlds must take them."""
        (rows,) = self._written.nonzero(as_tuple=True)
        if len(rows):
            default, sound = torch.from_numpy(self.model.qpos0), _along(healthy[rows], self._state["qpos"])
            qpos = torch.where(sound, self._state["qpos"][rows].double(), default)
            qvel = torch.where(sound, self._state["qvel"][rows].double(), 0.0)
            origins = self._memory["origin"][rows].double()
            states = (*self._frames.to_isaac(qpos, qvel, origins), self._frames.links(qpos, qvel, origins))
            for name, values in zip(_ENGINE, states, strict=True):
                self._memory[name][rows] = values.to(torch.float32)
        self._memory["written"].copy_(self._written | self._unsent)
        self._written.zero_()
        self._unsent.zero_()

    def _receive(self, healthy: Tensor) -> None:
        """Take the state that the engine has come to; what is not sound is shown as not a number."""
        memory, write = self._memory, self._kinematics.write
        qpos, qvel = self._frames.to_mujoco(memory["root"].double(), memory["dof"].double(), memory["origin"].double())
        sound = healthy & _is_sound(qpos) & _is_sound(qvel)
        write("qpos", torch.where(sound.unsqueeze(1), qpos, torch.nan))
        write("qvel", torch.where(healthy.unsqueeze(1), qvel, self._state["qvel"].double()))
        write("act", torch.where(healthy.unsqueeze(1), memory["act"], self._state["act"]))
        write("time", self._time.clone())
        self._kinematics.forward()

    def _mask(self, rows: Rows | None) -> Tensor:
        return torch.ones(self.num_envs, dtype=torch.bool) if rows is None else rows.mask

    def _nominal(self, field: str) -> Tensor:
        return torch.from_numpy(np.array(getattr(self.model, field), dtype=np.float64))

    def _refuse_field(self, field: str) -> NoReturn:
        if field == "sensordata":
            stages = self.model.sensor_needstage
            late = [self.model.sensor(i).name or f"number {i}" for i in np.flatnonzero(stages == _ACCELERATION_STAGE)]
            raise UserError(
                f"sim.backend=isaac_gym cannot show sensordata: the sensors {', '.join(late)} need accelerations or "
                "contact forces, which Isaac Gym does not give; take them out of the model"
            )
        known = sorted(name for name in DATA_FIELDS if not self.lags(name))
        raise UserError(
            f"sim.backend=isaac_gym cannot show '{field}', an outcome of MuJoCo's own accelerations and contact "
            f"forces; it can show {', '.join(known)}"
        )


def _is_sound(values: Tensor) -> Tensor:
    """Worlds (n,) whose values (n, …) are finite and within what MuJoCo takes for possible."""
    return (values.abs() <= _LARGEST).flatten(1).all(1)


def _along(mask: Tensor, values: Tensor) -> Tensor:
    """A mask (n,) shaped so that it spreads over values (n, …)."""
    return mask.reshape(-1, *[1] * (values.ndim - 1))


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): values for name, values in tensors.items() if name.startswith(prefix)}
