"""What only the CPU back end promises: equal results at any number of threads, and the freshness of every field."""

import mujoco
import numpy as np
import pytest
import torch
from mujoco.batch import DATA_FIELDS

from robo_ppo.sim.mujoco_cpu import MujocoCpu

from .conftest import Plain, controls


def test_any_number_of_threads_gives_the_same_bits(model: mujoco.MjModel) -> None:
    """More worlds than threads, in double precision."""
    ends: list[torch.Tensor] = []
    for threads in (1, 2, 3):
        sim = MujocoCpu(model, 37, threads)
        for step in range(20):
            sim.write("ctrl", controls(step, 37))
            sim.step(4)
        ends.append(sim.snapshot()["state"])
    assert ends[0].dtype == torch.float64
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


def test_every_field_that_does_not_lag_is_current(model: mujoco.MjModel, plain: Plain) -> None:
    """All fields of `MjData` that MuJoCo can bind; and the test would notice one that lags."""
    # Sparse arrays have unused ends, which hold whatever was there.
    fields = sorted(DATA_FIELDS - {"plugin", "plugin_data", "actuator_moment", "moment_colind"})
    sim = MujocoCpu(model, len(plain.data), 1)
    for field in fields:
        sim.bind(field)
    for step in range(25):
        sim.write("ctrl", controls(step))
        plain.write("ctrl", controls(step))
        sim.step(3)
        plain.step(3)
    current = {field: plain.current(field).astype(np.float32) for field in fields}
    stale = {field for field in fields if not np.array_equal(sim.bind(field).numpy(), current[field])}
    lagging = {field for field in fields if sim.lags(field)}
    assert stale <= lagging
    assert {"qacc", "sensordata", "actuator_force", "qfrc_constraint", "act_dot", "cfrc_int"} <= stale


def test_a_world_that_mujoco_refuses_to_step_shows_as_not_finite(model: mujoco.MjModel, plain: Plain) -> None:
    """An error inside MuJoCo stops one world, not the batch: here an integrator that does not exist."""
    sim = MujocoCpu(model, 5, 2)
    for field in ("qpos", "xpos"):
        sim.bind(field)
    sim.write_model("opt.integrator", torch.tensor([99]), sim.rows(torch.arange(5) == 1))
    sim.step(3)
    plain.step(3)
    assert torch.isnan(sim.bind("qpos")[1]).all()
    others = [0, 2, 3, 4]
    np.testing.assert_array_equal(sim.bind("qpos")[others].numpy(), plain.lagged("qpos")[others].astype(np.float32))
    np.testing.assert_array_equal(sim.bind("xpos")[others].numpy(), plain.current("xpos")[others].astype(np.float32))


def test_the_model_of_the_caller_does_not_reset_itself(model: mujoco.MjModel) -> None:
    MujocoCpu(model, 1)
    assert model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_AUTORESET


def test_options_can_differ_between_worlds(model: mujoco.MjModel, plain: Plain) -> None:
    sim = MujocoCpu(model, 5, 2)
    sim.bind("qpos")
    gravity = torch.tensor([[0.0, 0.0, -2.0 * row] for row in range(5)], dtype=torch.float64)
    sim.write_model("opt.gravity", gravity)
    sim.commit()
    for row, of_world in enumerate(plain.models):
        of_world.opt.gravity[:] = gravity[row].numpy()
    for step in range(20):
        sim.write("ctrl", controls(step))
        plain.write("ctrl", controls(step))
        sim.step(2)
        plain.step(2)
    np.testing.assert_array_equal(sim.bind("qpos").numpy(), plain.lagged("qpos").astype(np.float32))


@pytest.mark.parametrize("threads", [0, 1])
def test_zero_threads_are_all_cores(model: mujoco.MjModel, threads: int) -> None:
    sim = MujocoCpu(model, 2, threads)
    sim.step(1)
    assert float(sim.bind("time")[0]) == pytest.approx(0.004)
