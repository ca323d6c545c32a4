"""A task's own vehicle under real firmware: its scenes, sensors and judgement, its firmware's sticks, in real time.

    with Firmware(COMMAND_LINE) as firmware:
        vehicle = Vehicle(task_of(bundle), firmware, MocapSender())
        vehicle.stand(episode=3)                  # on the floor, below where the episode begins
        while vehicle.outcome is None:
            vehicle.advance()                     # 10 ms: fly on, then say over UDP what is measured
            if …: vehicle.begin()                 # from here on the task counts

Before `begin` the vehicle takes off and hovers under whoever flies it; `begin` starts the episode where it is then,
with the task's clock at zero. Afterwards it flies on, so that it can be landed.
"""

import contextlib
import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robo_ppo.config import RunConfig, SimConfig, parse_config
from robo_ppo.env.build import build
from robo_ppo.env.scenes import Split
from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.betaflight.loop import FirmwareLoop
from robo_ppo.export.vehicles.betaflight.process import Firmware
from robo_ppo_onboard.bundle import Bundle
from robo_ppo_onboard.sources.mocap import MocapSender

TIMESTEP = 0.001  # s, of the physics: as often does the firmware feel something new
MEASURED_EVERY = 10  # ms
_BELOW_CONTACT = 0.002  # m that the floor lies below the height at which a task sees a crash
_TIMEOUT = "timeout"


def task_of(bundle: Bundle, randomization: str | None = None) -> RunConfig:
    """The task that a policy was trained in, of a vehicle whose motors are driven; randomization=`none` for none."""
    config = parse_config(bundle.contract.training.config, "the bundle")
    config.robot.action = "motors"
    config.task.timestep, config.task.decimation = TIMESTEP, MEASURED_EVERY
    config.task.action_delay = [0.0, 0.0]
    config.sim = SimConfig(backend="mujoco_cpu", threads=1)
    if randomization == "none":
        config.randomization.parameters = {}
        config.randomization.measurement_errors = 0.0
    elif randomization is not None:
        raise UserError(f"randomization={randomization}: either none, or without it as the policy was trained")
    return config


class Vehicle:
    """One vehicle in the episodes of its task."""

    def __init__(
        self, config: RunConfig, firmware: Firmware, sender: MocapSender, *, split: Split = "test", episodes: int = 200
    ) -> None:
        self.environment = build(config, split, 1, episodes=episodes)
        robot = self.environment.task.robot
        self.loop = FirmwareLoop(self.environment.sim, firmware, floor=robot.radius - _BELOW_CONTACT)
        self.environment.sim = self.loop
        self.outcome: str | None = None
        self.path: list[NDArray[np.float32]] = []
        """Positions (3,) since the episode began, one for each step."""
        self._sender = sender
        self._nothing = torch.zeros(1, self.environment.action_size)
        self._episode, self._has_begun, self._time = 0, False, 0.0

    def stand(self, episode: int) -> list[float]:
        """Wait on the floor, below the place where an episode begins; that place (3,)."""
        start = self._reset(episode)
        self.loop.stand(start)
        return start[:3].tolist()

    def hold(self, episode: int) -> list[float]:
        """Be held where an episode begins; `begin` throws the vehicle with the tilt and the speed of that episode."""
        start = self._reset(episode)
        self.loop.hold(start)
        return start[:3].tolist()

    def begin(self) -> None:
        """Let the task count from here and now."""
        turning = self.loop.bind("act").clone()
        if not self.loop.is_held:
            columns = self.environment.bank.columns
            for name in ("qpos", "qvel"):
                columns[name][self._episode] = self.loop.bind(name)[0]
        self.environment.reset(self._episode)
        self.loop.write("act", turning)
        self.loop.let_go()
        self._has_begun = True
        self.path = [self._position()]

    @torch.no_grad()
    def advance(self) -> None:
        """Fly on until the next measurement, and send it."""
        environment = self.environment
        transition = environment.step(self._nothing, restart=False)
        self._time += environment.interface.control_period
        self._sender.send(self._time, {name: v.flatten().tolist() for name, v in environment.measured.items()})
        if self._has_begun and self.outcome is None:
            self.path.append(self._position())
            if bool(transition.terminated | transition.truncated):
                found = environment.outcomes(transition)
                self.outcome = next((name for name, ended in found.items() if bool(ended)), _TIMEOUT)

    def _reset(self, episode: int) -> Tensor:
        """Begin an episode; where it begins, as `qpos` (7,)."""
        if not 0 <= episode < self.environment.bank.size:
            raise UserError(f"episode {episode}: there are {self.environment.bank.size}")
        self._episode, self._has_begun, self.outcome, self.path = episode, False, None, []
        self.environment.reset(episode)
        return self.loop.bind("qpos")[0].clone()

    def _position(self) -> NDArray[np.float32]:
        return self.loop.bind("qpos")[0, :3].numpy().copy()


def real_time() -> None:
    """Let this process run before others, where that is allowed: what it simulates does not wait for them."""
    with contextlib.suppress(AttributeError, PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
