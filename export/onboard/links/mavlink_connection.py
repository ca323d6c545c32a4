"""The wire to a MAVLink vehicle: one connection, one reader, for the link that commands and the source that measures.

    connection = Connection("udpin:0.0.0.0:14540")
    connection.on("LOCAL_POSITION_NED", handler)     # handler(message), whenever `pump` reads one
    connection.open()                                # waits until the vehicle is heard
    connection.pump()                                # hands out what arrived; never waits
    connection.mav.set_attitude_target_send(…)       # a sender of pymavlink's

Addresses are pymavlink's: `udpin:0.0.0.0:14540` listens (where PX4's simulator sends to), `udpout:10.0.0.1:14550`
calls, `tcp:127.0.0.1:5760` is ArduPilot's simulator, `/dev/ttyAMA0,921600` a serial port. Only the first autopilot that
is heard counts; what other systems send passes by, but for the goal that a ground station sends to this controller.

pymavlink (LGPL-3) is not part of this package: `pip install 'robo-ppo-onboard[mavlink]'`.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import Any, Callable, Generator

from ..errors import UserError

Handler = Callable[[Any], None]

SYSTEM = 245  # this controller's own address: not 255, which ground stations have
COMPONENT = 191  # MAV_COMP_ID_ONBOARD_COMPUTER
BAUD = 921600  # of a serial port, if its address does not say another
BEAT = 1.0  # s between our heartbeats
READING = 0.005  # s that one `pump` may take
MOST = 65536  # bytes at once
BEHIND = 0.2  # s in which no `pump` came to the end of what arrived; then the rest is dropped, for it is old

IN_PROGRESS = 5  # of MAV_RESULT


def mavutil() -> Any:
    """Connections of pymavlink, speaking MAVLink 2; UserError where it is not installed."""
    os.environ.setdefault("MAVLINK20", "1")  # read when it is imported: version 1 has no OBSTACLE_DISTANCE
    try:
        from pymavlink import mavutil as found
    except ImportError as error:
        raise UserError(
            f"a MAVLink vehicle needs pymavlink ({error}): pip install 'robo-ppo-onboard[mavlink]'"
        ) from error
    return found


class Connection:
    """A connection to one vehicle."""

    def __init__(self, address: str, *, system: int = SYSTEM, component: int = COMPONENT, wait: float = 10.0) -> None:
        self.address, self.system, self.component = address, system, component
        self._wait = wait
        self._handlers: dict[str, list[Handler]] = {}
        self._raw: Any = None
        self._last_beat = float("-inf")
        self.vehicle: tuple[int, int] | None = None  # its system and component
        self.autopilot = 0  # MAV_AUTOPILOT
        self.bad = 0  # messages so far that a handler could not take
        self.dropped = 0  # times that what arrived was too much
        self._behind_since: float | None = None

    @property
    def mav(self) -> Any:
        """The sender of pymavlink: a method `…_send` for every message."""
        return self._raw.mav

    @property
    def target(self) -> tuple[int, int]:
        """System and component of the vehicle."""
        return self.vehicle or (0, 0)

    def on(self, kind: str, handler: Handler) -> None:
        """Call the handler with every message of that kind, in the order of arrival."""
        self._handlers.setdefault(kind, []).append(handler)

    @contextmanager
    def listening(self, kind: str, handler: Handler) -> Generator[None, None, None]:
        """As `on`, for a while."""
        self.on(kind, handler)
        try:
            yield
        finally:
            self._handlers[kind].remove(handler)

    def open(self) -> None:
        """Connect and wait for the vehicle's heartbeat; once, however often it is called."""
        if self._raw is not None:
            return
        device, _, baud = self.address.partition(",")
        try:
            self._raw = mavutil().mavlink_connection(
                device, baud=int(baud or BAUD), source_system=self.system, source_component=self.component
            )
        except (OSError, ValueError, ImportError) as error:
            raise UserError(f"cannot connect to {self.address}: {error}") from error
        if not self.wait_until(lambda: self.vehicle is not None, self._wait):
            self.close()
            raise UserError(
                f"no autopilot was heard at {self.address} within {self._wait:g} s: is it on, and does it send there?"
            )

    def close(self) -> None:
        """Give the port back."""
        if self._raw is not None:
            self._raw.close()
            self._raw = None

    def pump(self) -> None:
        """Hand out what arrived, as far as it goes in 5 ms; sends our heartbeat when it is due.

        What is left is for the next call. Where it only gets more it is dropped: old news must not pass for new.
        """
        self.beat()
        start = time.monotonic()
        while time.monotonic() - start < READING:
            message = self._raw.recv_msg()
            if message is None:
                self._behind_since = None
                return
            self._take(message)
        if self._behind_since is None:
            self._behind_since = start
        elif start - self._behind_since > BEHIND:
            self._drop()

    def beat(self) -> None:
        """Our heartbeat, once a second, as a ground station's: the vehicle's own failsafe listens for it."""
        now = time.monotonic()
        if now - self._last_beat >= BEAT:
            self._last_beat = now
            self.mav.heartbeat_send(6, 8, 0, 0, 4)  # MAV_TYPE_GCS, MAV_AUTOPILOT_INVALID, MAV_STATE_ACTIVE

    def wait_until(self, done: Callable[[], bool], seconds: float) -> bool:
        """Pump until something holds, but not for ever."""
        end = time.monotonic() + seconds
        while True:
            self.pump()
            if done():
                return True
            if time.monotonic() >= end:
                return False
            self._raw.select(0.01)

    def command(self, number: int, *numbers: float) -> None:
        """Send a command (MAV_CMD) with up to seven numbers, and do not wait for the answer."""
        filled = (*numbers, *(0.0,) * (7 - len(numbers)))
        self.mav.command_long_send(*self.target, number, 0, *filled)

    def ask(self, number: int, *numbers: float, seconds: float = 0.5, times: int = 4) -> int | None:
        """Send a command until it is answered; the answer (MAV_RESULT), or None where there was none."""
        answers: list[int] = []

        def take(message: Any) -> None:
            if message.command == number and message.result != IN_PROGRESS:
                answers.append(message.result)

        with self.listening("COMMAND_ACK", take):
            for _ in range(times):
                self.command(number, *numbers)
                if self.wait_until(lambda: bool(answers), seconds):
                    return answers[0]
        return None

    def _take(self, message: Any) -> None:
        kind, sender = message.get_type(), (message.get_srcSystem(), message.get_srcComponent())
        if self.vehicle is None and kind == "HEARTBEAT" and message.autopilot != 8:
            self.vehicle, self.autopilot = sender, message.autopilot
        is_goal = kind == "SET_POSITION_TARGET_LOCAL_NED" and self._is_for_us(message)
        if sender != self.vehicle and not is_goal:
            return
        for handler in tuple(self._handlers.get(kind, ())):
            try:
                handler(message)
            except Exception:  # one bad message must not end the loop that flies
                self.bad += 1

    def _drop(self) -> None:
        """Forget what has arrived and was not read yet."""
        self.dropped, self._behind_since = self.dropped + 1, None
        end = time.monotonic() + READING
        while time.monotonic() < end and self._raw.recv(MOST):
            pass
        self.mav.buf, self.mav.buf_index = bytearray(), 0

    def _is_for_us(self, message: Any) -> bool:
        return message.target_system == self.system and message.target_component in (0, self.component)
