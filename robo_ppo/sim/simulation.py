"""The protocol that every physics back end fulfils: many worlds of one MuJoCo model, as torch tensors.

    sim = MujocoCpu(model, num_envs=1024)
    qpos = sim.bind("qpos")                    # (1024, nq), current after every call below
    sim.write("ctrl", commands)                # (1024, nu)
    sim.step(4)                                # four substeps

Field names and layouts are MuJoCo's on every back end: quaternions wxyz, SI units, the free joint's linear velocity in
the world frame and its angular velocity in the body frame. `rows` selects worlds (`robo_ppo.sim.rows`); None means all.

After `step` and `forward`, a bound field is *current* if it describes the present state, and *lagged* if it is one
substep behind. State fields and fields of the position and velocity stages are current. Fields of the acceleration
stage (accelerometers, forces) are lagged after `step`, since they belong to the substep that was taken. After `write`
and `reset`, state fields show the new state at once, derived fields with the next `forward` or `step`.
"""

from typing import Protocol

import mujoco
import torch
from mujoco.batch import DATA_FIELDS
from torch import Tensor

from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.sim.rows import Rows

STATE_FIELDS = frozenset(
    {"time", "qpos", "qvel", "act", "ctrl", "qfrc_applied", "xfrc_applied", "mocap_pos", "mocap_quat"}
)
"""Fields that can be written."""

ACCELERATION_FIELDS = frozenset(
    "act_dot actuator_force cacc cfrc_ext cfrc_int qacc qacc_smooth qDeriv qfrc_actuator qfrc_constraint qfrc_smooth "
    "qH qHDiagInv qLU solver_fwdinv solver_niter solver_nnz".split()
)
"""Fields of the acceleration stage; a sensor may belong to it too."""


def lags(model: mujoco.MjModel, field: str) -> bool:
    """Whether a field of MuJoCo's is one substep behind the state after a step."""
    if field == "sensordata":
        return bool((model.sensor_needstage == int(mujoco.mjtStage.mjSTAGE_ACC.value)).any())
    return field in ACCELERATION_FIELDS


def refuse_no_worlds(num_envs: int) -> None:
    """At least one."""
    if num_envs < 1:
        raise UserError(f"num_envs must be at least 1, not {num_envs}")


def refuse_unknown(field: str) -> None:
    """Only what MuJoCo can bind of its MjData can be bound."""
    if field not in DATA_FIELDS:
        raise UserError(f"the simulation has no field '{field}'; {did_you_mean(field, DATA_FIELDS)}")


def refuse_derived(field: str) -> None:
    """Only state fields can be written."""
    if field not in STATE_FIELDS:
        raise UserError(f"'{field}' cannot be written; state fields are {', '.join(sorted(STATE_FIELDS))}")


class Simulation(Protocol):
    """Many worlds of one model; see the module's text for the conventions."""

    model: mujoco.MjModel
    num_envs: int
    device: torch.device

    def rows(self, mask: Tensor) -> Rows:
        """The worlds where a mask (num_envs,) holds, in the form that this back end works with."""
        ...

    def bind(self, field: str) -> Tensor:
        """A float32 tensor (num_envs, ...) that always shows an MjData field; not to be written to."""
        ...

    def lags(self, field: str) -> bool:
        """Whether a bound field is one substep behind the state."""
        ...

    def write(self, field: str, values: Tensor, rows: Rows | None = None) -> None:
        """Set a state field of some worlds, values (len(rows), ...)."""
        ...

    def expand(self, field: str) -> None:
        """Give every world its own values of an MjModel field."""
        ...

    def write_model(self, field: str, values: Tensor, rows: Rows | None = None) -> None:
        """Set an expanded model field of some worlds; takes effect with `commit`."""
        ...

    def commit(self, rows: Rows | None = None) -> None:
        """Recompute what depends on changed masses, inertias and gains."""
        ...

    def step(self, substeps: int) -> None:
        """Advance every world; one that diverges keeps its non-finite state, nothing else is touched.

        A command that is not finite stays in `ctrl`, where it shows; MuJoCo steps on with zero in its place.
        """
        ...

    def forward(self, rows: Rows | None = None) -> None:
        """Make derived fields current after a write."""
        ...

    def reset(self, rows: Rows | None = None) -> None:
        """Put worlds into the model's default state; model fields stay as they are."""
        ...

    def check(self) -> None:
        """Raise a `UserError` if something was lost since the last call that the physics should have seen.

        This may wait for the device, so it is called now and then, not in every step.
        """
        ...

    def snapshot(self) -> dict[str, Tensor]:
        """Everything that an exact continuation needs."""
        ...

    def restore(self, snapshot: dict[str, Tensor]) -> None:
        """Continue from a snapshot, bit for bit; model fields that it does not hold get the model's own values."""
        ...

    def world(self, row: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """A copy of one world, derived fields computed, to render it or to replay it."""
        ...

    def world_index(self) -> Tensor:
        """World of each row (num_envs,): the identity, until several agents share a world."""
        ...
