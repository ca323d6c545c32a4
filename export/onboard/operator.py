"""Who asks for the flight's phases: a person at the terminal, or a plan.

A person types `launch`, `engage`, `release` or `land` and Enter. A `Plan` launches, engages and lands by itself; each
request is repeated until it has had its effect or the phase has passed.
"""

from __future__ import annotations

import queue
import signal
import sys
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Callable

from .safety.table import State
from .vehicle import Requests

if TYPE_CHECKING:
    from .safety.supervisor import Supervisor

WORDS = ("launch", "engage", "release", "land")


class Operator(ABC):
    """Asks for what shall happen next."""

    @abstractmethod
    def requests(self, now: float, supervisor: Supervisor) -> Requests:
        """What is asked for in this tick."""


class Plan(Operator):
    """Launch (where asked to), let the policy fly as soon as it may, land after some time with it."""

    def __init__(self, *, launch: bool = True, engage: bool = True, land_after: float | None = None) -> None:
        self._launch, self._engage, self._land_after = launch, engage, land_after
        # When the policy began. It is asked for once: not again after a release or a fault.
        self._engaged: float | None = None

    def requests(self, now: float, supervisor: Supervisor) -> Requests:
        """By the supervisor's state."""
        state = supervisor.state
        if any(change.code in ("pilot", "disarmed") for change in supervisor.changes):
            return Requests()  # somebody took the vehicle: a plan has nothing more to ask for
        if state is State.POLICY and self._engaged is None:
            self._engaged = now
        if self._engaged is not None:
            return Requests(land=self._land_after is not None and now - self._engaged >= self._land_after)
        return Requests(launch=self._launch and state is State.STANDBY, engage=self._engage and state is State.READY)


class LandOnInterrupt(Operator):
    """Another operator, and Ctrl-C (or SIGTERM, SIGHUP): the first asks for a landing, the second ends the program.

    On the ground the first one ends it, too.
    """

    def __init__(self, operator: Operator, say: Callable[[str], object]) -> None:
        self._operator, self._say = operator, say
        self._count = 0
        signal.signal(signal.SIGINT, self._interrupt)
        for name in ("SIGTERM", "SIGHUP"):  # a session that is lost, a computer that shuts down
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), self._interrupt)

    def requests(self, now: float, supervisor: Supervisor) -> Requests:
        """The other's, or a landing."""
        if not self._count:
            return self._operator.requests(now, supervisor)
        if self._count > 1 or supervisor.state in (State.STANDBY, State.LANDED):
            raise KeyboardInterrupt
        return Requests(land=True)

    def _interrupt(self, number: int, frame: object) -> None:
        self._count += 1
        if self._count == 1:
            self._say("landing; Ctrl-C once more stops at once, and leaves the vehicle to its own failsafe")
        elif self._count > 2:  # the loop does not listen any more
            raise KeyboardInterrupt


class Terminal(Operator):
    """Reads words from the standard input, without ever waiting for them."""

    def __init__(self, say: Callable[[str], object]) -> None:
        """`say` shows a line without ever waiting."""
        self._say = say
        self._words: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="terminal", daemon=True).start()

    def requests(self, now: float, supervisor: Supervisor) -> Requests:
        """The next word, if there is one."""
        try:
            word = self._words.get_nowait()
        except queue.Empty:
            return Requests()
        if word == "launch" and supervisor.why_no_launch():
            self._say(f"no launch: {supervisor.why_no_launch()}")
        return Requests(**{word: True})

    def _read(self) -> None:
        for line in sys.stdin:
            word = line.strip().lower()
            if word in WORDS:
                self._words.put(word)
            elif word:
                self._say(f"'{word}'? Say {', '.join(WORDS)}; Ctrl-C ends")
