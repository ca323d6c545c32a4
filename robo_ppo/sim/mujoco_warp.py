"""MuJoCo on a GPU: `mujoco_warp`, whose arrays are torch tensors without a copy. It also runs on the CPU, for tests.

    sim = MujocoWarp(model, num_envs=8192, device=torch.device("cuda"))

Physics runs in float32. All substeps of a control step are one graph: the first call of a kind runs as it is written
(and compiles kernels, half a minute on a new machine, kept afterwards), the second is captured, every other is a single
launch. Where torch itself captures a larger graph (`robo_ppo.run.stepper`), the kernels go into that one. Torch and
Warp work on the same stream.

Contacts and constraints lie in buffers of a fixed size (`robo_ppo.sim.buffers`): constraints in one for each world,
contacts in one that all worlds share. What does not fit would be lost without a word: `check` finds that, and raises.
Nothing in `step` waits for the device.
"""

import contextlib
import copy
import dataclasses
import os
from collections.abc import Callable, Generator
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.sim.buffers import Buffers, estimate
from robo_ppo.sim.log import write_no_log_file
from robo_ppo.sim.rows import MaskRows, Rows
from robo_ppo.sim.simulation import STATE_FIELDS, Simulation, lags, refuse_derived, refuse_no_worlds, refuse_unknown

try:
    import warp as wp
except ImportError as missing:  # pragma: no cover - tested in a process of its own
    raise UserError("sim=mujoco_warp needs the package mujoco-warp: pip install 'robo-ppo[gpu]'") from missing

# Also part of a world's state: where the solver starts from, and what is switched on.
_HIDDEN_STATE = ("qacc_warmstart", "eq_active", "userdata", "history", "plastic")
# What `set_const` computes from masses, inertias and poses; a world with its own masses has its own of these.
_CONSTANTS = (
    "body_subtreemass body_invweight0 dof_invweight0 tendon_invweight0 tendon_length0 actuator_acc0 "
    "eq_data cam_pos0 cam_poscom0 cam_mat0 light_pos0 light_poscom0 light_dir0 geom_rbound geom_aabb"
).split()


class MujocoWarp(Simulation):
    """`Simulation` on `mujoco_warp`; a world's buffers hold `contacts` and `constraints` (None: as estimated)."""

    def __init__(
        self,
        model: mujoco.MjModel,
        num_envs: int,
        device: torch.device | str = "cpu",
        contacts: int | None = None,
        constraints: int | None = None,
    ) -> None:
        refuse_no_worlds(num_envs)
        import mujoco_warp

        _prepare_warp()
        write_no_log_file()
        self._mjw = mujoco_warp
        self.model = model
        self.num_envs = num_envs
        self.device = torch.device(device)
        if self.device.type == "cuda":
            _refuse_without_cuda(device)
        # Warp's worlds do not reset themselves, and it knows no switch for that; the worlds handed out must not either.
        given = copy.copy(model)
        given.opt.disableflags &= ~int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        guess = estimate(model)
        if not guess.constraints and _is_undamped_euler(model):
            # Implicit damping of nothing, which costs a factorization: without it, and without constraints, there is
            # no solver to run.
            given.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_EULERDAMP)
        else:
            # Without a single row, Warp's integrators would read what no solver has written.
            guess = Buffers(guess.contacts, max(1, guess.constraints))
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        guess = Buffers(max(guess.contacts, data.ncon), max(guess.constraints, data.nefc))
        self.buffers = Buffers(contacts or guess.contacts, constraints or guess.constraints)
        if self.buffers.contacts < data.ncon or self.buffers.constraints < data.nefc:
            raise UserError(
                f"sim.contacts={self.buffers.contacts} and sim.constraints={self.buffers.constraints} are too few: the "
                f"model has {data.ncon} contacts and {data.nefc} constraints where it stands; 0 estimates both"
            )
        with self._on_device(), _told_plainly(model):
            self._model = mujoco_warp.put_model(given)
            self._model.opt.warn_overflow = 0  # the kernels would print; `check` says it once
            self._data = mujoco_warp.put_data(
                given, data, nworld=num_envs, nconmax=self.buffers.contacts, njmax=self.buffers.constraints
            )
        self._state = {name: self._array(name) for name in (*sorted(STATE_FIELDS), *_HIDDEN_STATE)}
        self._state = {name: values for name, values in self._state.items() if values.numel()}
        # In MuJoCo's own default state, not where `mj_forward` left the solver.
        self._state.get("qacc_warmstart", torch.zeros(())).zero_()
        self._default = {name: values[:1].clone() for name, values in self._state.items()}
        self._bound: dict[str, _Bound] = {}
        self._model_fields: dict[str, Tensor] = {}
        self._nominal: dict[str, Tensor] = {}
        self._graphs: dict[object, Any] = {}
        self._recorded_by_torch: list[Any] = []  # what Warp put into graphs of torch's, and must not let go
        self._constants_follow = False
        self._overflow = wp.to_torch(self._data.overflow)

    @override
    def rows(self, mask: Tensor) -> Rows:
        return MaskRows(mask)

    @override
    def bind(self, field: str) -> Tensor:
        if field not in self._bound:
            refuse_unknown(field)
            if field not in STATE_FIELDS and not isinstance(getattr(self._data, field, None), wp.array):
                raise UserError(f"sim=mujoco_warp does not compute the field '{field}'; sim=mujoco_cpu does")
            source = self._array(field)
            is_float = source.dtype == torch.float32
            shown = source.clone() if not is_float or self.lags(field) else source
            self._bound[field] = _Bound(source, shown.to(torch.float32))
            if field not in STATE_FIELDS:
                self._graphs.clear()
                self.forward()
        return self._bound[field].shown

    @override
    def lags(self, field: str) -> bool:
        return lags(self.model, field)

    @override
    def write(self, field: str, values: Tensor, rows: Rows | None = None) -> None:
        refuse_derived(field)
        if field not in self._state:  # the model has none of it
            return
        if rows is None:
            self._state[field].copy_(values)
        else:
            rows.write(self._state[field], values)

    @override
    def expand(self, field: str) -> None:
        if field in self._model_fields:
            return
        follows = field in mujoco.MjModel._setconst_inputs or field.startswith("opt.")
        for name in (field, *(_CONSTANTS if follows else ())):
            self._expand(name, is_computed=name != field)
        self._constants_follow |= follows
        self._graphs.clear()

    @override
    def write_model(self, field: str, values: Tensor, rows: Rows | None = None) -> None:
        self.expand(field)
        target = self._model_fields[field]
        values = values.to(target.dtype).reshape(-1, *target.shape[1:])
        if rows is None:
            target.copy_(values)
        else:
            rows.write(target, values)

    @override
    def commit(self, rows: Rows | None = None) -> None:
        if self._constants_follow:
            self._run("constants", self._recompute_constants)

    @override
    def step(self, substeps: int) -> None:
        self._run(substeps, lambda: self._advance(substeps))
        self._show(None)

    @override
    def forward(self, rows: Rows | None = None) -> None:
        if any(name not in STATE_FIELDS for name in self._bound):
            self._run("forward", lambda: self._mjw.forward(self._model, self._data))
            self._show(rows)

    @override
    def reset(self, rows: Rows | None = None) -> None:
        for name, values in self._state.items():
            default = self._default[name].expand_as(values)
            if rows is None:
                values.copy_(default)
            else:
                rows.write(values, rows.take(default))

    @override
    def check(self) -> None:
        if not bool((self._overflow & _DROPPED).any()):
            return
        lost = [name for name, bit in _OVERFLOWS.items() if bool((self._overflow & bit).any())]
        self._overflow.zero_()
        cure = (
            f"its buffers hold {self.buffers.contacts} contacts a world, in one for all, and "
            f"{self.buffers.constraints} constraints in each; give it more with "
            f"sim.contacts={2 * self.buffers.contacts} sim.constraints={2 * self.buffers.constraints}"
        )
        if lost[0] in _OF_THE_MODEL:
            cure = (
                "a coarser height field, or a sensor that matches fewer contacts, would do; sim=mujoco_cpu has no limit"
            )
        raise UserError(f"sim=mujoco_warp lost {', '.join(lost)} that should have acted: {cure}")

    @override
    def snapshot(self) -> dict[str, Tensor]:
        saved = {f"state/{name}": values for name, values in self._state.items()}
        saved |= {f"model/{name}": values for name, values in self._model_fields.items()}
        saved |= {f"shown/{name}": bound.shown for name, bound in self._bound.items() if name not in STATE_FIELDS}
        return {name: values.clone() for name, values in saved.items()}

    @override
    def restore(self, snapshot: dict[str, Tensor]) -> None:
        missing = sorted(f"state/{name}" for name in self._state if f"state/{name}" not in snapshot)
        found = snapshot.get("state/qpos")
        if found is None or found.shape != self._state["qpos"].shape:
            shape = None if found is None else tuple(found.shape)
            raise UserError(
                f"the snapshot holds positions of the shape {shape}, this simulation {tuple(self._state['qpos'].shape)}"
                "; continue with the same task, robot and num_envs"
            )
        if missing:
            raise UserError(
                f"the snapshot lacks {', '.join(missing)}: it is another back end's; continue with the same"
            )
        saved = {key.removeprefix("model/"): values for key, values in snapshot.items() if key.startswith("model/")}
        for name, values in (self._nominal | saved).items():  # what `commit` computed included
            self.write_model(name, values.to(self.device).expand(self.num_envs, *values.shape[1:]))
        for name, values in self._state.items():
            values.copy_(snapshot[f"state/{name}"])
        derived = [key.removeprefix("shown/") for key in snapshot if key.startswith("shown/")]
        for name in derived:
            self.bind(name)
        self.forward()
        # `forward` brings the lagged fields forward too, and may add to a delayed sensor's history.
        for name, values in self._state.items():
            values.copy_(snapshot[f"state/{name}"])
        for name in derived:
            self._bound[name].shown.copy_(snapshot[f"shown/{name}"])

    @override
    def world(self, row: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        model = copy.copy(self.model)
        for name, values in self._model_fields.items():
            owner, attribute = (model.opt, name.removeprefix("opt.")) if name.startswith("opt.") else (model, name)
            of_row = values[row].double().cpu().numpy()
            if np.ndim(getattr(owner, attribute)):
                getattr(owner, attribute)[:] = of_row.reshape(np.shape(getattr(owner, attribute)))
            else:
                setattr(owner, attribute, float(of_row))
        data = mujoco.MjData(model)
        for name, values in self._state.items():
            of_row = values[row].cpu().numpy()
            if name == "time":
                data.time = float(of_row)
            else:
                getattr(data, name)[:] = of_row.reshape(getattr(data, name).shape)
        mujoco.mj_forward(model, data)
        return model, data

    @override
    def world_index(self) -> Tensor:
        return torch.arange(self.num_envs, device=self.device)

    def _advance(self, substeps: int) -> None:
        for _ in range(substeps):
            self._mjw.step(self._model, self._data)
        if any(name not in STATE_FIELDS for name in self._bound):
            # Positions and velocities have moved on since the last substep looked at them.
            self._mjw.fwd_position(self._model, self._data)
            self._mjw.sensor_pos(self._model, self._data)
            self._mjw.fwd_velocity(self._model, self._data)
            self._mjw.sensor_vel(self._model, self._data)

    def _recompute_constants(self) -> None:
        group = self._mjw.SetConstGroup
        # They take long, and where nothing but masses moves the model, nobody asks for the inverse weights.
        asked = self.buffers.constraints or self.model.ntendon or _has_muscles(self.model)
        self._mjw.set_const(self._model, self._data, group.ALL if asked else group.FIXED)

    def _run(self, key: object, work: Callable[[], None]) -> None:
        """Do the work: the first time step by step, later as a graph; inside a capture of torch's, as part of that."""
        with self._on_device():
            if self.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
                # Told of it, Warp makes loops that depend on data a part of the graph instead of asking the device.
                with wp.ScopedCapture(
                    device=str(self.device), external=True, capture_mode=wp.CaptureMode.GLOBAL
                ) as capture:
                    work()
                self._recorded_by_torch.append(capture.graph)
            elif key not in self._graphs:
                work()
                self._graphs[key] = None
            else:
                if self._graphs[key] is None:
                    self._graphs[key] = self._record(work)
                wp.capture_launch(self._graphs[key])

    def _record(self, work: Callable[[], None]) -> Any:
        """The work as a graph; on a GPU recorded on a stream of its own, since torch's main one cannot record."""
        is_gpu = self.device.type == "cuda"
        aside = torch.cuda.stream(torch.cuda.Stream(self.device)) if is_gpu else contextlib.nullcontext()
        with aside, self._on_device(), wp.ScopedCapture(device=str(self.device)) as capture:
            work()
        return capture.graph

    def _show(self, rows: Rows | None) -> None:
        """Bring the bound fields that are copies up to date."""
        for bound in self._bound.values():
            if bound.is_copy:
                if rows is None:
                    bound.shown.copy_(bound.source)
                else:
                    rows.write(bound.shown, rows.take(bound.source))

    def _expand(self, field: str, *, is_computed: bool) -> None:
        owner: Any = self._model.opt if field.startswith("opt.") else self._model
        name = field.removeprefix("opt.")
        array = getattr(owner, name, None)
        if not isinstance(array, wp.array) or not getattr(array, "_is_batched", False):
            if is_computed:
                return
            known = [n for n, values in vars(self._model).items() if getattr(values, "_is_batched", False)]
            raise UserError(
                f"the model has no field '{field}' that can differ between worlds of sim=mujoco_warp; "
                f"{did_you_mean(field, known)}"
            )
        if field in _DAMPING and not self.buffers.constraints:
            raise UserError(
                f"{field} cannot differ between worlds of a model without damping; give it some, or sim=mujoco_cpu"
            )
        shared = wp.to_torch(array)
        if field in self._model_fields or (is_computed and not shared.numel()):
            return
        values = shared.expand(self.num_envs, *shared.shape[1:]).contiguous()
        fresh = wp.from_torch(values, dtype=array.dtype)
        fresh.__dict__["_is_batched"] = True  # as `mujoco_warp` marks its own
        setattr(owner, name, fresh)
        self._model_fields[field], self._nominal[field] = values, shared.clone()

    def _array(self, field: str) -> Tensor:
        """A field of the data as a tensor of MuJoCo's shape, in the same memory."""
        array = getattr(self._data, field, None)
        if array is None:
            return torch.zeros(self.num_envs, 0, device=self.device)
        values = wp.to_torch(array)
        shape = np.shape(getattr(mujoco.MjData(self.model), field, np.zeros(values.shape[1:])))
        return values.view(self.num_envs, *shape)

    @contextlib.contextmanager
    def _on_device(self) -> Generator[None]:
        """Warp on our device, and there on torch's stream."""
        with wp.ScopedDevice(str(self.device)):
            if self.device.type == "cuda":
                with wp.ScopedStream(wp.stream_from_torch(torch.cuda.current_stream(self.device)), sync_enter=False):
                    yield
            else:
                yield


@dataclasses.dataclass(frozen=True)
class _Bound:
    """A field of the device, and what is shown of it: itself, or a copy where it lags or has another type."""

    source: Tensor
    shown: Tensor

    @property
    def is_copy(self) -> bool:
        return self.source.data_ptr() != self.shown.data_ptr()


_OVERFLOWS = {
    "constraints": 1 << 0,
    "entries of the constraints' Jacobian": 1 << 1,
    "pairs of geoms": 1 << 2,
    "contacts": 1 << 3,
    "contacts of convex shapes": 1 << 4,
    "contacts with a height field": 1 << 5,
    "contacts of a sensor": 1 << 6,
}
_DROPPED = sum(_OVERFLOWS.values())
_OF_THE_MODEL = ("contacts with a height field", "contacts of a sensor")  # no size of a buffer helps


_DAMPING = ("dof_damping", "dof_dampingpoly", "actuator_damping", "actuator_dampingpoly")


def _is_undamped_euler(model: mujoco.MjModel) -> bool:
    is_euler = model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_EULER)
    return is_euler and not any(np.any(getattr(model, field)) for field in _DAMPING)


def _has_muscles(model: mujoco.MjModel) -> bool:
    gains, biases = model.actuator_gaintype, model.actuator_biastype
    is_muscle = (gains == int(mujoco.mjtGain.mjGAIN_MUSCLE)) | (biases == int(mujoco.mjtBias.mjBIAS_MUSCLE))
    return bool(is_muscle.any())


def _prepare_warp() -> None:
    wp.config.log_level = wp.LOG_ERROR
    try:
        wp.init()
        folder = wp.config.kernel_cache_dir
        if folder is not None and not os.access(folder, os.W_OK):
            raise PermissionError(f"no permission to write to {folder}")
    except OSError as error:
        raise UserError(
            f"Warp cannot keep its compiled kernels: {error}; name a folder that can be written to in the environment "
            "variable WARP_CACHE_PATH"
        ) from error


def _refuse_without_cuda(device: torch.device | str) -> None:
    """Where torch finds a GPU and Warp does not, the driver is too old for Warp, or Warp is a build for CPUs."""
    if wp.is_cuda_available():
        return
    toolkit = wp.get_cuda_toolkit_version()
    if toolkit is None:
        raise UserError(f"device={device}: this Warp ({wp.__version__}) was built without CUDA; install another one")
    raise UserError(
        f"device={device}: Warp {wp.__version__} cannot use this driver; it wants one for CUDA {toolkit[0]}: update "
        "the NVIDIA driver, or take a warp-lang for an older CUDA; without a GPU: sim=mujoco_cpu device=cpu"
    )


@contextlib.contextmanager
def _told_plainly(model: mujoco.MjModel) -> Generator[None]:
    """What `mujoco_warp` cannot simulate becomes a message."""
    try:
        yield
    except NotImplementedError as error:
        raise UserError(f"sim=mujoco_warp cannot simulate this model: {error}; sim=mujoco_cpu can") from error
