"""How long a loop has worked, over all the times that it was started."""

import time


class Clock:
    """Counts on from what earlier starts took (s)."""

    def __init__(self, before: float) -> None:
        self._before = before
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds of work so far."""
        return self._before + time.monotonic() - self._began
