"""Times on a device that works behind the host's back: a measurement begins and ends when the device is idle."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Clock:
    """How long a part is measured, and how often."""

    device: torch.device
    seconds: float  # of each repeat
    repeats: int

    def wait(self) -> None:
        """Until the device has done all it was told."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def time(self, work: Callable[[], object], calls: int = 1) -> float:
        """Seconds of so many calls."""
        self.wait()
        began = time.perf_counter()
        for _ in range(calls):
            work()
        self.wait()
        return time.perf_counter() - began

    def rate(
        self,
        work: Callable[[], object],
        steps: int,
        *,
        warm_up: int = 3,
        most: int | None = None,
        begin: Callable[[], object] = lambda: None,
    ) -> dict[str, Any]:
        """Environment steps per second of a piece of work that does `steps` of them.

        The third call of a `Replayed` records it, so what is warmed up three times is recorded. `begin` precedes every
        repeat, untimed, and `most` limits the calls of one.
        """
        begin()
        self.time(work, warm_up)
        calls = max(1, round(self.seconds / self.time(work)))
        calls = calls if most is None else min(calls, most)
        rates: list[float] = []
        for _ in range(self.repeats):
            begin()
            rates.append(steps * calls / self.time(work, calls))
        return {"steps_per_second": statistics.median(rates), "repeats": rates}
