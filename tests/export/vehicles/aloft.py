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
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from robo_ppo.export.vehicles.betaflight.vehicle import real_time
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.contract import Contract
from robo_ppo_onboard.controller import Controller, Tick
from robo_ppo_onboard.errors import UserError
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
    """How an episode ended, how it went, and how long (s) the machine kept its processors from the flight."""

    outcome: str | None
    changes: list[Change]
    path: np.ndarray[Any, np.dtype[np.float64]]
    last: Tick
    withheld: float

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
        source = MocapSource(port=PORT, measures=self.ready["measures"])
        with (
            _prioritized(),
            opened_link(self.policy.contract, self.ready["throttle"]) as link,
            contextlib.closing(source),
        ):
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
            with Withheld() as withheld:
                last = controller.run(stop)
        ended = self.happened("ended", seen)
        path = np.array(ended[0]["path"]) if ended else np.zeros((0, 3))
        outcome = ended[0]["outcome"] if ended else None
        return Flown(outcome, controller.supervisor.changes, path, last, withheld.seconds)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.events.append(json.loads(line))


@contextlib.contextmanager
def opened_link(contract: Contract, throttle: Sequence[float], within: float = 20.0) -> Generator[BetaflightLink]:
    """An open link to the firmware, which may take seconds to look at its serial ports.

    Its scheduler expects of a task what the task once took; one that its host stopped for 0.1 s waits until the
    scheduler has forgotten that.
    """
    with contextlib.closing(BetaflightLink(throttle=tuple(throttle))) as link:
        until = time.monotonic() + within
        while True:
            try:
                link.open(contract)
                break
            except UserError as error:
                if "did not answer" not in str(error) or time.monotonic() > until:
                    raise
        yield link


class Withheld:
    """How long a machine keeps its processors from this process: a test in real time then shows nothing.

    That is what a hypervisor took from all processors together, or how late a thread woke that only sleeps.
    """

    def __enter__(self) -> Self:
        self.seconds, self._stolen, self._ends = 0.0, _stolen(), threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)  # with this thread's priority
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self.seconds = max(self.seconds, _stolen() - self._stolen)

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._ends.wait(0.005):
            now = time.monotonic()
            self.seconds, before = max(self.seconds, now - before - 0.005), now


def _stolen() -> float:
    """Seconds for which a hypervisor has kept a processor from this machine so far; 0 where nobody counts them."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    return int(stat.read_text().split(maxsplit=9)[8]) / os.sysconf("SC_CLK_TCK")


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
