"""The onboard controller: sources and a link, the policy in its worker, the safety net, in one loop with a clock.

    controller = Controller(policy, link, sources, limits=limits, operator=Terminal(), log=log)
    controller.run()

Each tick, at the contract's period: what arrived → supervisor → the policy is asked → its answer, or none by the
deadline → supervisor → the link. The setpoint leaves in every tick, whatever the policy does. If the process stands
still, the grid of ticks stays where it is: what was missed is skipped, not made up for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, Sequence, TypeVar

from .clock import Clock, WallClock
from .comparison import Comparison
from .errors import UserError
from .links.link import Link
from .operator import Operator
from .runtime import Policy
from .safety.checks import BODY, Fault, Inbox
from .safety.limits import Limits
from .safety.supervisor import Supervisor
from .safety.table import State
from .sources.source import Source
from .vehicle import Setpoint, Status
from .verify import verify_policy
from .worker import Answer, Infer, Pilot, Worker


@dataclass(frozen=True)
class Tick:
    """What happened in one tick; `late` (s) is how long after its time it began."""

    time: float
    late: float
    state: State
    fault: Fault | None
    status: Status
    inbox: Inbox
    answer: Answer | None
    setpoint: Setpoint
    why: str = ""  # of the last change of state
    trouble: str = ""  # what a source or the link raised: in the air nobody is there to catch it, so the loop goes on


PATIENCE = 3.0  # s that a vehicle is told to stop its motors

Watcher = Callable[[Tick], object]
Result = TypeVar("Result")


class Controller:
    """Flies one vehicle from the ground, or from the air, until it stands on the ground again or is told to stop."""

    def __init__(
        self,
        policy: Policy,
        link: Link,
        sources: Sequence[Source],
        *,
        operator: Operator,
        limits: Limits | None = None,
        clock: Clock | None = None,
        watchers: Sequence[Watcher] = (),
        start: State = State.STANDBY,
        infer: Infer | None = None,
    ) -> None:
        """`infer` stands in for the policy's own inference, to test what happens when that goes wrong."""
        self.contract = policy.contract
        self.limits = limits or Limits.of(self.contract)
        self.supervisor = Supervisor(self.contract, self.limits, flies_itself=link.flies_itself, start=start)
        self.comparison = Comparison(self.contract)
        self._policy, self._link, self._sources = policy, link, tuple(sources)
        self._operator, self._watchers = operator, list(watchers)
        self._clock = clock or link.clock() or WallClock()
        self._check_names()
        self._worker = Worker(Pilot(policy, infer))
        self.add_watcher(lambda tick: self.comparison.add(tick.time, tick.inbox))
        self.broken_watchers: list[Exception] = []
        self._status = Status(heard=-math.inf)
        self._trouble = ""

    def has_landed(self, tick: Tick) -> bool:
        """Whether the flight is over: on the ground, and disarmed, or asked to for long enough."""
        asked_for = tick.time - self.supervisor.changes[-1].time if self.supervisor.changes else 0.0
        return tick.state is State.LANDED and (not tick.status.armed or asked_for > PATIENCE)

    def run(self, stop: Callable[[Tick], bool] | None = None) -> Tick:
        """Tick until the flight is over, or `stop` says so; the last tick. The link and the sources must be open."""
        stop = stop or self.has_landed
        period = self.contract.control_period
        due = self._clock.now()
        while True:
            self._clock.sleep_until(due)
            now = self._clock.now()
            tick = self.tick(now, now - due)
            if stop(tick):
                return tick
            # The next point of the grid that has not passed yet.
            due += period * max(1, math.ceil((self._clock.now() - due) / period - 1e-9))

    def tick(self, now: float, late: float = 0.0) -> Tick:
        """One control step at a time (s) of the clock."""
        supervisor, link, self._trouble = self.supervisor, self._link, ""
        samples = [sample for source in self._sources for sample in self._or_else(source.poll, [])]
        self._status = status = self._or_else(lambda: link.status(now), self._status)
        answer: Answer | None = None
        if supervisor.begin_tick(now, samples, status, self._operator.requests(now, supervisor)):
            self._worker.ask(supervisor.inbox.measured(), begins=supervisor.policy_begins)
            supervisor.policy_begins = False
            deadline = now - late + self.limits.deadline * self.contract.control_period
            patience = None if self._clock.waits_for_the_policy else max(0.0, deadline - self._clock.now())
            answer = self._worker.answer(patience)
        error = self._worker.error
        raised = "" if error is None else f"{type(error).__name__}: {error}"
        setpoint = supervisor.end_tick(now, None if answer is None else answer.commands, raised)
        self._or_else(lambda: link.send(setpoint, now), None)
        why = supervisor.changes[-1].why if supervisor.changes else ""
        state, fault, inbox = supervisor.state, supervisor.fault, supervisor.inbox
        tick = Tick(now, late, state, fault, status, inbox, answer, setpoint, why, self._trouble)
        for watch in list(self._watchers):
            try:
                watch(tick)
            except Exception as error:  # a broken watcher must not be what brings a vehicle down
                self._watchers.remove(watch)
                self.broken_watchers.append(error)
        return tick

    def add_watcher(self, watch: Watcher) -> None:
        """Show every tick to one more."""
        self._watchers.append(watch)

    def close(self) -> None:
        """Let the worker go; the link and the sources belong to whoever opened them."""
        self._worker.close()

    def warm_up(self) -> None:
        """Run the golden sequence: proof that the policy does here what was trained, and the first calls are slow."""
        verification = verify_policy(self._policy)
        if not verification.passed:
            raise UserError(
                f"the policy does not do here what was trained: its golden sequence is off by "
                f"{verification.max_error:.1e}; another version of onnxruntime may be the reason"
            )

    def _or_else(self, ask: Callable[[], Result], otherwise: Result) -> Result:
        """The answer of a source or the link; where it raises, the safety net finds that nothing came."""
        try:
            return ask()
        except Exception as error:
            self._trouble = f"{type(error).__name__}: {error}"
            return otherwise

    def _check_names(self) -> None:
        """Refuse to begin where a measurement has no source, by its name."""
        every = [name for source in self._sources for name in source.provides]
        provided = set(every)
        watched = self.limits.watched()
        for name in self.supervisor.inbox.needed:
            if every.count(name) > 1:
                raise UserError(f"two sources provide '{name}': their clocks differ, and one would shut out the other")
            if name in provided:
                continue
            port = next((port for port in self.contract.inputs if port.name == name), None)
            numbers = BODY.get(name, 1) if port is None else port.size
            unit = "" if port is None else f", in {port.unit}{f', {port.frame}' if port.frame else ''}"
            why = f"the limit {watched[name][0]}" if port is None else "the policy"
            known = ", ".join(sorted(provided)) or "nothing"
            raise UserError(
                f"no source provides '{name}' ({numbers} numbers{unit}), which {why} needs; provided: {known}"
            )
