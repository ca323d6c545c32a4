"""The double enforces Isaac Gym's rules: what the worker may do there is what it may do with the real one."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import mujoco
import numpy as np
import pytest
import torch

from robo_ppo.sim.isaac_gym.robot import Robot

from .conftest import XML
from .isaac_gym_double.warm import DOUBLE


class Modules(NamedTuple):
    """What `from isaacgym import gymapi, gymtorch` gives the worker."""

    api: ModuleType
    torch: ModuleType


@pytest.fixture
def isaacgym(monkeypatch: pytest.MonkeyPatch) -> Iterator[Modules]:
    monkeypatch.syspath_prepend(str(DOUBLE))
    yield Modules(importlib.import_module("isaacgym.gymapi"), importlib.import_module("isaacgym.gymtorch"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "isaacgym"]:
        del sys.modules[name]


class World:
    """A simulation of two robots, as far as `prepare` says."""

    def __init__(self, isaacgym: Modules, folder: Path, prepare: bool = True) -> None:
        self.api, self.torch = isaacgym.api, isaacgym.torch
        self.gym = self.api.acquire_gym()
        params = self.api.SimParams()
        params.dt, params.substeps, params.up_axis = 0.004, 1, self.api.UP_AXIS_Z
        params.gravity = self.api.Vec3(0.0, 0.0, -9.81)
        self.sim = self.gym.create_sim(0, -1, self.api.SIM_PHYSX, params)
        (folder / "robot.xml").write_text(Robot(mujoco.MjModel.from_xml_string(XML)).mjcf)
        options = self.api.AssetOptions()
        options.default_dof_drive_mode, options.angular_damping = int(self.api.DOF_MODE_EFFORT), 0.0
        self.asset = self.gym.load_asset(self.sim, str(folder), "robot.xml", options)
        self.envs = [self.add() for _ in range(2)]
        if prepare:
            self.gym.prepare_sim(self.sim)
            self.root = self.torch.wrap_tensor(self.gym.acquire_actor_root_state_tensor(self.sim))
            self.dof = self.torch.wrap_tensor(self.gym.acquire_dof_state_tensor(self.sim))
            self.gym.refresh_actor_root_state_tensor(self.sim)

    def add(self) -> object:
        reach = self.api.Vec3(1.0, 1.0, 1.0)
        env = self.gym.create_env(self.sim, self.api.Vec3(-1.0, -1.0, 0.0), reach, 2)
        pose = self.api.Transform(self.api.Vec3(0.0, 0.0, 1.0))
        self.gym.create_actor(env, self.asset, pose, "robot", len(self.sim.envs) - 1, 1)
        return env

    def set_root(self, root: torch.Tensor, indices: torch.Tensor) -> None:
        tensors = (self.torch.unwrap_tensor(values) for values in (root, indices))
        self.gym.set_actor_root_state_tensor_indexed(self.sim, *tensors, len(indices))

    def step(self) -> None:
        self.gym.simulate(self.sim)
        self.gym.fetch_results(self.sim, True)


def breaks(rule: str) -> "pytest.RaisesExc[Exception]":
    return pytest.raises(Exception, match=rule)


def test_first_build_then_prepare_then_acquire(isaacgym: Modules, tmp_path: Path) -> None:
    world = World(isaacgym, tmp_path, prepare=False)
    with breaks("acquired after prepare_sim"):
        world.gym.acquire_actor_root_state_tensor(world.sim)
    with breaks("prepare_sim comes before simulate"):
        world.gym.simulate(world.sim)
    world.gym.prepare_sim(world.sim)
    with breaks("created before prepare_sim"):
        world.add()
    with breaks("was not acquired"):
        world.gym.refresh_actor_root_state_tensor(world.sim)


def test_tensors_are_stale_until_they_are_refreshed(isaacgym: Modules, tmp_path: Path) -> None:
    world = World(isaacgym, tmp_path)
    before = world.root.clone()
    world.gym.simulate(world.sim)
    with breaks("fetched before a refresh"):
        world.gym.refresh_actor_root_state_tensor(world.sim)
    world.gym.fetch_results(world.sim, True)
    assert torch.equal(world.root, before)
    world.gym.refresh_actor_root_state_tensor(world.sim)
    assert not torch.equal(world.root, before)


def test_writing_to_a_tensor_moves_nothing_until_it_is_set(isaacgym: Modules, tmp_path: Path) -> None:
    world = World(isaacgym, tmp_path)
    world.root[:, 2] = 7.0
    world.step()
    world.gym.refresh_actor_root_state_tensor(world.sim)
    assert (world.root[:, 2] - 1.0).abs().max() < 0.01
    world.root[:, 2] = 7.0
    world.set_root(world.root, torch.tensor([1], dtype=torch.int32))
    with breaks("brings back what was there before"):
        world.gym.refresh_actor_root_state_tensor(world.sim)
    world.step()
    world.gym.refresh_actor_root_state_tensor(world.sim)
    np.testing.assert_allclose(world.root[:, 2], (1.0, 7.0), atol=0.01)


def test_setters_want_all_actors_and_indices_of_32_bits_once_a_step(isaacgym: Modules, tmp_path: Path) -> None:
    world = World(isaacgym, tmp_path)
    one = torch.tensor([1], dtype=torch.int32)
    with breaks("indices are int32, not torch.int64"):
        world.set_root(world.root, torch.tensor([1]))
    with breaks("the buffer of all actors"):
        world.set_root(world.root[1:].contiguous(), one)
    with breaks("float32, not torch.float64"):
        world.set_root(world.root.double(), one)
    with breaks("indices are of actors"):
        world.set_root(world.root, one + 1)
    with breaks("contiguous"):
        world.set_root(world.root.t().contiguous().t(), one)
    with breaks("not finite"):
        world.set_root(world.root * torch.nan, one)
    world.set_root(world.root, one)
    with breaks("twice in one step"):
        world.set_root(world.root, one - 1)


def test_quaternions_are_xyzw_and_velocities_of_the_centre_of_mass(isaacgym: Modules, tmp_path: Path) -> None:
    """A ball that is off its frame's origin by 2 cm spins about z, a quarter turn on."""
    world = World(isaacgym, tmp_path)
    state = torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0, 0.0, 0.0, 0.0, 3.0])
    world.root[0] = state
    world.set_root(world.root, torch.tensor([0], dtype=torch.int32))
    data = world.sim.actors[0]
    world.step()
    offset = data.model.body_ipos[1]
    assert abs(offset[0]) > 0.01
    turned = np.array((-offset[1], offset[0], offset[2]))
    # Of the robot in flight; the arm's joint moves it a little in this first step.
    np.testing.assert_allclose(data.data.qvel[:2], -np.cross((0, 0, 3.0), turned)[:2], atol=2e-3)
    np.testing.assert_allclose(np.abs(data.data.qpos[3:7]), (np.sqrt(0.5), 0, 0, np.sqrt(0.5)), atol=0.01)


def test_forces_last_one_step(isaacgym: Modules, tmp_path: Path) -> None:
    world = World(isaacgym, tmp_path)
    push = torch.zeros(4, 3)
    push[0, 0] = 100.0
    descriptors = (world.torch.unwrap_tensor(values) for values in (push, torch.zeros(4, 3)))
    world.gym.apply_rigid_body_force_tensors(world.sim, *descriptors, world.api.ENV_SPACE)
    speeds: list[float] = []
    for _ in range(2):
        world.step()
        world.gym.refresh_actor_root_state_tensor(world.sim)
        speeds.append(float(world.root[0, 7]))
    assert speeds[0] > 0.2
    assert abs(speeds[1] - speeds[0]) < 0.02


def test_centres_of_mass_stay_once_the_simulation_is_prepared(isaacgym: Modules, tmp_path: Path) -> None:
    world = World(isaacgym, tmp_path)
    links = world.gym.get_actor_rigid_body_properties(world.envs[0], 0)
    links[0].mass *= 2.0
    assert world.gym.set_actor_rigid_body_properties(world.envs[0], 0, links, False)
    links[0].com.x += 0.1
    with breaks("centres of mass stay"):
        world.gym.set_actor_rigid_body_properties(world.envs[0], 0, links, False)
