"""Episodes flown through a protocol without a clock: the vehicle waits for every setpoint of the onboard controller.

    with LockstepFlights("policies/uav_nav.onnx", episodes=200) as flights:
        flown = flights.fly(policy, 3)                   # Flown("success", steps=202, taken_over="")

The controller is the one that flies real vehicles, safety net included. An episode begins as an evaluation's does: in
the air, with the policy in control. So a difference from an evaluation is what the protocol does.
"""

import socket
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.mavlink import BEGIN
from robo_ppo.export.vehicles.process import VehicleProcess
from robo_ppo_onboard.controller import Controller
from robo_ppo_onboard.links.mavlink import MavlinkLink
from robo_ppo_onboard.operator import Plan
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.safety.table import State

MODULE = "robo_ppo.export.vehicles.mavlink"


class Flown(NamedTuple):
    """How an episode ended, after how many control steps, and why the safety net took over, if it did."""

    outcome: str
    steps: int
    taken_over: str


class LockstepFlights:
    """A simulated MAVLink vehicle in a process of its own, and one controller after another in this one."""

    def __init__(self, bundle: Path | str, *, episodes: int) -> None:
        port = free_port()
        settings = (f"bundle={bundle}", f"episodes={episodes}", f"address=udpout:127.0.0.1:{port}")
        self._vehicle = VehicleProcess(MODULE, *settings, "lockstep=true", "in_the_air=true")
        self.link = MavlinkLink(address=f"udpin:127.0.0.1:{port}", lockstep=True)
        self._said = ""
        self.link.connection.on("STATUSTEXT", lambda message: setattr(self, "_said", message.text))
        self._opened = False

    def __enter__(self) -> "LockstepFlights":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.link.close()
        self._vehicle.stop()

    def fly(self, policy: Policy, episode: int) -> Flown:
        """Fly a test episode."""
        link, clock = self.link, self.link.clock()
        assert clock is not None
        if not self._opened:
            self._vehicle.wait_for("ready")
            link.open(policy.contract)
            self._opened = True
        before = clock.now()
        if link.connection.ask(BEGIN, float(episode), 1.0, seconds=5.0) != 0:
            raise UserError(f"the vehicle does not begin episode {episode}")
        clock.sleep_until(before + 0.5 * policy.contract.control_period)
        self._said = ""
        nobody = Plan(launch=False, engage=False)
        controller = Controller(policy, link, [link], operator=nobody, start=State.POLICY)
        controller.run(stop=lambda tick: bool(self._said))
        report = self._vehicle.wait_for("outcome", episode=episode)
        changes = controller.supervisor.changes
        return Flown(report["outcome"], report["steps"], changes[0].why if changes else "")


def free_port() -> int:
    """A UDP port that nobody listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
