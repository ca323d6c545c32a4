"""Episodes flown through a protocol without a clock: the vehicle waits for every setpoint of the onboard controller.

    with LockstepFlights("policies/uav_nav.onnx", episodes=200) as flights:
        flown = flights.fly(policy, 3)                   # Flown("success", steps=202, taken_over="")

The controller is the one that flies real vehicles, safety net included. An episode begins as an evaluation's does: in
the air, with the policy in control. So a difference from an evaluation is what the protocol does.
"""

import socket
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.faults import KINDS
from robo_ppo.export.vehicles.mavlink_wire import BEGIN, SWITCH_FAULT
from robo_ppo.export.vehicles.process import VehicleProcess
from robo_ppo_onboard.controller import Controller
from robo_ppo_onboard.links.mavlink import MavlinkLink
from robo_ppo_onboard.links.mavlink_clock import PATIENCE
from robo_ppo_onboard.operator import Plan
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.safety.table import State

MODULE = "robo_ppo.export.vehicles.mavlink"


class Flown(NamedTuple):
    """How an episode ended, after how many control steps, and why the safety net took over, if it did."""

    outcome: str
    steps: int
    taken_over: str


class Fault(NamedTuple):
    """Something that goes wrong (`robo_ppo.export.vehicles.faults`), some time (s) into the episode, for so long."""

    kind: str
    amount: float = 0.0
    delay: float = 0.0
    seconds: float = 0.0  # 0: to the end


class LockstepFlights:
    """A simulated MAVLink vehicle in a process of its own, and one controller after another in this one."""

    def __init__(self, bundle: Path | str, *, episodes: int) -> None:
        port = free_port()
        settings = (f"bundle={bundle}", f"episodes={episodes}", f"address=udpout:127.0.0.1:{port}")
        self._vehicle = VehicleProcess(MODULE, *settings, "lockstep=true", "in_the_air=true")
        self.link = MavlinkLink(address=f"udpin:127.0.0.1:{port}", lockstep=True)
        self._said, self._is_new, self._opened = "", False, False
        for kind, handler in (
            ("STATUSTEXT", self._take_text),
            ("COMMAND_ACK", self._take_answer),
            ("SYSTEM_TIME", self._take_time),
        ):
            self.link.connection.on(kind, handler)

    def __enter__(self) -> "LockstepFlights":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.link.close()
        self._vehicle.stop()

    def fly(self, policy: Policy, episode: int, *, fault: Fault | None = None) -> Flown:
        """Fly a test episode; with a fault, if one is given."""
        link, clock = self.link, self.link.clock()
        assert clock is not None
        if not self._opened:
            self._vehicle.wait_for("ready")
            link.open(policy.contract)
            self._opened = True
        if link.connection.ask(BEGIN, float(episode), 1.0, seconds=5.0) != 0:
            raise UserError(f"the vehicle does not begin episode {episode}")
        # What is told before the answer is of the episode before.
        if not link.connection.wait_until(lambda: self._is_new, PATIENCE):
            raise UserError("the vehicle has told nothing of the new episode")
        start = clock.now()
        link.forget()
        if fault is not None:
            link.connection.ask(SWITCH_FAULT, float(KINDS.index(fault.kind)), fault.amount, fault.delay, fault.seconds)
        self._said = ""
        nobody = Plan(launch=False, engage=False)
        controller = Controller(policy, link, [link], operator=nobody, start=State.POLICY)
        last = controller.run(stop=lambda tick: bool(self._said) or tick.state is State.LANDED)
        controller.close()
        why = controller.supervisor.changes[0].why if controller.supervisor.changes else ""
        if not self._said:
            return Flown("landed", round((last.time - start) / policy.contract.control_period), why)
        report = self._vehicle.last("outcome", episode=episode)
        return Flown(report["outcome"], report["steps"], why)

    def _take_text(self, message: Any) -> None:
        self._said = message.text

    def _take_answer(self, message: Any) -> None:
        if message.command == BEGIN:
            self._is_new = False

    def _take_time(self, message: Any) -> None:
        self._is_new = True


def free_port() -> int:
    """A UDP port that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
