"""What every back end is tested with: a model that has a bit of everything, and MuJoCo itself as the truth.

A back end joins the contract tests with one line in `BACKENDS`: how to make it, and how far its numbers may be from a
loop over `mj_step` (0.0: equal bit for bit, after rounding to float32). What a back end lacks by its nature stands
there too, with the reason: those fields are left out, and tests that are about nothing else are not made for it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from robo_ppo.sim.isaac_gym import IsaacGym, IsaacGymSettings
from robo_ppo.sim.mujoco_cpu import MujocoCpu
from robo_ppo.sim.mujoco_warp import MujocoWarp
from robo_ppo.sim.simulation import Simulation

from .isaac_gym_double.warm import DOUBLE, warm_python

# A ball with an arm that falls and rolls: contact, a spring, a servo, a motor with a lag (act), a mocap body.
XML = """
<mujoco>
  <option timestep="0.004"/>
  <worldbody>
    <geom name="floor" type="plane" size="3 3 .1"/>
    <body name="ball" pos="0 0 .12">
      <freejoint/>
      <geom name="ball" size=".1" mass="1" pos=".02 0 0"/>
      <site name="imu"/>
      <body name="arm" pos="0 0 .1">
        <joint name="hinge" axis="0 1 0" damping=".1" stiffness="1" armature=".01"/>
        <geom name="arm" type="capsule" fromto="0 0 0 .2 0 .1" size=".02" mass=".2"/>
      </body>
    </body>
    <body name="target" mocap="true" pos="1 0 1"><geom size=".05" contype="0" conaffinity="0"/></body>
  </worldbody>
  <actuator>
    <position name="servo" joint="hinge" kp="2" ctrlrange="-2 2"/>
    <general name="jet" site="imu" gear="1 0 0 0 0 .1" dyntype="filterexact" dynprm=".05" gainprm="3"/>
  </actuator>
  <sensor>
    <accelerometer name="acceleration" site="imu"/>
    <gyro name="gyro" site="imu"/>
    <framepos name="place" objtype="site" objname="imu"/>
  </sensor>
</mujoco>
"""
NUM_ENVS = 5
FIELDS = ("time", "qpos", "qvel", "act", "ctrl", "xpos", "xquat", "site_xpos", "cvel", "actuator_length", "sensordata")


@dataclass(frozen=True)
class Backend:
    """A back end under test."""

    make: Callable[[mujoco.MjModel, int], Simulation]
    tolerance: float
    lacks: Mapping[str, str] = field(default_factory=dict[str, str])
    """What cannot be had of this back end, and why: names of fields, and "ground" for a plane that differs by world."""

    @property
    def fields(self) -> tuple[str, ...]:
        return self.shows(*FIELDS)

    def shows(self, *fields: str) -> tuple[str, ...]:
        """Those of some fields that the back end can bind."""
        return tuple(field for field in fields if field not in self.lacks)

    def same(self, shown: Tensor, truth: np.ndarray) -> None:
        """Refuse what a bound field shows if it is not the truth (float64)."""
        assert shown.dtype == torch.float32
        if self.tolerance == 0.0:
            np.testing.assert_array_equal(shown.cpu().numpy(), truth.astype(np.float32))
        else:
            np.testing.assert_allclose(shown.cpu().numpy(), truth, rtol=self.tolerance, atol=self.tolerance)


def isaac_gym(model: mujoco.MjModel, num_envs: int) -> IsaacGym:
    """The back end over its double, which stands in for Isaac Gym itself."""
    settings = IsaacGymSettings(
        python=warm_python(), environment={"PYTHONPATH": str(DOUBLE)}, device="cpu", threads=1, spacing=2.0
    )
    return IsaacGym(model, num_envs, settings, threads=1)


_ENGINE_ONLY = "Isaac Gym's tensors hold positions and velocities; no accelerations, no forces of MuJoCo's contacts"

BACKENDS = {
    "mujoco_cpu, 1 thread": Backend(lambda model, num_envs: MujocoCpu(model, num_envs, 1), 0.0),
    "mujoco_cpu, 2 threads": Backend(lambda model, num_envs: MujocoCpu(model, num_envs, 2), 0.0),
    "mujoco_warp": Backend(MujocoWarp, 2e-4),
    "isaac_gym, over its double": Backend(
        isaac_gym,
        2e-4,
        {
            **dict.fromkeys(("qacc", "qfrc_constraint", "actuator_force"), _ENGINE_ONLY),
            "sensordata": f"the model has an accelerometer. {_ENGINE_ONLY}",
            "ground": "one plane lies under all worlds",
        },
    ),
}


def having(*fields: str) -> pytest.MarkDecorator:
    """Make a test only for back ends that lack none of these."""
    able = [name for name, backend in BACKENDS.items() if backend.shows(*fields) == fields]
    return pytest.mark.parametrize("backend", able, indirect=True)


class Plain:
    """The truth: one `MjModel` and one `MjData` for each world, stepped by `mj_step` in a loop."""

    def __init__(self, num_envs: int = NUM_ENVS) -> None:
        self.models = [mujoco.MjModel.from_xml_string(XML) for _ in range(num_envs)]
        self.data = [mujoco.MjData(model) for model in self.models]

    def write(self, field: str, values: Tensor, rows: list[int] | None = None) -> None:
        for value, row in zip(values, range(len(self.data)) if rows is None else rows, strict=True):
            if field == "time":
                self.data[row].time = float(value)
            else:
                getattr(self.data[row], field)[:] = value.numpy()

    def step(self, substeps: int) -> None:
        for model, data in zip(self.models, self.data, strict=True):
            for _ in range(substeps):
                mujoco.mj_step(model, data)

    def lagged(self, field: str) -> np.ndarray:
        """A field as `mj_step` leaves it: derived ones belong to the state before the last substep."""
        return np.stack([np.asarray(getattr(data, field), dtype=np.float64) for data in self.data])

    def current(self, field: str) -> np.ndarray:
        """A field computed from the present state, in a copy, so that nothing here changes."""
        values: list[np.ndarray] = []
        for model, data in zip(self.models, self.data, strict=True):
            copied = mujoco.MjData(model)
            state = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION))
            mujoco.mj_getState(model, data, state, mujoco.mjtState.mjSTATE_INTEGRATION)
            mujoco.mj_setState(model, copied, state, mujoco.mjtState.mjSTATE_INTEGRATION)
            mujoco.mj_forward(model, copied)
            values.append(np.asarray(getattr(copied, field), dtype=np.float64))
        return np.stack(values)


def controls(step: int, num_envs: int = NUM_ENVS) -> Tensor:
    """Different commands for every world and step, exactly representable in float32; some beyond the control range."""
    return torch.randn(num_envs, 2, generator=torch.Generator().manual_seed(step)) * 1.5


@pytest.fixture
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(XML)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS[request.param]


@pytest.fixture
def sim(backend: Backend, model: mujoco.MjModel) -> Simulation:
    return backend.make(model, NUM_ENVS)


@pytest.fixture
def plain() -> Plain:
    return Plain()


@pytest.fixture(autouse=True)
def _mujoco_logs_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    """MuJoCo writes its warnings about diverging worlds into the working directory."""
    monkeypatch.chdir(tmp_path)
