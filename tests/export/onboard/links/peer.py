"""A flight controller in a few lines, for the link alone: it has modes and parameters, and flies nothing."""

import math
import socket
import struct
import threading
import time
from collections.abc import Mapping
from typing import Any

from robo_ppo_onboard.links.mavlink_connection import mavutil

PX4_MODES = {
    "hold": (4, 3),
    "takeoff": (4, 2),
    "land": (4, 6),
    "offboard": (6, 0),
    "position": (3, 0),
    "return": (4, 5),
}
ARDUPILOT_MODES = {"loiter": 5, "guided": 4, "brake": 17, "land": 9, "stabilize": 0}


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Peer:
    """Answers as PX4 (12) or ArduPilot (3) would; `mode`, `armed` and `landed` may be changed by a test at any time."""

    def __init__(self, autopilot: int = 12, parameters: Mapping[str, float] | None = None) -> None:
        self.port, self.autopilot, self.parameters = free_port(), autopilot, dict(parameters or {})
        self.mode = "position" if autopilot == 12 else "stabilize"
        self.armed, self.landed, self.obeys = False, 1, True
        self.stubborn: set[str] = set()  # parameters that it does not change
        self.beat = 0.01  # s between heartbeats
        self.imposed: list[str] = []  # modes that somebody else brought about
        self.lost = 0  # of the next commands, as if they never came
        self.received: list[Any] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(5.0)

    def commands(self, number: int) -> list[Any]:
        return [m for m in tuple(self.received) if m.get_type() == "COMMAND_LONG" and m.command == number]

    def setpoints(self) -> list[Any]:
        return [m for m in tuple(self.received) if m.get_type().startswith("SET_")]

    def _custom_mode(self) -> int:
        if self.autopilot != 12:
            return ARDUPILOT_MODES[self.mode]
        main, sub = PX4_MODES[self.mode]
        return main << 16 | sub << 24

    def _run(self) -> None:
        raw: Any = mavutil().mavlink_connection(f"udpout:127.0.0.1:{self.port}", source_system=1, source_component=1)
        told = -math.inf
        while not self._over.is_set():
            if time.monotonic() - told >= self.beat:
                told = time.monotonic()
                raw.mav.heartbeat_send(2, self.autopilot, 0x80 if self.armed else 0, self._custom_mode(), 4)
            raw.mav.sys_status_send(0, 1 << 28, 1 << 28 if self.obeys else 0, 0, 0, 0, 55, 0, 0, 0, 0, 0, 0)
            raw.mav.extended_sys_state_send(0, self.landed)
            self._over.wait(0.01)
            while (message := raw.recv_msg()) is not None:
                self.received.append(message)
                self._answer(raw.mav, message)
        raw.close()

    def _answer(self, mav: Any, message: Any) -> None:
        kind = message.get_type()
        if kind == "COMMAND_LONG":
            if self.lost:
                self.lost -= 1
                return
            if self.obeys:
                self._obey(message)
            mav.command_ack_send(message.command, 0 if self.obeys else 2)
        elif kind == "PARAM_REQUEST_READ" and message.param_id in self.parameters:
            self._tell(mav, message.param_id, 9)
        elif kind == "PARAM_SET" and message.param_id in self.parameters:
            if message.param_id not in self.stubborn:
                self.parameters[message.param_id] = self._number(message.param_value, message.param_type)
            self._tell(mav, message.param_id, message.param_type)

    def _obey(self, message: Any) -> None:
        if message.command == 176:
            wanted = (int(message.param2), int(message.param3))
            table: dict[str, Any] = dict(PX4_MODES) if self.autopilot == 12 else ARDUPILOT_MODES
            self.mode = next(name for name, key in table.items() if key in (wanted, wanted[0]))
            self.imposed.append(self.mode)
        elif message.command == 400:
            self.armed = message.param1 == 1.0

    def _number(self, value: float, kind: int) -> float:
        whole = kind == 6 and self.autopilot == 12
        return float(struct.unpack("<i", struct.pack("<f", value))[0]) if whole else value

    def _tell(self, mav: Any, name: str, kind: int) -> None:
        value = self.parameters[name]
        if kind == 6 and self.autopilot == 12:
            value = struct.unpack("<f", struct.pack("<i", int(value)))[0]
        mav.param_value_send(name.encode(), value, kind, len(self.parameters), 0)
