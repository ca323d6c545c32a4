"""The policy in a thread of its own, so that nobody has to wait longer for it than they want.

    worker = Worker(policy)
    worker.ask(measured, begins=True)           # never waits
    answer = worker.answer(until=0.016)         # waits at most so many seconds; None where there is none by then

A policy that hangs keeps its thread for ever; it is a daemon, and ends with the process. While an answer is owed
nothing new is asked, and a late answer is dropped: commands for what was measured long ago are worth nothing.
"""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Dict, Mapping, NamedTuple, Tuple

import numpy as np

from .contract import Array
from .runtime import Policy

Measured = Mapping[str, Tuple[float, ...]]
Infer = Callable[[Mapping[str, Any], Array], Tuple[Dict[str, Array], Array]]


class Answer(NamedTuple):
    """The policy's commands by name, and how long (s) it took."""

    commands: dict[str, float]
    seconds: float


class Pilot:
    """A policy with its state, for one vehicle."""

    def __init__(self, policy: Policy, infer: Infer | None = None) -> None:
        """`infer` stands in for the policy's own inference, to test what happens when that goes wrong."""
        self._infer: Infer = infer or policy
        self._shapes = {port.name: (1, *port.shape) for port in policy.contract.inputs}
        self._initial = policy.initial_state()
        self._state = self._initial

    def fly(self, measured: Measured, *, begins: bool) -> Answer:
        """One step, from numbers by name; `begins` forgets what was before."""
        start = time.perf_counter()
        state = self._initial if begins else self._state
        arrays = {name: np.array(measured[name], np.float32).reshape(shape) for name, shape in self._shapes.items()}
        commands, self._state = self._infer(arrays, state)
        return Answer({name: float(values.item()) for name, values in commands.items()}, time.perf_counter() - start)


class Worker:
    """Runs a pilot's steps in a thread."""

    def __init__(self, pilot: Pilot) -> None:
        self._pilot = pilot
        self._change = threading.Condition()
        self._asked: tuple[int, Measured, bool] | None = None
        self._answered: tuple[int, Answer | None] = (0, None)
        self._number = 0  # of the last question
        self._busy = False
        self._begins = False  # a beginning that could not be asked for yet
        self._closed = False
        self.error: Exception | None = None
        """What the policy raised, if it did: it is asked no more."""
        self._thread = threading.Thread(target=self._serve, name="policy", daemon=True)
        self._thread.start()

    def ask(self, measured: Measured, *, begins: bool) -> None:
        """Hand over what was measured; nothing happens while an earlier question is not answered."""
        with self._change:
            self._begins |= begins
            self._number += 1
            if not self._busy and self.error is None:
                self._asked, self._busy = (self._number, measured, self._begins), True
                self._begins = False
                self._change.notify_all()

    def answer(self, until: float | None) -> Answer | None:
        """The answer to the last question, waited for at most `until` seconds (None: as long as it takes)."""
        with self._change:
            self._change.wait_for(lambda: self._answered[0] == self._number or self.error is not None, until)
            number, answer = self._answered
            return answer if number == self._number else None

    def close(self) -> None:
        """End the thread, as soon as the policy lets it."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def _serve(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._asked is not None or self._closed)
                if self._asked is None or self._closed:
                    return
                (number, measured, begins), self._asked = self._asked, None
            try:
                answer = self._pilot.fly(measured, begins=begins)
            except Exception as error:
                with self._change:
                    self.error = error
                    self._change.notify_all()
                return
            with self._change:
                self._answered, self._busy = (number, answer), False
                self._change.notify_all()
