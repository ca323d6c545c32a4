"""Vehicles in the same process: a link that keeps what it is told, and a fleet that flies many at once.

    fleet = Fleet(policy, count=1000)
    fleet.begin()
    commands = fleet.fly({"position": positions, …})         # (count, …) in, (count, number of commands) out

A fleet is how an evaluation flies: every vehicle has the supervisor that it would have on board, in the order of a
real tick; only the policy is asked for all at once. Time is the simulation's, one control period a call, and episodes
begin in the air with the policy in control.
"""

from __future__ import annotations

from typing import Mapping, Sequence

import numpy as np

from ..contract import Array, Contract
from ..runtime import Policy
from ..safety.limits import Limits
from ..safety.supervisor import Change, Supervisor
from ..safety.table import State
from ..sources.source import Source
from ..vehicle import Sample, Setpoint, Status
from .link import Link


class SimulatedLink(Link, Source):
    """A vehicle that is a few attributes: what it is told is in `setpoint`, what it measures is put into `samples`."""

    def __init__(self, *, flies_itself: bool = False) -> None:
        self.flies_itself = flies_itself
        self.samples: list[Sample] = []
        self.setpoint: Setpoint | None = None
        self.state = Status(heard=0.0, armed=True)

    def open(self, contract: Contract) -> None:
        """Provides whatever the policy takes."""
        self.provides = tuple(port.name for port in contract.inputs)

    def poll(self) -> list[Sample]:
        """What was put into `samples` since the last call."""
        samples, self.samples = self.samples, []
        return samples

    def status(self, now: float) -> Status:
        """What was put into `state`."""
        return self.state

    def send(self, setpoint: Setpoint, now: float) -> None:
        """Keep it."""
        self.setpoint = setpoint


class Fleet:
    """Many vehicles in lockstep with one policy."""

    def __init__(self, policy: Policy, count: int, limits: Limits | None = None) -> None:
        self.contract, self._policy, self._count = policy.contract, policy, count
        self._limits = limits or Limits.of(self.contract)
        self._names = [port.name for port in self.contract.outputs]
        self._sizes = [(port.name, port.size) for port in self.contract.inputs]
        self.begin()

    def begin(self) -> None:
        """Forget everything: new flights begin."""
        self.supervisors = [Supervisor(self.contract, self._limits, start=State.POLICY) for _ in range(self._count)]
        self._state = self._policy.initial_state(self._count)
        self._tick = 0

    def fly(self, measured: Mapping[str, Array], active: Sequence[bool] | None = None) -> Array:
        """Commands (count, commands) from measurements (count, *shape); of vehicles that are not `active`, anything."""
        now = self._tick * self.contract.control_period
        self._tick += 1
        columns = [(name, measured[name].reshape(self._count, size).tolist()) for name, size in self._sizes]
        status, awake = Status(heard=now, armed=True), range(self._count)
        if active is not None:
            awake = [row for row in awake if active[row]]
        for row in awake:
            samples = [Sample(name, tuple(values[row]), now) for name, values in columns]
            self.supervisors[row].begin_tick(now, samples, status)
        answers, self._state = self._policy(measured, self._state)
        table = np.stack([answers[name] for name in self._names], 1)
        rows = table.tolist()
        for row in awake:
            supervisor = self.supervisors[row]
            setpoint = supervisor.end_tick(now, dict(zip(self._names, rows[row])))
            if supervisor.state is not State.POLICY:
                table[row] = [setpoint.commands[name] for name in self._names]
        return table

    def interventions(self) -> dict[int, Change]:
        """How the safety net took over, by the number of the vehicle."""
        return {row: s.changes[0] for row, s in enumerate(self.supervisors) if s.changes}
