"""Energy that nothing gave: whether a policy lives on a flaw of the simulation.

The mechanical energy E of a flight (kinetic, of gravity and of springs: MuJoCo's own) can grow only by what actuators
and outer forces give, W = ∫ (actuator + applied forces) · v dt. Damping, drag within the model and contacts take; so
E - W may fall but never rise, beyond the integrator's error. Its largest rise within a flight is the **gain**, and its
scale is what the actuators worked, plus how far E ranged. Contacts that push a body out of another, joint limits, and
steps too long for the stiffness show as gains of the order of the scale. A soft contact gives back part of what it has
just taken, so small gains mean nothing.

A few flights are flown again, substep by substep, on copies of their worlds with the commands that were recorded:

    meter = EnergyMeter(environment, flights=8)              # after environment.reset()
    run_episodes(environment, act, watch=meter.watch)        # resets to the same state
    meter.gain()

What the model's own medium gives (MuJoCo's `wind`) counts as a gain; the tasks' wind is an applied force.
"""

from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
from torch import Tensor

from robo_ppo.env.environment import Environment
from robo_ppo.env.vector import Transition
from robo_ppo.shaping.packets.packet import EnergyGain


class EnergyMeter:
    """Records the commands of the first few environments, to fly them again."""

    def __init__(self, environment: Environment, flights: int = 8) -> None:
        """Copy the worlds as they stand now, at the beginning of their episodes."""
        count = min(flights, environment.num_envs)
        self._environment = environment
        self._worlds = [environment.sim.world(row) for row in range(count)]
        self._inputs = ("ctrl", *environment.task.robot.drives())
        self._steps: list[dict[str, np.ndarray]] = []
        self._lengths = np.zeros(count, dtype=int)

    def watch(self, transition: Transition, running: Tensor) -> None:
        """Remember what was commanded in this step."""
        count, sim = len(self._worlds), self._environment.sim
        self._steps.append({name: sim.bind(name)[:count].cpu().numpy().copy() for name in self._inputs})
        self._lengths += running[:count].cpu().numpy()

    def world(self, row: int) -> mujoco.MjData:
        """One of the copies: after `gain`, as its flight ended."""
        return self._worlds[row][1]

    def gain(self) -> EnergyGain | None:
        """The worst gain among the flights; None where none lasted a step."""
        substeps = self._environment.options.decimation
        worst: EnergyGain | None = None
        for row, (model, data) in enumerate(self._worlds):
            inputs = [
                {name: values[row] for name, values in step.items()} for step in self._steps[: self._lengths[row]]
            ]
            if not inputs:
                continue
            energy, work = flown_again(model, data, inputs, substeps)
            joules, scale = largest_rise(energy - work), float(np.abs(np.diff(work)).sum() + np.ptp(energy))
            found = EnergyGain(joules / scale if scale > 0.0 else 0.0, joules, scale, len(self._worlds))
            worst = found if worst is None or found.share > worst.share else worst
        return worst


def flown_again(
    model: mujoco.MjModel, data: mujoco.MjData, inputs: Sequence[Mapping[str, np.ndarray]], substeps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Energy of a world and the work done on it since the start (J), at the start and after every substep.

    The work of a substep is its mean force times its mean velocity. An Euler step takes the force from its beginning;
    an implicit one follows the velocity to its end; of the others it is the mean of both ends.
    """
    probe = _Probe(model)
    first, _ = probe.look(data)
    energy, work = [first], [0.0]
    kind = mujoco.mjtIntegrator(int(model.opt.integrator))
    is_implicit = kind in (mujoco.mjtIntegrator.mjINT_IMPLICIT, mujoco.mjtIntegrator.mjINT_IMPLICITFAST)
    for values in inputs:
        for name, value in values.items():
            getattr(data, name)[:] = value
        _, force = probe.look(data)
        for _ in range(substeps):
            velocity, before = data.qvel.copy(), probe.state(data)
            mujoco.mj_step(model, data)
            if is_implicit:
                force = probe.force(before, data.qvel)
            now, after = probe.look(data)
            mean_force = 0.5 * (force + after) if kind == mujoco.mjtIntegrator.mjINT_RK4 else force
            energy.append(now)
            work.append(work[-1] + model.opt.timestep * float(mean_force @ (0.5 * (velocity + data.qvel))))
            force = after
    return np.array(energy), np.array(work)


class _Probe:
    """Computes energies and forces on a world of its own, so that the one that flies is not touched."""

    _STATE = mujoco.mjtState.mjSTATE_INTEGRATION

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model, self._data = model, mujoco.MjData(model)
        model.opt.enableflags |= int(mujoco.mjtEnableBit.mjENBL_ENERGY)

    def state(self, data: mujoco.MjData) -> np.ndarray:
        state = np.empty(mujoco.mj_stateSize(self._model, self._STATE))
        mujoco.mj_getState(self._model, data, state, self._STATE)
        return state

    def look(self, data: mujoco.MjData) -> tuple[float, np.ndarray]:
        """Mechanical energy (J), and the generalised forces of actuators and from outside (nv,)."""
        force = self.force(self.state(data), data.qvel)
        return float(self._data.energy.sum()), force

    def force(self, state: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Generalised forces of actuators and from outside (nv,) in a state, but with this velocity."""
        mujoco.mj_setState(self._model, self._data, state, self._STATE)
        self._data.qvel[:] = velocity
        mujoco.mj_forward(self._model, self._data)
        return self._data.qfrc_smooth + self._data.qfrc_bias - self._data.qfrc_passive


def largest_rise(values: np.ndarray) -> float:
    """By how much the values (n,) ever rise above an earlier one."""
    return float((values - np.minimum.accumulate(values)).max(initial=0.0))
