"""The clock of a controller: monotonic seconds, and sleeping until a time.

`WallClock` is real time. A vehicle that waits for its commands (a simulator in lockstep) brings a clock of its own,
whose time is the vehicle's; then a tick takes as long as it takes, and nothing is ever late.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod


class Clock(ABC):
    """Monotonic time in seconds."""

    waits_for_the_policy: bool = False
    """Whether a tick may take as long as the policy does, since the vehicle waits meanwhile."""

    @abstractmethod
    def now(self) -> float:
        """The present time (s)."""

    @abstractmethod
    def sleep_until(self, moment: float) -> None:
        """Return as soon as it is this time, or at once if it has passed."""


class WallClock(Clock):
    """Real time."""

    def now(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    def sleep_until(self, moment: float) -> None:
        """Sleep; operating systems are some tens of microseconds late."""
        rest = moment - time.monotonic()
        if rest > 0.0:
            time.sleep(rest)
