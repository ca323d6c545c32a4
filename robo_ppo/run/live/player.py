"""Plays a session in real time and carries out what people ask for, from however many pages they do.

Whatever changes the session happens in the one thread that calls `turn`: the threads of a page leave their orders with
`ask`, and need no locks.
"""

import queue
import time
from collections.abc import Callable

from robo_ppo.run.live.clock import RealTime
from robo_ppo.run.live.session import EPISODES, Session

LINGER = 2.0  # s that an episode's end stays before the next begins
SPEEDS = (0.1, 4.0)
BUSY = 0.03  # s of steps before a page may be shown again


class Player:
    """A session with a clock: it plays, pauses, and goes on with the next episode by itself."""

    def __init__(self, session: Session, now: Callable[[], float] = time.monotonic) -> None:
        """It plays from the first `turn` on; `now` is a clock that never goes back."""
        self.session = session
        self.clock = RealTime(session.period, now)
        self.is_playing = True
        self.goes_on = True  # with the next episode by itself
        self._now = now
        self._ended_at: float | None = None
        self._orders: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

    def ask(self, order: Callable[[], None]) -> None:
        """Have something done before the next step; from any thread."""
        self._orders.put(order)

    def turn(self) -> None:
        """Carry out orders, then take the steps that are due."""
        while not self._orders.empty():
            self._orders.get()()
        until = self._now() + BUSY
        while self.is_playing and self.session.outcome is None and self.clock.is_due() and self._now() < until:
            self._step()
        if self.is_playing and self.goes_on and self._ended_at is not None and self._now() > self._ended_at + LINGER:
            self.begin(self.session.episode + 1)

    def play(self) -> None:
        """Go on; with the next episode where this one has ended."""
        if self.session.outcome is not None:
            self.begin(self.session.episode + 1)
        self.is_playing = True
        self.clock.start()

    def pause(self) -> None:
        """Stop the time."""
        self.is_playing = False

    def step_once(self) -> None:
        """Pause, and take a single step."""
        self.is_playing = False
        self._step()

    def begin(self, episode: int) -> None:
        """Begin an episode; beyond the last one comes the first."""
        self.session.begin(episode % EPISODES)
        self._ended_at = None
        self.clock.start()

    def set_speed(self, speed: float) -> None:
        """Change how fast simulated time runs."""
        self.clock.speed = min(max(speed, SPEEDS[0]), SPEEDS[1])

    def _step(self) -> None:
        if self.session.outcome is None:
            self.session.step()
            self.clock.taken()
            if self.session.outcome is not None:
                self._ended_at = self._now()
