"""The words in which a controller and a vehicle speak: what was measured, how the vehicle is, what it shall do.

A `Source` gives `Sample`s, a `Link` gives a `Status` and takes a `Setpoint`. All numbers are in the units and frames of
the policy's contract: SI, world z up (east-north-up where there is a compass), body forward-left-up, quaternions wxyz.
Times are seconds of one monotonic clock, those of a sample's `stamp` of the sender's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Mapping, NamedTuple


class Sample(NamedTuple):
    """One measurement as it arrived: its numbers, flattened, and the sender's time (s), which must grow."""

    name: str
    values: tuple[float, ...]
    stamp: float


@dataclass(frozen=True)
class Status:
    """How the vehicle is, as far as its link knows; None where the link cannot know.

    `heard` is when the vehicle was last heard, on the controller's clock. `in_control` says whether the vehicle does
    what the last order says; it is false as long as it has not followed. `pilot` is true when someone else took it: a
    pilot or the vehicle's own failsafe changed its mode to one that was not asked for, and it stays true until the
    order is `OWN`.
    `flying` is whether it is off the ground, `ready` whether the vehicle itself would let its motors be armed.
    """

    heard: float
    armed: bool = False
    in_control: bool = True
    pilot: bool = False
    ready: bool | None = None
    flying: bool | None = None
    battery: float | None = None  # part of full, 0 to 1
    mode: str = ""  # of the vehicle's own controller, in its own words


class Order(Enum):
    """Who shall fly, and what for; a link is told in every tick, and does whatever is needed to get there."""

    OWN = "own"  # the vehicle's own controller; a pilot, where it has none
    LAUNCH = "launch"  # arm and take off: by its own means where it has any, else as COMMAND
    COMMAND = "command"  # as the numbers say
    LEVEL = "level"  # fallback: hold level, by its own means where it has any, else as the numbers say
    LAND = "land"  # fallback: the same, on the way down
    STOP = "stop"  # motors off


@dataclass(frozen=True)
class Setpoint:
    """What the vehicle shall do from now on: an order, and a number for every command of the contract by its name.

    The numbers are always there, finite and within the contract's limits, whatever the order; with `STOP` they are to
    be ignored.
    """

    order: Order
    commands: Mapping[str, float]


@dataclass(frozen=True)
class Requests:
    """What the person in charge asks for in this tick."""

    launch: bool = False
    engage: bool = False  # the policy shall take over in the air
    release: bool = False  # … and hand back
    land: bool = False


@dataclass(frozen=True)
class Body:
    """What is known of a rigid body's motion; None where nothing valid and recent is."""

    position: tuple[float, ...] | None = None  # m, world
    velocity: tuple[float, ...] | None = None  # m/s, world
    attitude: tuple[float, ...] | None = None  # body to world, wxyz
    gyro: tuple[float, ...] | None = None  # rad/s, body
    others: dict[str, tuple[float, ...]] = field(default_factory=dict)
