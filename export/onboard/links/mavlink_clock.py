"""The clock of a simulated MAVLink vehicle in lockstep: its time, which goes on only when it was told what to do."""

from __future__ import annotations

from typing import Any

from ..clock import Clock
from ..errors import UserError
from .mavlink_connection import Connection

PATIENCE = 60.0  # s of real time


class LockstepClock(Clock):
    """Time (s) as the vehicle's last SYSTEM_TIME told it; that message ends what the vehicle tells of a step."""

    waits_for_the_policy = True

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._now = 0.0
        connection.on("SYSTEM_TIME", self._take)

    def now(self) -> float:
        """The vehicle's time."""
        return self._now

    def sleep_until(self, moment: float) -> None:
        """Wait for the vehicle; UserError where it is gone."""
        if not self._connection.wait_until(lambda: self._now >= moment - 1e-6, PATIENCE):
            raise UserError(
                f"the vehicle in lockstep has told nothing new for {PATIENCE:g} s; does it run with lockstep=true?"
            )

    def _take(self, message: Any) -> None:
        self._now = message.time_boot_ms * 1e-3
