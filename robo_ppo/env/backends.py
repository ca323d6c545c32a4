"""The physics that a configuration names: `sim=mujoco_cpu`, `sim=mujoco_warp` or `sim=isaac_gym`.

sim = make_simulation(config, model, num_envs=1024)
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

import mujoco

from robo_ppo.config import RunConfig, device_of
from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.sim.device import open_device
from robo_ppo.sim.isaac_gym import IsaacGym, IsaacGymSettings
from robo_ppo.sim.mujoco_cpu import MujocoCpu
from robo_ppo.sim.simulation import Simulation

if TYPE_CHECKING:
    from robo_ppo.sim.mujoco_warp import MujocoWarp


def make_simulation(config: RunConfig, model: mujoco.MjModel, num_envs: int) -> Simulation:
    """Worlds of a model on the configured back end and device."""
    check_machine(config)
    return _BACKENDS[config.sim.backend](config, model, num_envs)


def check_machine(config: RunConfig) -> None:
    """Refuse a back end or a device that this machine does not have."""
    if config.sim.backend not in _BACKENDS:
        raise UserError(f"sim.backend={config.sim.backend}; {did_you_mean(config.sim.backend, _BACKENDS)}")
    open_device(device_of(config))
    if config.sim.backend == "mujoco_warp":
        _warp()


def _mujoco_cpu(config: RunConfig, model: mujoco.MjModel, num_envs: int) -> Simulation:
    return MujocoCpu(model, num_envs, config.sim.threads)


def _mujoco_warp(config: RunConfig, model: mujoco.MjModel, num_envs: int) -> Simulation:
    sizes = config.sim.contacts or None, config.sim.constraints or None
    return _warp()(model, num_envs, open_device(device_of(config)), *sizes)


def _warp() -> "type[MujocoWarp]":
    from robo_ppo.sim.mujoco_warp import MujocoWarp  # imports much, and is an extra: says which package is missing

    return MujocoWarp


def _isaac_gym(config: RunConfig, model: mujoco.MjModel, num_envs: int) -> Simulation:
    if device_of(config) != "cpu":
        raise UserError(
            f"sim=isaac_gym exchanges its numbers in the CPU's memory; device must be cpu, not {config.device}"
        )
    settings = IsaacGymSettings(**dataclasses.asdict(config.sim.isaac_gym))
    return IsaacGym(model, num_envs, settings, config.sim.threads)


_BACKENDS: dict[str, Callable[[RunConfig, mujoco.MjModel, int], Simulation]] = {
    "mujoco_cpu": _mujoco_cpu,
    "mujoco_warp": _mujoco_warp,
    "isaac_gym": _isaac_gym,
}
