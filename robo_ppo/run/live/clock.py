"""Simulated time against the time of a wall clock."""

import time
from collections import deque
from collections.abc import Callable

PATIENCE = 0.1  # s: a delay beyond it is not made up for, so that a slow machine flies slowly and does not fall behind
WINDOW = 1.0  # s over which the real-time factor is taken


class RealTime:
    """Says when the next step is due, so that `speed` seconds of simulation pass in one second."""

    def __init__(self, period: float, now: Callable[[], float] = time.monotonic) -> None:
        """Steps last `period` seconds of simulation; `now` is a clock that never goes back."""
        self._period, self._now = period, now
        self._speed = 1.0
        self.start()

    def start(self) -> None:
        """Count from here: after a pause, or when an episode begins."""
        self._due = self._now()
        self._taken: deque[float] = deque([self._due])

    @property
    def speed(self) -> float:
        """Simulated seconds in a second."""
        return self._speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self._speed = speed
        self.start()

    def is_due(self) -> bool:
        """Whether the next step should have begun."""
        return self._now() >= self._due

    def taken(self) -> None:
        """A step was taken."""
        now = self._now()
        self._due = max(self._due + self._period / self._speed, now - PATIENCE)
        self._taken.append(now)
        while now - self._taken[0] > WINDOW:
            self._taken.popleft()

    def wait(self) -> float:
        """Seconds until the next step is due."""
        return max(0.0, self._due - self._now())

    @property
    def factor(self) -> float | None:
        """Simulated seconds in each of the last; None where too little has been flown to tell."""
        span = self._taken[-1] - self._taken[0]
        return (len(self._taken) - 1) * self._period / span if span > WINDOW / 4 else None

    @property
    def keeps_up(self) -> bool:
        """Whether the machine is fast enough for the speed."""
        return self.factor is None or self.factor > 0.9 * self._speed
