"""A flight through the real firmware: the vehicle in a process of its own, the onboard controller in this one.

with Aloft("uav_hover") as aloft:
    flown = aloft.fly(3)              # outcome, the controller's changes of state, the path
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from robo_ppo.export.vehicles.betaflight.vehicle import real_time
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.controller import Controller, Tick
from robo_ppo_onboard.links.betaflight import BetaflightLink
from robo_ppo_onboard.operator import Plan
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.safety.limits import Limits
from robo_ppo_onboard.safety.supervisor import Change
from robo_ppo_onboard.safety.table import State
from robo_ppo_onboard.sources.mocap import MocapSource
from robo_ppo_onboard.worker import Infer

POLICIES = Path(__file__).parents[3] / "policies"
PORT = 7711


@dataclass(frozen=True)
class Flown:
    """How an episode ended, and how it went."""

    outcome: str | None
    changes: list[Change]
    path: np.ndarray[Any, np.dtype[np.float64]]
    last: Tick

    def states(self) -> list[State]:
        return [change.after for change in self.changes]

    def story(self) -> str:
        """What happened, in a line."""
        return "; ".join([*(f"{c.time:.2f} {c.after.name}: {c.why}" for c in self.changes), str(self.outcome)])


class Aloft:
    """A vehicle under firmware in the task of a shipped policy, and controllers that fly it."""

    def __init__(self, task: str, randomization: str = "") -> None:
        self.policy = Policy(read_bundle(POLICIES / f"{task}.onnx"))
        words = [f"bundle={POLICIES / f'{task}.onnx'}", f"port={PORT}"]
        words += [f"randomization={randomization}"] if randomization else []
        self._command = [sys.executable, "-m", "robo_ppo.export.vehicles.betaflight", "fly", *words]
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.ready = self.wait("ready", 0, within=660.0)  # another test may be flying
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.order("quit")
        with self._process:  # closes its pipes
            try:
                self._process.wait(10.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reader.join(10.0)

    def order(self, words: str) -> int:
        """Send a line; how many events there were before."""
        assert self._process.stdin is not None
        seen = len(self.events)
        self._process.stdin.write(words + "\n")
        self._process.stdin.flush()
        return seen

    def wait(self, event: str, since: int, within: float = 20.0) -> dict[str, Any]:
        """The first such event after so many others."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            found = self.happened(event, since)
            if found:
                return found[0]
            if self._process.poll() is not None:
                assert self._process.stderr is not None
                raise AssertionError(f"the vehicle ended: {self._process.stderr.read()}")
            time.sleep(0.005)
        raise AssertionError(f"no '{event}' within {within:g} s")

    def happened(self, event: str, since: int) -> list[dict[str, Any]]:
        return [e for e in self.events[since:] if e["event"] == event]

    @contextlib.contextmanager
    def controller(self, infer: Infer | None = None, **limits: float) -> Generator[tuple[Controller, BetaflightLink]]:
        """A controller with an open link, which ends without a word to the vehicle."""
        link = BetaflightLink(throttle=tuple(self.ready["throttle"]))
        source = MocapSource(port=PORT, measures=self.ready["measures"])
        with _prioritized(), contextlib.closing(link), contextlib.closing(source):
            link.open(self.policy.contract)
            source.open(self.policy.contract)
            narrowed = Limits.of(self.policy.contract, limits)
            made = Controller(self.policy, link, [source], operator=Plan(), limits=narrowed, infer=infer)
            made.warm_up()
            link.prepare()
            yield made, link

    def fly(self, episode: int, *, thrown: bool = False) -> Flown:
        """One episode: from the floor with a launch, or thrown as the task says."""
        placed = self.wait("held" if thrown else "stands", self.order(f"{'hold' if thrown else 'stand'} {episode}"))
        start, seen = placed["start"], self.events.index(placed)
        begun: list[float] = []

        def stop(tick: Tick) -> bool:
            if tick.state is State.RAMP and not begun:
                begun.append(tick.time)
                self.order("begin")
            return tick.state is State.LANDED or bool(self.happened("ended", seen))

        with self.controller(launch_height_m=start[2], ramp_s=0.0 if thrown else 0.5) as (controller, _):
            last = controller.run(stop)
        ended = self.happened("ended", seen)
        path = np.array(ended[0]["path"]) if ended else np.zeros((0, 3))
        return Flown(ended[0]["outcome"] if ended else None, controller.supervisor.changes, path, last)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.append(json.loads(line))


@contextlib.contextmanager
def _prioritized() -> Generator[None]:
    """Real time for this process where that is allowed, as a companion computer would give it."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    real_time()
    try:
        yield
    finally:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, *before)
