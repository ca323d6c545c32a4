"""A link takes commands to a vehicle and says how the vehicle is; nothing in it waits once it is open.

    link.open(contract)            # connect, and refuse a contract that this vehicle cannot be told
    link.prepare()                 # on the ground: set and check the vehicle's own failsafe
    while …:
        status = link.status(now)
        link.send(setpoint, now)   # in every tick; the order says who shall fly (`robo_ppo_onboard.vehicle.Order`)
    link.close()

A link is told in every tick what shall be, and sees to it: it asks for a mode again and again, a few times a second,
until the vehicle says that it is in it. So a lost message delays, and nothing waits for an answer.

Where the vehicle also tells its state, the link is a `Source` as well (`class MavlinkLink(Link, Source)`).

If this process dies, or its computer, the vehicle hears nothing any more. What then happens is the vehicle's own
failsafe: `prepare` sets it up and reads it back, and a vehicle without one is refused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..clock import Clock
from ..contract import Contract
from ..vehicle import Setpoint, Status


class Link(ABC):
    """One vehicle at the end of one protocol."""

    commands: tuple[tuple[str, ...], ...] = ()
    """Which sets of commands it can take: names of a contract's outputs, as ("collective_thrust", "roll_rate", …)."""

    flies_itself: bool = False
    """Whether the vehicle has a controller of its own that takes off, holds its place and lands."""

    @abstractmethod
    def open(self, contract: Contract) -> None:
        """Connect; UserError with what is wrong where that is impossible or the contract does not fit."""

    def prepare(self) -> list[str]:
        """Set the vehicle's failsafe and read it back; what was set, one sentence each. May take seconds.

        UserError where the vehicle does not take it: then it must not be armed.
        """
        return []

    @abstractmethod
    def status(self, now: float) -> Status:
        """How the vehicle is; `now` is the controller's time (s)."""

    @abstractmethod
    def send(self, setpoint: Setpoint, now: float) -> None:
        """Tell the vehicle what it shall do from now on; the controller calls this in every tick."""

    def clock(self) -> Clock | None:
        """The vehicle's own clock, where it waits for its commands; None: real time."""
        return None

    def close(self) -> None:  # noqa: B027, not every link has something to close
        """Let go of whatever was opened; the vehicle's own failsafe may act after this."""
