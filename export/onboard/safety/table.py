"""Who flies, and what changes that: every state, every event, and the one table that leads from state to state.

In each tick the supervisor goes through the rows of its state from top to bottom and takes the first whose event holds.
There is no other way from one state to another. `docs/safety.md` shows this table; a test compares them.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ..vehicle import Order


class State(Enum):
    """Who flies. Each has a sentence for people."""

    STANDBY = "nobody of ours flies; waiting to launch, or for the vehicle to be in the air"
    LAUNCH = "taking off, by the vehicle's own means or by the level-hover law"
    READY = "in the air without the policy, which may take over when asked"
    RAMP = "the policy takes over: its share grows from none to all"
    POLICY = "the policy flies"
    HOVER = "fallback: level, at this height"
    DESCEND = "level, going down"
    LANDED = "motors off; the end"


class Event(Enum):
    """What may happen. Each has a sentence for people."""

    PILOT = "a pilot, or the vehicle's own failsafe, took the vehicle"
    DISARMED = "the vehicle is no longer armed"
    FAULT = "a check failed"
    FAULT_UNARMED = "a check failed before the motors were armed"
    FAULT_BESIDE = "a check failed while the vehicle's own controller flies"
    STRANDED = "the vehicle is armed, nobody flies it, and a landing is asked for or a check failed"
    LAUNCH = "a launch is asked for, and every rule for arming holds"
    AIRBORNE = "the vehicle is in the air, and every check passes"
    AT_HEIGHT = "the launch reached its height"
    ENGAGE = "the policy is asked for"
    RELEASE = "the policy is asked to hand back"
    LAND = "a landing is asked for"
    TOO_LATE = "what was begun takes too long"
    RAMPED = "the ramp is over"
    HOVERED = "the hover has lasted long enough"
    TOUCHDOWN = "the vehicle has been low for a moment, or goes no lower though it should, or says so"
    BLIND = "going down without knowing the height has lasted long enough"


class Transition(NamedTuple):
    """In this state, if this happens, this state is next."""

    state: State
    event: Event
    to: State


TRANSITIONS: tuple[Transition, ...] = (
    Transition(State.STANDBY, Event.LAUNCH, State.LAUNCH),
    Transition(State.STANDBY, Event.STRANDED, State.DESCEND),
    Transition(State.STANDBY, Event.AIRBORNE, State.READY),
    Transition(State.LAUNCH, Event.PILOT, State.STANDBY),
    Transition(State.LAUNCH, Event.FAULT_UNARMED, State.STANDBY),
    Transition(State.LAUNCH, Event.FAULT, State.DESCEND),
    Transition(State.LAUNCH, Event.LAND, State.DESCEND),
    Transition(State.LAUNCH, Event.TOO_LATE, State.DESCEND),
    Transition(State.LAUNCH, Event.AT_HEIGHT, State.READY),
    Transition(State.READY, Event.PILOT, State.STANDBY),
    Transition(State.READY, Event.DISARMED, State.LANDED),
    Transition(State.READY, Event.FAULT_BESIDE, State.STANDBY),
    Transition(State.READY, Event.FAULT, State.HOVER),
    Transition(State.READY, Event.LAND, State.DESCEND),
    Transition(State.READY, Event.ENGAGE, State.RAMP),
    Transition(State.RAMP, Event.PILOT, State.STANDBY),
    Transition(State.RAMP, Event.DISARMED, State.LANDED),
    Transition(State.RAMP, Event.FAULT, State.HOVER),
    Transition(State.RAMP, Event.LAND, State.DESCEND),
    Transition(State.RAMP, Event.RELEASE, State.READY),
    Transition(State.RAMP, Event.TOO_LATE, State.READY),
    Transition(State.RAMP, Event.RAMPED, State.POLICY),
    Transition(State.POLICY, Event.PILOT, State.STANDBY),
    Transition(State.POLICY, Event.DISARMED, State.LANDED),
    Transition(State.POLICY, Event.FAULT, State.HOVER),
    Transition(State.POLICY, Event.LAND, State.DESCEND),
    Transition(State.POLICY, Event.RELEASE, State.READY),
    Transition(State.HOVER, Event.PILOT, State.STANDBY),
    Transition(State.HOVER, Event.DISARMED, State.LANDED),
    Transition(State.HOVER, Event.TOUCHDOWN, State.LANDED),
    Transition(State.HOVER, Event.LAND, State.DESCEND),
    Transition(State.HOVER, Event.HOVERED, State.DESCEND),
    Transition(State.DESCEND, Event.PILOT, State.STANDBY),
    Transition(State.DESCEND, Event.DISARMED, State.LANDED),
    Transition(State.DESCEND, Event.TOUCHDOWN, State.LANDED),
    Transition(State.DESCEND, Event.BLIND, State.LANDED),
)

ROWS: dict[State, tuple[Transition, ...]] = {
    state: tuple(row for row in TRANSITIONS if row.state is state) for state in State
}

ORDERS: dict[State, Order] = {
    State.STANDBY: Order.OWN,
    State.LAUNCH: Order.LAUNCH,
    State.READY: Order.COMMAND,
    State.RAMP: Order.COMMAND,
    State.POLICY: Order.COMMAND,
    State.HOVER: Order.LEVEL,
    State.DESCEND: Order.LAND,
    State.LANDED: Order.STOP,
}
"""What the link is told; in READY it is OWN where the vehicle flies itself."""
