"""A vehicle that speaks MAVLink as PX4 does, in the physics of a task: a process of its own, for tests and demos.

    python -m robo_ppo.export.vehicles.mavlink bundle=policies/uav_nav.onnx episode=3
    python -m robo_ppo.export.vehicles.mavlink task=uav_nav episode=3 lockstep=true in_the_air=true

It stands on the ground below the start of a test episode, or (`in_the_air`) is in the air at that start, armed and in
offboard mode. It sends its state to udpout:127.0.0.1:14540, where PX4's simulator would, and takes whatever an offboard
controller or MAVSDK sends.

In real time it steps `rate` times a second. In **lockstep** it steps once for every setpoint whose `time_boot_ms` is
the time that its last SYSTEM_TIME told: the controller's clock is the vehicle's, and nothing is ever late.

Two commands are its own: MAV_CMD_USER_1 (31010) begins an episode (its number, 1: in the air), MAV_CMD_USER_2 (31011)
brings a fault (number of the kind in `robo_ppo.export.vehicles.faults`, amount, s until then, s that it lasts). When
an episode is decided it says so in a STATUSTEXT, "episode 3: success after 4.62 s", and in a line of JSON on its
standard output.
"""

import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.autopilot import (
    ACCEPTED,
    DENIED,
    UNSUPPORTED,
    Autopilot,
    Position,
    Rates,
    Velocity,
)
from robo_ppo.export.vehicles.cascade import Cascade
from robo_ppo.export.vehicles.faults import KINDS, Faults
from robo_ppo.export.vehicles.flight import COMMANDS, Flight
from robo_ppo.export.vehicles.mavlink_wire import BEGIN, SWITCH_FAULT, Wire, parameter_of
from robo_ppo.export.vehicles.recording import Recording
from robo_ppo.export.vehicles.settings import parse_settings
from robo_ppo_onboard.bundle import Bundle, read_bundle
from robo_ppo_onboard.links.mavlink_autopilots import PX4
from robo_ppo_onboard.links.mavlink_frames import swapped_body, swapped_world, swapped_yaw

SHIPPED = Path(__file__).parents[2] / "policies"
AGAIN = 0.5  # s of real time after which lockstep tells the state again
SLOW = 0.2  # s between heartbeats


@dataclass(frozen=True)
class Settings:
    """What the command line may say."""

    bundle: str = ""
    task: str = ""
    episode: int = 0
    episodes: int = 0  # laid out; 0: as many as the first one needs
    address: str = "udpout:127.0.0.1:14540"
    lockstep: bool = False
    in_the_air: bool = False
    rate: int = 100  # Hz, in real time
    out: str = ""  # a folder: what happened is written there when it ends
    seconds: float = math.inf  # of its own time, until it ends by itself
    parent: int = 0  # the number of a process: the vehicle ends when that is no longer its parent
    fault: str = "none"
    fault_amount: float = 0.0
    fault_at: float = 0.0  # s
    fault_seconds: float = math.inf


class MavlinkVehicle:
    """The vehicle: physics, autopilot and wire; `run` is its life."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        bundle = read_bundle(_bundle_of(settings))
        period = None if settings.lockstep else 1.0 / settings.rate
        episodes = settings.episodes or settings.episode + 1
        self.flight = Flight(bundle, episodes=episodes, period=period)
        self.autopilot = autopilot_of(self.flight)
        self._throttle = throttle_of(bundle, self.flight)
        ends = settings.fault_at + settings.fault_seconds
        faults = Faults(settings.fault, settings.fault_amount, settings.fault_at, ends)
        self.wire = Wire(settings.address, faults)
        self.recording = Recording(self.flight) if settings.out else None
        self.now, self._steps = 0.0, 0
        self._mode_told = ("", False)
        self._slow_at = self._decided = -math.inf
        self._handlers: dict[str, Callable[[Any], None]] = {
            "SET_ATTITUDE_TARGET": self._take_rates,
            "SET_POSITION_TARGET_LOCAL_NED": self._take_target,
            "HEARTBEAT": self._take_heartbeat,
            "COMMAND_LONG": self._take_command,
            "PARAM_SET": self._take_parameter,
            "PARAM_REQUEST_READ": self._read_parameter,
            "PARAM_REQUEST_LIST": self._list_parameters,
        }
        self._begin(settings.episode, in_the_air=settings.in_the_air)

    def run(self) -> None:
        """Fly until the time is over, or until a signal ends the process."""
        print(json.dumps({"ready": self.settings.address}), flush=True)
        try:
            self._run_in_lockstep() if self.settings.lockstep else self._run_in_real_time()
        except KeyboardInterrupt:
            pass
        finally:
            if self.recording is not None:
                self.recording.write(Path(self.settings.out))
            self.wire.close()

    def _goes_on(self) -> bool:
        is_orphan = self.settings.parent != 0 and os.getppid() != self.settings.parent
        return self.now < self.settings.seconds and not is_orphan

    def _run_in_real_time(self) -> None:
        start = time.monotonic()
        while self._goes_on():
            self._listen()
            self._step()
            self._tell()
            rest = start + self.now - time.monotonic()
            if rest > 0.0:
                time.sleep(rest)
            elif rest < -0.5:  # a machine that is too slow: the clock goes slower, too
                start -= rest

    def _run_in_lockstep(self) -> None:
        while self._goes_on():
            self._tell()
            told, now = time.monotonic(), self.now
            while self.now == now and self.wire.answered != round(1e3 * now):
                self.wire.wait(0.05)
                self._listen()
                if time.monotonic() - told > AGAIN:
                    if not self._goes_on():
                        return
                    told = time.monotonic()
                    self._tell()
            if self.now == now:  # else another episode began
                self._step()

    def _step(self) -> None:
        thrust, rates = self.autopilot.tick(self.flight.state, self.flight.on_ground, self.now)
        if self.autopilot.mode == "offboard" and self.autopilot.armed and not self.flight.on_ground:
            self.flight.judge()
        self.flight.step(thrust, rates)
        self._go_on()
        if self.recording is not None:
            self.recording.add(self.now, self.autopilot.mode, self.autopilot.armed)
        if self.flight.outcome is not None and self._decided != self.flight.episode:
            self._decided = self.flight.episode
            self._report(self.flight.outcome)

    def _report(self, outcome: str) -> None:
        flight = self.flight
        line = {"episode": flight.episode, "outcome": outcome, "steps": flight.judged_steps}
        print(json.dumps(line), flush=True)
        self.wire.say(
            f"episode {flight.episode}: {outcome} after {flight.judged_steps * flight.period:.2f} s", self.now
        )

    def _begin(self, episode: int, *, in_the_air: bool) -> None:
        self.flight.begin(episode, in_the_air=in_the_air)
        self.autopilot.begin(self.now, in_the_air=in_the_air)
        self._decided = self._slow_at = -math.inf
        self._go_on()

    def _go_on(self) -> None:
        self._steps += 1
        self.now = self._steps * self.flight.period

    def _tell(self) -> None:
        lockstep = self.settings.lockstep
        if (
            lockstep
            or self.now - self._slow_at >= SLOW
            or self._mode_told != (self.autopilot.mode, self.autopilot.armed)
        ):
            self._slow_at = self.now
            self._mode_told = (self.autopilot.mode, self.autopilot.armed)
            self.wire.tell_heartbeat(self.autopilot, self.now)
            self.wire.tell_health(self.flight, self.autopilot, self.now)
        self.wire.tell_state(self.flight, self.now)
        self.wire.tell_time(self.now)

    def _listen(self) -> None:
        for message in self.wire.receive(self.now):
            handle = self._handlers.get(message.get_type())
            if handle is not None:
                handle(message)

    def _take_rates(self, message: Any) -> None:
        rates = swapped_body((message.body_roll_rate, message.body_pitch_rate, message.body_yaw_rate))
        thrust = float(np.interp(message.thrust, *self._throttle))
        if math.isfinite(thrust) and all(map(math.isfinite, rates)):
            self.autopilot.take(Rates(thrust, rates), self.now)

    def _take_target(self, message: Any) -> None:
        if message.coordinate_frame != 1 or message.target_system not in (0, 1):  # MAV_FRAME_LOCAL_NED
            return
        if message.type_mask & 0b111:  # the position is to be ignored
            velocity = np.array(swapped_world((message.vx, message.vy, message.vz)))
            self.autopilot.take(Velocity(velocity, -message.yaw_rate), self.now)
        else:
            position = np.array(swapped_world((message.x, message.y, message.z)))
            self.autopilot.take(Position(position, swapped_yaw(message.yaw)), self.now)

    def _take_heartbeat(self, message: Any) -> None:
        if message.type == 6:  # MAV_TYPE_GCS
            self.autopilot.ground_station = self.now

    def _take_command(self, message: Any) -> None:
        if message.target_system not in (0, 1):
            return
        self.wire.answer(message, self._obey(message), self.now)

    def _obey(self, message: Any) -> int:
        autopilot, first = self.autopilot, message.param1
        command = int(message.command)
        if command == 400:  # MAV_CMD_COMPONENT_ARM_DISARM
            return (
                autopilot.arm()
                if first == 1.0
                else autopilot.disarm(self.flight.on_ground, by_force=message.param2 == 21196.0)
            )
        if command == 176:  # MAV_CMD_DO_SET_MODE
            mode = PX4.modes.get(int(message.param2) << 16 | int(message.param3) << 24, "")
            return autopilot.set_mode(mode, self.now)
        if command in (21, 22):  # MAV_CMD_NAV_LAND, MAV_CMD_NAV_TAKEOFF
            return autopilot.set_mode("land" if command == 21 else "takeoff", self.now)
        if command in (512, 520):  # MAV_CMD_REQUEST_MESSAGE, MAV_CMD_REQUEST_AUTOPILOT_CAPABILITIES
            if command == 512 and first != 148.0:
                return UNSUPPORTED
            self.wire.tell_version(self.now)
            return ACCEPTED
        if command == 511:  # MAV_CMD_SET_MESSAGE_INTERVAL: all is sent in every step
            return ACCEPTED
        if command == BEGIN:
            if not 0 <= first < self.flight.episodes:
                return DENIED
            self.wire.switch(Faults())
            self._begin(int(first), in_the_air=message.param2 == 1.0)
            return ACCEPTED
        if command == SWITCH_FAULT:
            if not 0 <= first < len(KINDS):
                return DENIED
            begins = self.now + message.param3
            self.wire.switch(Faults(KINDS[int(first)], message.param2, begins, begins + (message.param4 or math.inf)))
            return ACCEPTED
        return UNSUPPORTED

    def _take_parameter(self, message: Any) -> None:
        name, value = parameter_of(message)
        if name in self.autopilot.parameters:
            self.autopilot.parameters[name] = value
            self.wire.tell_parameter(self.autopilot, name, self.now)

    def _read_parameter(self, message: Any) -> None:
        names = sorted(self.autopilot.parameters)
        name = message.param_id if message.param_index < 0 else names[message.param_index]
        if name in names:
            self.wire.tell_parameter(self.autopilot, name, self.now)

    def _list_parameters(self, message: Any) -> None:
        for name in self.autopilot.parameters:
            self.wire.tell_parameter(self.autopilot, name, self.now)


def autopilot_of(flight: Flight) -> Autopilot:
    """A flight controller that knows the nominal vehicle."""
    cascade = Cascade(flight.mass, flight.thrust_limits, flight.rate_limits, flight.period)
    return Autopilot(cascade, idle=(flight.thrust_limits[0], (0.0, 0.0, 0.0)))


def throttle_of(bundle: Bundle, flight: Flight) -> tuple[list[float], list[float]]:
    """Parts of full throttle and the thrust (N) that each gives: as the bundle says, or in proportion."""
    port = next((p for p in bundle.contract.outputs if p.name == COMMANDS[0]), None)
    points = port.throttle if port is not None and port.throttle else ((0.0, 0.0), (flight.thrust_limits[1], 1.0))
    return [part for _, part in points], [thrust for thrust, _ in points]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; exit code 2 for a person's mistake."""
    try:
        vehicle = MavlinkVehicle(parse_settings(Settings, sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    vehicle.run()
    return 0


def _bundle_of(settings: Settings) -> Path:
    if bool(settings.bundle) == bool(settings.task):
        raise UserError("say which policy's task to fly in: bundle=policies/uav_nav.onnx, or task=uav_nav, not both")
    return Path(settings.bundle) if settings.bundle else SHIPPED / f"{settings.task}.onnx"


if __name__ == "__main__":
    sys.exit(main())
