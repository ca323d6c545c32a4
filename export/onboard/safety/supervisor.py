"""The safety supervisor: decides in every tick who flies, and lets no unsafe command out.

    supervisor = Supervisor(contract, limits)
    asked = supervisor.begin_tick(now, samples, status, requests)       # True: the policy is to be asked
    setpoint = supervisor.end_tick(now, commands or None)               # None: it did not answer in time

`begin_tick` looks at what arrived, `end_tick` at what the policy answered; both go through the table of transitions
(`robo_ppo_onboard.safety.table`), so a fault shows in the very setpoint of its tick. The supervisor owns nothing but
numbers: it has no clock and never waits, and the same object flies a vehicle and an evaluation.
"""

from __future__ import annotations

import math
from typing import Callable, Iterable, Mapping, NamedTuple

from ..contract import Contract, Port
from ..errors import UserError
from ..vehicle import Body, Order, Requests, Sample, Setpoint, Status
from .checks import Envelope, Fault, Inbox, Saturation, upright_of
from .fallback import fallback_of, within
from .limits import Limits
from .table import ORDERS, ROWS, Event, State

NOTHING_ASKED = Requests()
HOLDING = 1.5  # 1/s: vertical speed for each metre that the height is off
CORRECTION = 0.8  # m/s: the most of it
TRIMMING = 1.0  # 1/s: what is added to a vertical speed that the vehicle does not reach, being heavier than thought
MOST_TRIM = 1.0  # m/s: with all of it downwards, no vehicle stays in the air
STILL = 0.15  # m/s: a vehicle slower than this, up or down, stands or hovers
LOW_FOR, STILL_FOR, STRANDED_FOR = 0.3, 1.5, 0.5  # s

_WATCHED = (State.LAUNCH, State.READY, State.RAMP, State.POLICY)
_WITH_POLICY = (State.RAMP, State.POLICY)


class Change(NamedTuple):
    """A transition that happened."""

    time: float
    before: State
    after: State
    code: str  # of the fault, or the name of the event
    why: str


class Supervisor:
    """One flight of one vehicle; `start` is POLICY where an episode begins in the air with the policy in control."""

    def __init__(
        self,
        contract: Contract,
        limits: Limits | None = None,
        *,
        flies_itself: bool = False,
        start: State = State.STANDBY,
    ) -> None:
        self.contract, self.limits = contract, limits or Limits.of(contract)
        for port in contract.outputs:
            if port.size != 1:
                raise UserError(f"the command {port.name} has {port.size} numbers; the safety net takes one each")
        self._ports = contract.outputs
        self._law = fallback_of(contract)
        self._flies_itself = flies_itself
        self.inbox = Inbox(contract, self.limits)
        self._envelope = Envelope(self.limits)
        self._saturation = Saturation(contract.outputs, self.limits.max_saturation_s)
        self.state = start
        self.changes: list[Change] = []
        self.fault: Fault | None = None  # of this tick
        self.policy_begins = start is State.POLICY  # whether the policy is to forget what was
        self._body = Body()
        self._status = Status(heard=0.0)
        self._requests = NOTHING_ASKED
        self._entered: float | None = None
        self._engaged: float | None = None  # since when the vehicle has followed
        self._was_armed = start is State.POLICY
        self._last_tick: float | None = None
        self._missed = 0
        self._sent: dict[str, float] = {}
        self._height: float | None = None  # that the hover law keeps
        self._inside: float | None = None  # the last height within the geofence
        self._trim = 0.0  # m/s, added to the vertical speed that is asked of the law
        self._located = -math.inf  # when the position was last known
        self._low_since: float | None = None
        self._still_since: float | None = None
        self._happened: dict[Event, Callable[[float], bool]] = {
            Event.PILOT: self._pilot,
            Event.DISARMED: self._disarmed,
            Event.FAULT: self._fault,
            Event.FAULT_UNARMED: self._fault_unarmed,
            Event.FAULT_BESIDE: self._fault_beside,
            Event.STRANDED: self._stranded,
            Event.LAUNCH: self._launch,
            Event.AIRBORNE: self._airborne,
            Event.AT_HEIGHT: self._at_height,
            Event.ENGAGE: self._engage,
            Event.RELEASE: self._release,
            Event.LAND: self._land,
            Event.TOO_LATE: self._too_late,
            Event.RAMPED: self._ramped,
            Event.HOVERED: self._hovered,
            Event.TOUCHDOWN: self._touchdown,
            Event.BLIND: self._blind,
        }

    def begin_tick(
        self, now: float, samples: Iterable[Sample], status: Status, requests: Requests = NOTHING_ASKED
    ) -> bool:
        """Take in what is new at this time (s) and decide who flies; whether the policy is to be asked."""
        self.inbox.take(samples, now)
        self._body, self._status, self._requests = self.inbox.body(now), status, requests
        if self._entered is None:
            self._entered = now
        self.fault = self._look(now)
        self._notice(now)
        self._last_tick = now
        self._was_armed |= status.armed
        if self._engaged is None and self.state is State.RAMP and status.in_control:
            self._engaged = now
        self._step(now)
        return self.state in _WITH_POLICY

    def end_tick(self, now: float, answer: Mapping[str, float] | None, raised: str = "") -> Setpoint:
        """What the vehicle is told, from the policy's commands, or None where there are none in time.

        `raised` is what the policy raised instead of answering.
        """
        if self.state not in _WITH_POLICY:
            return self._setpoint(self._hover(now))
        commands = self._judged(now, answer)
        if raised:
            self.fault = Fault("policy_failed", f"the policy failed: {raised}")
        if self.fault is not None:
            self._step(now)
        if self.state not in _WITH_POLICY:
            return self._setpoint(self._hover(now))
        if self.state is State.RAMP:
            share = self._share(now)
            hover = self._hover(now)
            commands = {name: hover[name] + share * (commands[name] - hover[name]) for name in hover}
        return self._setpoint(commands)

    def _judged(self, now: float, answer: Mapping[str, float] | None) -> dict[str, float]:
        """The policy's commands; sets the fault where there are none or bad ones."""
        if answer is None:
            self._missed += 1
            if self._missed > self.limits.max_missed_deadlines:
                self.fault = Fault("deadline", f"the policy missed {self._missed} deadlines in a row")
            return self._sent or self._hover(now)  # for once, as before
        self._missed = 0
        commands: dict[str, float] = {}
        for port in self._ports:
            commands[port.name] = value = answer.get(port.name, math.nan)
            self.fault = self.fault or _wrong(port, value)
        if self.fault is None:
            self.fault = self._saturation.fault(commands, now)
        return commands

    def _look(self, now: float) -> Fault | None:
        """The first thing that is wrong, apart from the policy's answer."""
        late = self.limits.max_overrun * self.contract.control_period
        if self._last_tick is not None and now - self._last_tick > late and self.state in _WITH_POLICY:
            return Fault("overrun", f"the controller itself stood still for {1e3 * (now - self._last_tick):.0f} ms")
        if now - self._status.heard > self.limits.max_silence_s:
            return Fault("silence", f"the vehicle was last heard {now - self._status.heard:.1f} s ago")
        battery = self._status.battery
        if battery is not None and not battery >= self.limits.min_battery:
            return Fault("battery", f"the battery is at {100 * battery:.0f} %")
        fault = self.inbox.fault(now)
        if fault is None and self.state in _WATCHED:
            fault = self._envelope.fault(self._body, on_the_ground=self.state is State.LAUNCH)
        return fault

    def _notice(self, now: float) -> None:
        """Keep in mind how long the vehicle has been low, or still, and where it last was as it should be."""
        position, velocity = self._body.position, self._body.velocity
        climbing = 0.0 if velocity is None else abs(velocity[2])
        is_low = position is not None and position[2] <= self.limits.touchdown_height_m
        is_still = velocity is not None and climbing < STILL and self._trim <= -MOST_TRIM
        self._low_since = _since(self._low_since, now, is_low)
        self._still_since = _since(self._still_since, now, is_still)
        if position is not None:
            self._located = now
            if self._envelope.outside(self._body) is None:
                self._inside = position[2]

    def _step(self, now: float) -> None:
        """Go to the next state if an event of this one happened; one step in one call."""
        for row in ROWS[self.state]:
            if self._happened[row.event](now):
                code, why = row.event.name.lower(), row.event.value
                if self.fault is not None and row.event in _FAULTS:
                    code, why = self.fault
                self.changes.append(Change(now, self.state, row.to, code, why))
                self._enter(row.to, now)
                return

    def _enter(self, state: State, now: float) -> None:
        if state is State.RAMP:
            self.policy_begins, self._missed, self._engaged = True, 0, None
            self._saturation.reset()
        if state in (State.READY, State.HOVER):
            # Where it last was as it should be: a position that left the fence may be a wrong one.
            self._height = self._inside
        if state is not State.RAMP:  # where the hover law flies on, less and less
            self._trim = 0.0
        self._low_since = self._still_since = None
        self.state, self._entered = state, now

    def _hover(self, now: float) -> dict[str, float]:
        """What the law says in this state: stay, go up, go down."""
        limits = self.limits
        climb = 0.0
        if self.state is State.LAUNCH:
            climb = limits.launch_speed_m_s
        elif self.state is State.DESCEND:
            climb = -limits.descend_speed_m_s
        elif self._height is not None and self._body.position is not None:
            climb = max(-CORRECTION, min(CORRECTION, HOLDING * (self._height - self._body.position[2])))
        return self._law.commands(self._body, climb + self._trimmed(climb))

    def _trimmed(self, climb: float) -> float:
        """What the vertical speed is asked to be besides, since the vehicle has not reached it so far.

        The law knows no more than a nominal mass and thrust; this is its integral, and belongs to a state.
        """
        if self._body.velocity is not None and self._status.armed and self.state is not State.RAMP:
            step = TRIMMING * self.contract.control_period * (climb - self._body.velocity[2])
            self._trim = max(-MOST_TRIM, min(MOST_TRIM, self._trim + step))
        return self._trim

    def _share(self, now: float) -> float:
        """The policy's share of the command in the ramp."""
        if self._engaged is None:
            return 0.0
        return 1.0 if self.limits.ramp_s <= 0.0 else min(1.0, (now - self._engaged) / self.limits.ramp_s)

    def _setpoint(self, commands: Mapping[str, float]) -> Setpoint:
        """The only way out: finite and within the limits, whatever came before."""
        self._sent = {port.name: within(port, commands[port.name]) for port in self._ports}
        order = ORDERS[self.state]
        if self._flies_itself and self.state is State.READY:
            order = Order.OWN
        return Setpoint(order, self._sent)

    # What each event means.

    def _pilot(self, now: float) -> bool:
        return self._status.pilot

    def _disarmed(self, now: float) -> bool:
        return self._was_armed and not self._status.armed

    def _fault(self, now: float) -> bool:
        return self.fault is not None

    def _fault_unarmed(self, now: float) -> bool:
        return self.fault is not None and not self._was_armed

    def _stranded(self, now: float) -> bool:
        if self._flies_itself or not self._status.armed or self._status.pilot or self._for(now) < STRANDED_FOR:
            return False
        return self._requests.land or (self.fault is not None and self._status.flying is not False)

    def _fault_beside(self, now: float) -> bool:
        return self.fault is not None and self._flies_itself

    def _launch(self, now: float) -> bool:
        return self._requests.launch and not self.why_no_launch()

    def why_no_launch(self) -> str:
        """The first rule for arming that does not hold; empty where all do."""
        limits, status = self.limits, self._status
        if self.fault is not None:
            return self.fault.text
        if status.flying:
            return "the vehicle is in the air"
        if status.ready is False:
            return "the vehicle does not let its motors be armed"
        if status.battery is not None and status.battery < limits.min_launch_battery:
            return f"the battery is at {100 * status.battery:.0f} %; {100 * limits.min_launch_battery:.0f} % are needed"
        attitude = self._body.attitude
        if attitude is not None and upright_of(attitude) < math.cos(limits.max_launch_tilt_rad):
            return "the vehicle does not stand level"
        if attitude is None and "attitude" in self.inbox.needed:
            return "the attitude is not known"
        return ""

    def _airborne(self, now: float) -> bool:
        flying = self._status.flying
        if flying is None:
            position = self._body.position
            flying = position is not None and position[2] > 0.5 * self.limits.launch_height_m
        return bool(flying) and self._status.armed and self.fault is None and self._envelope.fault(self._body) is None

    def _at_height(self, now: float) -> bool:
        position = self._body.position
        if not self._status.armed or self._status.flying is False:
            return False
        if position is None:
            return bool(self._status.flying)
        return position[2] >= 0.95 * self.limits.launch_height_m

    def _engage(self, now: float) -> bool:
        return self._requests.engage and self._status.flying is not False

    def _release(self, now: float) -> bool:
        return self._requests.release

    def _land(self, now: float) -> bool:
        return self._requests.land

    def _too_late(self, now: float) -> bool:
        if self.state is State.RAMP:
            return self._engaged is None and self._for(now) > self.limits.max_engage_s
        return self._for(now) > self.limits.max_launch_s

    def _ramped(self, now: float) -> bool:
        return self._share(now) >= 1.0

    def _hovered(self, now: float) -> bool:
        return self._for(now) >= self.limits.hover_s

    def _touchdown(self, now: float) -> bool:
        if self._status.flying is not None and self._flies_itself:
            return not self._status.flying
        low = self._low_since is not None and now - self._low_since >= LOW_FOR
        # Told to go down with all that the trim gives, no vehicle stays in the air.
        stands = self._still_since is not None and now - self._still_since >= STILL_FOR
        return low or (stands and self.state is State.DESCEND)

    def _blind(self, now: float) -> bool:
        is_heard = now - self._status.heard <= self.limits.max_silence_s
        tells = self._flies_itself and self._status.flying is not None and is_heard
        is_blind = self._body.position is None and not tells
        since = max(self._located, now - self._for(now))
        return is_blind and now - since > self.limits.max_blind_descend_s

    def _for(self, now: float) -> float:
        """How long (s) this state has lasted."""
        return 0.0 if self._entered is None else now - self._entered


def _since(before: float | None, now: float, holds: bool) -> float | None:
    """Since when (s) something holds without a break; None while it does not."""
    if not holds:
        return None
    return now if before is None else before


def _wrong(port: Port, value: float) -> Fault | None:
    """What is wrong with a command of the policy."""
    if not math.isfinite(value):
        return Fault("command_not_finite", f"the policy's {port.name} is not finite")
    if port.lower is not None and port.upper is not None:
        slack = 1e-3 * (port.upper[0] - port.lower[0])
        if not port.lower[0] - slack <= value <= port.upper[0] + slack:
            return Fault("command_out_of_range", f"the policy's {port.name} is {value:.3g} {port.unit}")
    return None


_FAULTS = (Event.FAULT, Event.FAULT_BESIDE)
