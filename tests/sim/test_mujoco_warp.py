"""What only Warp has: single precision, buffers of a fixed size, kernels that are compiled and kept, graphs."""

import subprocess
import sys
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch
import warp

from robo_ppo.errors import UserError
from robo_ppo.robots.crazyflie.robot import Crazyflie
from robo_ppo.sim.buffers import Buffers, bound, estimate
from robo_ppo.sim.mujoco_cpu import MujocoCpu
from robo_ppo.sim.mujoco_warp import MujocoWarp

from .conftest import NUM_ENVS, XML, Plain, controls

CURRENT = ("qpos", "qvel", "act", "xpos", "cvel", "site_xpos")
# Largest difference from `mj_step` after so many steps of four substeps, in contact with the floor: single precision
# at first, then what the motion makes of it.
AGREEMENT = {
    1: {"qpos": 1e-6, "qvel": 5e-6, "act": 1e-6, "xpos": 1e-6, "cvel": 5e-6, "site_xpos": 1e-6},
    25: {"qpos": 2e-6, "qvel": 2e-5, "act": 1e-6, "xpos": 1e-6, "cvel": 5e-5, "site_xpos": 1e-6},
    100: {"qpos": 5e-5, "qvel": 1e-3, "act": 2e-6, "xpos": 2e-5, "cvel": 1e-3, "site_xpos": 2e-5},
}


def test_it_agrees_with_mj_step_as_far_as_stated(model: mujoco.MjModel, plain: Plain) -> None:
    sim = MujocoWarp(model, NUM_ENVS)
    for field in CURRENT:
        sim.bind(field)
    for step in range(1, max(AGREEMENT) + 1):
        sim.write("ctrl", controls(step))
        plain.write("ctrl", controls(step))
        sim.step(4)
        plain.step(4)
        for field, limit in AGREEMENT.get(step, {}).items():
            difference = np.abs(sim.bind(field).numpy() - plain.current(field)).max()
            assert difference < limit, f"{field} after {step} steps: {difference}"
    sim.check()


@pytest.mark.parametrize("action", ["body_rates", "motors"])
def test_a_vehicle_without_any_constraint_flies_as_on_the_cpu(action: str) -> None:
    """No contacts, limits or damping: no solver runs, and nothing else may be left out with it."""
    robot = Crazyflie(action)
    model = robot.spec().compile()
    sims = (MujocoWarp(model, 4), MujocoCpu(robot.spec().compile(), 4, 1))
    assert sims[0].buffers == Buffers(0, 0)
    lower, upper = torch.tensor(robot.action.lower), torch.tensor(robot.action.upper)
    generator = torch.Generator().manual_seed(0)
    for sim in sims:
        sim.bind("qvel")
    for _ in range(50):
        command = lower + (upper - lower) * torch.rand(4, 4, generator=generator)
        for sim in sims:
            sim.write("ctrl", command)
            sim.step(4)
    fast, truth = (sim.bind("qpos") for sim in sims)
    assert truth.abs().max() > 0.5, "it went somewhere"
    torch.testing.assert_close(fast, truth, atol=1e-5, rtol=0)
    torch.testing.assert_close(sims[0].bind("qvel"), sims[1].bind("qvel"), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast", "RK4"])
def test_damping_without_any_constraint(integrator: str) -> None:
    xml = f"""<mujoco><option integrator="{integrator}" timestep=".01"/><worldbody><body>
      <joint axis="0 1 0" damping=".3"/><geom type="capsule" fromto="0 0 0 .3 0 0" size=".02"/>
      </body></worldbody></mujoco>"""
    sims = (MujocoWarp(mujoco.MjModel.from_xml_string(xml), 2), MujocoCpu(mujoco.MjModel.from_xml_string(xml), 2, 1))
    for sim in sims:
        sim.bind("qpos")
        sim.step(100)
    assert sims[1].bind("qpos").abs().min() > 0.1
    torch.testing.assert_close(sims[0].bind("qpos"), sims[1].bind("qpos"), atol=1e-5, rtol=0)


def test_a_lost_contact_is_told_with_what_to_give(model: mujoco.MjModel) -> None:
    sim = MujocoWarp(model, NUM_ENVS, contacts=1, constraints=3)
    sim.check()
    qpos = sim.bind("qpos").clone()
    qpos[:, 2], qpos[:, 7] = 0.05, 1.2  # the ball and both ends of the arm in the floor
    sim.write("qpos", qpos)
    sim.step(2)
    with pytest.raises(
        UserError, match=r"lost constraints.* that should have acted: its buffers hold 1 contacts a world"
    ) as e:
        sim.check()
    assert "sim.contacts=2 sim.constraints=6" in str(e.value)
    sim.check()  # told once
    roomy = MujocoWarp(model, NUM_ENVS)
    roomy.write("qpos", qpos)
    roomy.step(2)
    roomy.check()


def test_estimated_buffers_hold_what_the_model_needs(model: mujoco.MjModel) -> None:
    """Against MuJoCo, thrown about: the bound is never exceeded, and of a robot with many geoms it is not taken."""
    link = """<body pos=".1 0 0"><joint axis="0 1 0" range="-2 2" limited="true"/>
      <geom type="capsule" fromto="0 0 0 .1 0 0" size=".02"/>"""
    links = 24 * link + 24 * "</body>"
    chain = mujoco.MjModel.from_xml_string(
        f'<mujoco><worldbody><geom type="plane" size="5 5 .1"/><body pos="0 0 .3"><freejoint/>'
        f'<geom size=".05"/>{links}</body></worldbody></mujoco>'
    )
    assert bound(chain).contacts > 500 > estimate(chain).contacts
    for of in (model, chain):
        limit, data, rng = estimate(of), mujoco.MjData(of), np.random.default_rng(7)
        for _ in range(20):
            mujoco.mj_resetData(of, data)
            data.qpos[:] += rng.normal(0.0, 0.6, of.nq)
            mujoco.mj_normalizeQuat(of, data.qpos)
            for _ in range(100):
                mujoco.mj_step(of, data)
                assert data.ncon <= limit.contacts and data.nefc <= limit.constraints


def test_a_field_that_warp_does_not_have_is_refused(model: mujoco.MjModel) -> None:
    with pytest.raises(UserError, match="sim=mujoco_warp does not compute the field 'bvh_active'; sim=mujoco_cpu does"):
        MujocoWarp(model, 1).bind("bvh_active")
    with pytest.raises(UserError, match=r"no field 'geom_type' that can differ between worlds of sim=mujoco_warp"):
        MujocoWarp(model, 1).expand("geom_type")


def test_a_model_that_warp_cannot_simulate_is_refused() -> None:
    xml = """<mujoco><option><flag fwdinv="enable"/></option><worldbody><body><joint/><geom size=".1"/></body>
      </worldbody></mujoco>"""
    with pytest.raises(UserError, match=r"sim=mujoco_warp cannot simulate this model: .*FWDINV.*; sim=mujoco_cpu can"):
        MujocoWarp(mujoco.MjModel.from_xml_string(xml), 1)


@pytest.mark.parametrize(
    ("toolkit", "said"),
    [
        ((13, 4), r"device=cuda: Warp .* cannot use this driver; it wants one for CUDA 13: update the NVIDIA driver"),
        (None, r"device=cuda: this Warp .* was built without CUDA"),
    ],
)
def test_a_driver_that_torch_can_use_and_warp_cannot(
    model: mujoco.MjModel, monkeypatch: pytest.MonkeyPatch, toolkit: tuple[int, int] | None, said: str
) -> None:
    monkeypatch.setattr(warp, "is_cuda_available", lambda: False)
    monkeypatch.setattr(warp, "get_cuda_toolkit_version", lambda: toolkit)
    with pytest.raises(UserError, match=said):
        MujocoWarp(model, 1, torch.device("cuda"))


def test_graphs_and_single_launches_give_the_same_bits(model: mujoco.MjModel) -> None:
    ends: list[torch.Tensor] = []
    for graphs in (True, False):
        sim = MujocoWarp(model, NUM_ENVS)
        sim.bind("xpos")
        for step in range(12):
            if not graphs:
                sim._graphs.clear()
            sim.write("ctrl", controls(step))
            sim.step(3)
        assert bool(sim._graphs[3]) is graphs
        ends.append(torch.cat((sim.bind("qpos"), sim.bind("qvel"), sim.bind("xpos").flatten(1)), 1))
    assert torch.equal(ends[0], ends[1])


def python(*lines: str, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=60,
    )


def test_without_the_package_it_says_what_to_install() -> None:
    done = python(
        "import sys; sys.modules['warp'] = None",
        "from robo_ppo.errors import UserError",
        "try: import robo_ppo.sim.mujoco_warp",
        "except UserError as error: print(error)",
    )
    assert done.stdout.strip() == "sim=mujoco_warp needs the package mujoco-warp: pip install 'robo-ppo[gpu]'"


def test_a_kernel_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = python(
        "import mujoco",
        "from robo_ppo.errors import UserError",
        "from robo_ppo.sim.mujoco_warp import MujocoWarp",
        f"model = mujoco.MjModel.from_xml_string({XML!r})",
        "try: MujocoWarp(model, 1)",
        "except UserError as error: print(error)",
        WARP_CACHE_PATH=str(tmp_path / "file" / "cache"),
    )
    assert "Warp cannot keep its compiled kernels" in done.stdout and "WARP_CACHE_PATH" in done.stdout, done.stderr
