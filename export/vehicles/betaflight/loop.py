"""The firmware between the sticks and the rotors: a simulation whose four motors do what Betaflight says.

    environment.sim = FirmwareLoop(environment.sim, firmware)     # of a task with robot.action=motors
    environment.step(nothing)                                     # flies on; commands come over the firmware's links

Everything else is the simulation that it wraps. A substep, one millisecond, is: the firmware feels the present state,
the clock on the wall goes on, its newest outputs set the rotors, the physics steps. Commands that are written to `ctrl`
go nowhere. While the environment is busy with a step, its sensors hold still; the substeps that were due are then made
up for without the firmware. `late` counts those that came much too late, since the machine was busy with other things.
"""

import math
import time

import mujoco
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.betaflight.process import Firmware, Motion
from robo_ppo.export.vehicles.betaflight.settings import thrust
from robo_ppo.sim.rows import Rows
from robo_ppo.sim.simulation import Simulation

GRAVITY = 9.81
_LATE = 0.008  # s; what an environment needs to judge a step and to make up measurements is less
_LONGEST_HOLDUP = 0.25  # s; after that, lost time is lost


class FirmwareLoop(Simulation):
    """One world, in real time, flown by the firmware."""

    def __init__(self, inner: Simulation, firmware: Firmware, floor: float) -> None:
        """`floor` is the height (m) of the vehicle's centre when it stands."""
        if inner.num_envs != 1 or inner.model.nu != 4:
            raise UserError("the firmware flies one vehicle by its four motors: num_envs=1 robot.action=motors")
        if inner.model.opt.timestep > 0.002:
            raise UserError(
                f"the firmware needs physics at 1 kHz: task.timestep={inner.model.opt.timestep} is too long"
            )
        self.model, self.num_envs, self.device = inner.model, 1, inner.device
        self.stands = self.is_held = False
        self.steps = self.late = 0
        self.touchdown_speed = 0.0  # m/s, of the last one
        self._inner, self._firmware = inner, firmware
        self._period = float(inner.model.opt.timestep)
        self._qpos, self._qvel, self._act = (inner.bind(name) for name in ("qpos", "qvel", "act"))
        self._least, self.most = (float(limit) for limit in inner.model.actuator_ctrlrange[0])
        self._floor, self._weight = floor, 0.0
        self._velocity: NDArray[np.float64] | None = None
        self._command = torch.zeros(1, 4)
        self._due = time.perf_counter()
        self.outputs = np.zeros(4)
        self._weigh()

    @override
    def step(self, substeps: int) -> None:
        for _ in range(substeps):
            self._exchange()
            if self.stands or self.is_held:
                self._spin_up()
                self.stands = self.stands and not self._carries_itself()
            else:
                self._inner.step(1)
                if float(self._qpos[0, 2]) < self._floor:
                    self.touchdown_speed = float(self._qvel[0, :3].norm())
                    self.stand(self._qpos[0].clone())

    @override
    def write(self, field: str, values: Tensor, rows: Rows | None = None) -> None:
        if field != "ctrl":
            self._velocity = None if field == "qvel" else self._velocity
            self._inner.write(field, values, rows)

    def stand(self, qpos: Tensor) -> None:
        """Put the vehicle on the floor, below a pose (7,) and with its heading, until it lifts off."""
        self._place(qpos, self._floor)
        self.stands, self.is_held = True, False

    def hold(self, qpos: Tensor) -> None:
        """Hold it in the air at a pose (7,), but level, until `let_go`."""
        self._place(qpos, float(qpos[2]))
        self.stands, self.is_held = False, True

    def let_go(self) -> None:
        """Let what was held or stood fly."""
        self.stands = self.is_held = False

    def _place(self, qpos: Tensor, height: float) -> None:
        w, z = float(qpos[3]), float(qpos[6])
        length = math.hypot(w, z) or 1.0
        placed = torch.tensor([float(qpos[0]), float(qpos[1]), height, w / length, 0.0, 0.0, z / length])
        self._inner.write("qpos", placed.unsqueeze(0))
        self._inner.write("qvel", torch.zeros(1, 6))
        self._inner.write("act", torch.full((1, 4), self._least))
        self._inner.forward()

    def _carries_itself(self) -> bool:
        """Whether the rotors give more thrust than the vehicle weighs."""
        return float(self._act.sum()) > self._weight

    def _exchange(self) -> None:
        """Let the firmware feel the present state, wait until a substep's time has gone, and take its outputs."""
        self.steps += 1
        self._due += self._period
        now = time.perf_counter()
        if now > self._due:
            self.late += now > self._due + _LATE
            self._due = now if now > self._due + _LONGEST_HOLDUP else self._due
            return
        self._firmware.send(self._motion())
        time.sleep(max(0.0, self._due - time.perf_counter()))
        outputs = self._firmware.motors()
        if outputs is not None:
            self.outputs = outputs
            self._command = torch.from_numpy(thrust(outputs, self.most)).float().unsqueeze(0)
            self._inner.write("ctrl", self._command)
        if self.steps % 1000 == 0:
            self._firmware.check()

    def _motion(self) -> Motion:
        qpos, qvel = self._qpos.numpy()[0].astype(np.float64), self._qvel.numpy()[0].astype(np.float64)
        still = self.stands or self.is_held
        velocity = np.zeros(3) if still else qvel[:3]
        before = velocity if self._velocity is None or still else self._velocity
        self._velocity = velocity.copy()
        force = (velocity - before) / self._period + (0.0, 0.0, GRAVITY)
        rotation = np.empty(9)
        mujoco.mju_quat2Mat(rotation, qpos[3:7])
        return Motion(
            attitude=qpos[3:7].tolist(),
            gyro=[0.0, 0.0, 0.0] if still else qvel[3:6].tolist(),
            specific_force=(rotation.reshape(3, 3).T @ force).tolist(),
            position=qpos[:3].tolist(),
            velocity=velocity.tolist(),
        )

    def _weigh(self) -> None:
        model, _ = self._inner.world(0)
        self._weight = GRAVITY * float(model.body_mass.sum())

    def _spin_up(self) -> None:
        """Rotors turn, and nothing moves."""
        lag = float(self.model.actuator_dynprm[0, 0])
        towards = self._command.clamp(self._least, self.most) - self._act
        self._inner.write("act", self._act + towards * (1.0 - math.exp(-self._period / lag)))

    @override
    def rows(self, mask: Tensor) -> Rows:
        return self._inner.rows(mask)

    @override
    def bind(self, field: str) -> Tensor:
        return self._inner.bind(field)

    @override
    def lags(self, field: str) -> bool:
        return self._inner.lags(field)

    @override
    def expand(self, field: str) -> None:
        self._inner.expand(field)

    @override
    def write_model(self, field: str, values: Tensor, rows: Rows | None = None) -> None:
        self._inner.write_model(field, values, rows)

    @override
    def commit(self, rows: Rows | None = None) -> None:
        self._inner.commit(rows)
        self._weigh()

    @override
    def forward(self, rows: Rows | None = None) -> None:
        self._inner.forward(rows)

    @override
    def reset(self, rows: Rows | None = None) -> None:
        self._velocity = None
        self._inner.reset(rows)

    @override
    def check(self) -> None:
        self._firmware.check()
        self._inner.check()

    @override
    def snapshot(self) -> dict[str, Tensor]:
        return self._inner.snapshot()

    @override
    def restore(self, snapshot: dict[str, Tensor]) -> None:
        self._inner.restore(snapshot)

    @override
    def world(self, row: int) -> tuple[mujoco.MjModel, mujoco.MjData]:
        return self._inner.world(row)

    @override
    def world_index(self) -> Tensor:
        return self._inner.world_index()
