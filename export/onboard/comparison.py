"""What the vehicle shows against what the policy was trained with: noise and delay, to warn about, never to apply.

    comparison = Comparison(contract)
    comparison.add(now, inbox)                # in every tick
    for warning in comparison.news(): …       # each once

- *Noise* from second differences of successive samples, which a steady motion leaves out: for white noise of standard
  deviation σ, x[k] - 2 x[k-1] + x[k-2] has the standard deviation √6 σ. Of their sizes the median is taken, and
  of a measurement's numbers the calmest, so that manoeuvres do not count.
- *Delay* as the age of a sample when it is used: the tick's time minus its time stamp, less the smallest difference
  between arrival and stamp so far, since the two clocks have nothing in common. A delay that never varies stays unseen.
"""

from __future__ import annotations

import math
import statistics
from collections import deque

from .contract import Contract, Port
from .safety.checks import Inbox

WINDOW = 250  # samples
ENOUGH = 150
FACTOR = 3.0  # that noise may be beyond what was trained
MEDIAN = 0.6745  # of the size of a standard normal number


class Comparison:
    """Collects what is needed to compare, and says each difference once."""

    def __init__(self, contract: Contract) -> None:
        self._period = contract.control_period
        # What is told, as a goal, has neither noise nor a delay to compare.
        sensed = [port for port in contract.inputs if port.noise or port.bias or (port.delay and port.delay[1])]
        self._measurements = [_Seen(port, contract.control_period) for port in sensed]
        self._news: list[str] = []

    def add(self, now: float, inbox: Inbox) -> None:
        """Look at the newest samples; they are used at this time."""
        for seen in self._measurements:
            entry = inbox.newest.get(seen.port.name)
            if entry is not None:
                warning = seen.add(now, entry.values, entry.stamp, entry.received)
                if warning is not None:
                    self._news.append(warning)

    def news(self) -> list[str]:
        """Warnings since the last call."""
        news, self._news = self._news, []
        return news


class _Seen:
    """One measurement."""

    def __init__(self, port: Port, period: float) -> None:
        self.port = port
        self._period = period
        self._scale = 2.0 if port.quaternion_order is not None else 1.0  # a rotation by θ has sin(θ/2) in its vector
        self._last: deque[tuple[float, ...]] = deque(maxlen=3)
        self._stamp = -math.inf
        self._steps: deque[tuple[float, ...]] = deque(maxlen=WINDOW)
        self._ages: deque[float] = deque(maxlen=WINDOW)
        self._offset = math.inf
        self._told: dict[str, bool] = {"noise": False, "delay": False}

    def add(self, now: float, values: tuple[float, ...], stamp: float, received: float) -> str | None:
        if len(values) != self.port.size or not math.isfinite(sum(values) + stamp):
            return None  # the safety net says so
        self._offset = min(self._offset, received - stamp)
        self._ages.append(now - stamp - self._offset)
        if stamp == self._stamp:
            return None
        # Samples that do not follow at the control period say nothing about noise.
        if not 0.5 * self._period < stamp - self._stamp < 1.5 * self._period:
            self._last.clear()
        self._stamp = stamp
        self._last.append(values)
        if len(self._last) == 3:
            a, b, c = self._last
            self._steps.append(tuple(abs(z - 2.0 * y + x) for x, y, z in zip(a, b, c)))
        if len(self._ages) % 50:
            return None
        return self._judge()

    def _judge(self) -> str | None:
        port = self.port
        if port.noise and len(self._steps) >= ENOUGH and not self._told["noise"]:
            calmest = min(statistics.median(number) for number in zip(*self._steps))
            noise = self._scale * calmest / (MEDIAN * math.sqrt(6.0))
            if noise > FACTOR * port.noise:
                self._told["noise"] = True
                unit = "rad" if port.quaternion_order is not None else port.unit
                return (
                    f"{port.name} shows noise of about {noise:.2g} {unit}; the policy was trained with {port.noise:g}"
                )
        if port.delay is not None and len(self._ages) >= ENOUGH and not self._told["delay"]:
            age = statistics.quantiles(self._ages, n=10)[-1]
            if age > port.delay[1] + 2.0 * self._period:
                self._told["delay"] = True
                low, high = (1e3 * limit for limit in port.delay)
                return (
                    f"{port.name} is up to {1e3 * age:.0f} ms old when it is used; the policy was trained with delays "
                    f"of {low:.0f} to {high:.0f} ms"
                )
        return None
