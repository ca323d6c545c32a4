"""MuJoCo on all CPU cores: the default back end, on `mujoco.batch.Batch`.

Physics runs in float64, as in MuJoCo; the tensors that it shows are float32. Results are the same bit for bit at any
number of threads and equal to a loop over `mj_step`.

    sim = MujocoCpu(model, num_envs=1024, threads=2)
"""

import mujoco
import numpy as np
import torch
from mujoco.batch import MODEL_FIELDS, Batch, SimulationError
from torch import Tensor
from typing_extensions import override

from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.sim.log import write_no_log_file
from robo_ppo.sim.rows import IndexRows, Rows
from robo_ppo.sim.simulation import STATE_FIELDS, Simulation, lags, refuse_derived, refuse_no_worlds, refuse_unknown

_VELOCITY_STAGE = int(mujoco.mjtStage.mjSTAGE_VEL.value)
_NO_STAGE = int(mujoco.mjtStage.mjSTAGE_NONE.value)


class MujocoCpu(Simulation):
    """`Simulation` on `mujoco.batch.Batch`; `threads=0` takes all cores."""

    def __init__(self, model: mujoco.MjModel, num_envs: int, threads: int = 0) -> None:
        refuse_no_worlds(num_envs)
        # A world that MuJoCo resets by itself in the middle of a step would hide that it diverged.
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        write_no_log_file()
        self.model = model
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self._batch = Batch(model, num_envs, threads)
        self._rows = torch.from_numpy(self._batch.state)
        self._default = self._rows[0].clone()
        self._shown: dict[str, tuple[Tensor, Tensor]] = {}  # field → (the batch's own array, its float32 copy)
        self._state: dict[str, Tensor] = {}
        self._model_fields: dict[str, Tensor] = {}
        self._nominal: dict[str, Tensor] = {}
        self._stage = _NO_STAGE
        self._constants_follow = False

    @override
    def rows(self, mask: Tensor) -> Rows:
        return IndexRows(mask)

    @override
    def bind(self, field: str) -> Tensor:
        if field not in self._shown:
            refuse_unknown(field)
            source = self._batch.bind(field)
            if field not in STATE_FIELDS:
                self._stage = _VELOCITY_STAGE
                source.flags.writeable = True  # torch has no read-only tensors; nothing here writes to it
            array = torch.from_numpy(source)
            self._shown[field] = (array, array.to(torch.float32))
            if field not in STATE_FIELDS:
                self.forward()
        return self._shown[field][1]

    @override
    def lags(self, field: str) -> bool:
        return lags(self.model, field)

    @override
    def write(self, field: str, values: Tensor, rows: Rows | None = None) -> None:
        target = self._state_array(field)
        if rows is None:
            target.copy_(values)
            if field in self._shown:
                self._show(field)
        else:
            rows.write(target, values)
            if field in self._shown:
                rows.write(self._shown[field][1], values)

    @override
    def expand(self, field: str) -> None:
        if field not in MODEL_FIELDS:
            raise UserError(
                f"the model has no field '{field}' that can differ between worlds; {did_you_mean(field, MODEL_FIELDS)}"
            )
        if field not in self._model_fields:
            self._model_fields[field] = values = torch.from_numpy(self._batch.expand(field))
            self._nominal[field] = values[:1].clone()
            self._constants_follow |= field in mujoco.MjModel._setconst_inputs or field.startswith("opt.")

    @override
    def write_model(self, field: str, values: Tensor, rows: Rows | None = None) -> None:
        self.expand(field)
        target = self._model_fields[field]
        if rows is None:
            target.copy_(values)
        else:
            rows.write(target, values)

    @override
    def commit(self, rows: Rows | None = None) -> None:
        if self._constants_follow:
            self._batch.set_const(_ids(rows))

    @override
    def step(self, substeps: int) -> None:
        try:
            self._batch.step(nstep=substeps, stage=self._stage)
        except SimulationError as error:
            # Those worlds kept the state before the call. Shown as non-finite, they are found and reset like any other.
            torch.from_numpy(self._batch.bind("qpos"))[torch.from_numpy(np.asarray(error.ids))] = torch.nan
        self._show_all()

    @override
    def forward(self, rows: Rows | None = None) -> None:
        if self._stage != _NO_STAGE:
            self._batch.forward(_ids(rows), stage=int(mujoco.mjtStage.mjSTAGE_ACC.value))
            self._show_all()

    @override
    def reset(self, rows: Rows | None = None) -> None:
        # What `Batch.reset` does, without waking its threads for a handful of worlds.
        which = slice(None) if rows is None else rows.indices
        self._rows[which] = self._default
        for source, shown in self._shown.values():
            shown[which] = source[which].float()

    @override
    def check(self) -> None:
        return  # MuJoCo's own buffers grow

    @override
    def snapshot(self) -> dict[str, Tensor]:
        saved = {"state": self._rows.clone()}
        saved.update({f"model/{name}": values.clone() for name, values in self._model_fields.items()})
        # Lagged fields belong to the substep before and cannot be computed from the state.
        saved.update(
            {f"shown/{name}": source.clone() for name, (source, _) in self._shown.items() if name not in STATE_FIELDS}
        )
        return saved

    @override
    def restore(self, snapshot: dict[str, Tensor]) -> None:
        if snapshot["state"].shape != self._rows.shape:
            raise UserError(
                f"the snapshot holds {tuple(snapshot['state'].shape)} numbers of state, this simulation "
                f"{tuple(self._rows.shape)}; continue with the same task, robot and num_envs"
            )
        saved = {key.removeprefix("model/"): values for key, values in snapshot.items() if key.startswith("model/")}
        for name, values in (self._nominal | saved).items():
            self.write_model(name, values)
        self.commit()
        self._rows.copy_(snapshot["state"])
        for name in [key.removeprefix("shown/") for key in snapshot if key.startswith("shown/")]:
            self.bind(name)
            self._shown[name][0].copy_(snapshot[f"shown/{name}"])
        self._show_all()

    @override
    def world(self, row: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = self._batch.get_model(row)
        data = self._batch.get_data(row)
        mujoco.mj_forward(model, data)
        return model, data

    @override
    def world_index(self) -> Tensor:
        return torch.arange(self.num_envs)

    def _state_array(self, field: str) -> Tensor:
        if field not in self._state:
            refuse_derived(field)
            self._state[field] = torch.from_numpy(self._batch.bind(field))
        return self._state[field]

    def _show(self, field: str) -> None:
        source, shown = self._shown[field]
        shown.copy_(source)

    def _show_all(self) -> None:
        for field in self._shown:
            self._show(field)


def _ids(rows: Rows | None) -> np.ndarray | None:
    return None if rows is None else rows.indices.to(torch.int32).numpy()
