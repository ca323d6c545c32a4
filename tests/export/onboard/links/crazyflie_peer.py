"""A Crazyflie on a UDP port: as much CRTP as cflib needs to connect, and enough of a vehicle to fly orders on.

    with CrazyfliePeer() as peer:
        link = CrazyflieLink(uri=peer.uri)

Layouts and signs are those of the firmware's public documentation and sources, written down here a second time: packets
in docs/functional-areas/crtp, setpoints in crtp_commander_rpyt.c and controller_pid.c, the high-level commander's in
crtp_commander_high_level.c, states and bits in supervisor.c, the thrust lock in crtp_commander.md.
"""

import select
import socket
import struct
import threading
import time
import zlib
from dataclasses import dataclass, field
from typing import NamedTuple, Self

CONSOLE, PARAM, COMMANDER, MEM, LOGGING, LOCALIZATION, GENERIC, HIGH_LEVEL, SUPERVISOR, PLATFORM, LINK = (
    0, 2, 3, 4, 5, 6, 7, 8, 9, 13, 15,
)  # fmt: skip

UINT8, UINT16, FLOAT_PARAM, EXTENDED = 0x08, 0x09, 0x06, 0x10  # types of parameters
PARAM_FORMATS = {UINT8: "<B", UINT16: "<H", FLOAT_PARAM: "<f"}
LOG_FORMATS = {1: "<B", 2: "<H", 3: "<I", 5: "<h", 7: "<f"}  # types of log variables

CAN_BE_ARMED, ARMED, CAN_FLY, FLYING, LOCKED, BY_ITSELF = (1 << bit for bit in (0, 1, 3, 4, 6, 8))


class Rates(NamedTuple):
    """What the firmware makes of a roll-pitch-yaw-thrust packet: the gyro's values that it aims at, and the thrust."""

    x: float  # deg/s, forward
    y: float  # deg/s, left
    z: float  # deg/s, up
    thrust: int
    as_rates: bool  # else x and y are angles


@dataclass
class Block:
    variables: list[str]
    period: float = 0.0  # s; 0 is not started
    due: float = 0.0


@dataclass
class CrazyfliePeer:
    """Public attributes are the vehicle's memory: a test reads what arrived, and sets what is told."""

    parameters: dict[str, tuple[int, float]] = field(
        default_factory=lambda: {
            "stabilizer.controller": (UINT8, 2),
            "flightmode.stabModeRoll": (UINT8, 1),
            "flightmode.stabModePitch": (UINT8, 1),
            "flightmode.stabModeYaw": (UINT8, 0),
            "flightmode.althold": (UINT8, 0),
            "supervisor.tmblChckEn": (UINT8 | EXTENDED, 1),
            "commander.enHighLevel": (UINT8, 0),
            "deck.bcMultiranger": (UINT8, 1),
            "pm.lowVoltage": (FLOAT_PARAM, 3.2),
        }
    )
    told: dict[str, tuple[int, float]] = field(
        default_factory=lambda: {
            **{f"stateEstimateZ.{name}": (5, 0) for name in ("x", "y", "z", "vx", "vy", "vz")},
            "stateEstimateZ.quat": (3, 0xC0000000),  # the largest is w, the others are 0
            **{f"stateEstimateZ.{name}": (5, 0) for name in ("rateRoll", "ratePitch", "rateYaw")},
            "stateEstimate.z": (7, 0.0),
            "supervisor.info": (2, CAN_BE_ARMED),
            "pm.vbat": (7, 3.85),
            **{f"range.{side}": (2, 32766) for side in ("front", "back", "left", "right", "up")},
        }
    )
    protocol: int = 12
    clock_ms: int = (1 << 24) - 300  # the time stamps of log data begin here, and begin anew 0.3 s later
    stubborn: set[str] = field(default_factory=set[str])  # parameters that keep their value
    mute: bool = False
    received: list[tuple[int, int, bytes]] = field(default_factory=list[tuple[int, int, bytes]])
    flown: list[Rates] = field(default_factory=list[Rates])
    thrust_locked: bool = True

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.uri = f"udp://127.0.0.1:{self._socket.getsockname()[1]}"
        self._client: tuple[str, int] | None = None
        self.blocks: dict[int, Block] = {}
        self._start = time.monotonic()
        self._ends, self._chat, self.lands_at = False, 0.0, 0.0
        self._thread = threading.Thread(target=self._serve, name="crazyflie peer")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends = True
        self._thread.join()
        self._socket.close()

    def tell(self, **values: float) -> None:
        """Set log variables by their names after the group: tell(x=1200) is stateEstimateZ.x."""
        for short, value in values.items():
            for name, (kind, _) in self.told.items():
                if name.split(".")[1] == short and name != "stateEstimate.z":
                    self.told[name] = (kind, value)

    @property
    def info(self) -> int:
        return int(self.told["supervisor.info"][1])

    @info.setter
    def info(self, bits: int) -> None:
        self.told["supervisor.info"] = (2, bits)

    def on(self, port: int, channel: int | None = None) -> list[bytes]:
        """The data of all packets that arrived at a port, and channel."""
        return [data for p, c, data in list(self.received) if p == port and channel in (None, c)]

    def _serve(self) -> None:
        while not self._ends:
            ready, _, _ = select.select([self._socket], [], [], 0.002)
            if ready:
                packet, self._client = self._socket.recvfrom(64)
                if packet[0] != 0xFF and not self.mute:
                    port, channel, data = packet[0] >> 4, packet[0] & 3, packet[1:]
                    self.received.append((port, channel, data))
                    self._take(port, channel, data)
            now = time.monotonic()
            if self._client and not self.mute and now >= self._chat:
                self._chat = now + 0.01
                self._answer(CONSOLE, 0, b" ")  # cflib's threads wait up to a second for a packet before they end
            if self.lands_at and now >= self.lands_at:
                self.lands_at = 0.0
                self.info &= ~(BY_ITSELF | FLYING)
                self._rise(0.0)
            for number, block in list(self.blocks.items()):
                if block.period and now >= block.due and not self.mute:
                    block.due = max(block.due + block.period, now)
                    stamp = (self.clock_ms + round(1000 * (now - self._start))) % (1 << 24)
                    values = b"".join(
                        struct.pack(LOG_FORMATS[k], v) for k, v in (self.told[n] for n in block.variables)
                    )
                    self._answer(LOGGING, 2, bytes([number]) + stamp.to_bytes(3, "little") + values)

    def _answer(self, port: int, channel: int, data: bytes) -> None:
        assert self._client is not None
        assert len(data) <= 30, "more than a packet of CRTP carries"
        self._socket.sendto(bytes([port << 4 | 3 << 2 | channel]) + data, self._client)

    def _take(self, port: int, channel: int, data: bytes) -> None:
        if port == LINK:
            self._answer(port, channel, data if channel == 0 else b"Bitcraze Crazyflie".ljust(30, b"\0"))
        elif port == PLATFORM and channel == 1 and data[0] == 0:
            self._answer(port, channel, bytes([0, self.protocol]))
        elif port == MEM and channel == 0 and data[0] == 1:
            self._answer(port, channel, bytes([1, 0]))
        elif port in (PARAM, LOGGING) and channel == 0:
            self._contents(port, data)
        elif port == PARAM:
            self._parameter(channel, data)
        elif port == LOGGING and channel == 1:
            self._control(data)
        elif port == SUPERVISOR and channel == 1 and data[0] == 1:
            self._arm(bool(data[1]))
        elif port == COMMANDER:
            self._setpoint(data)
        elif port == GENERIC and channel == 0 and data[0] == 0:
            self.info &= ~(FLYING | BY_ITSELF)
        elif port == HIGH_LEVEL:
            self._fly_itself(data)
            self._answer(port, 0, data[:3] + b"\0")

    def _contents(self, port: int, data: bytes) -> None:
        """The table of contents, version 2: how many and their fingerprint, or one of them."""
        table = self.parameters if port == PARAM else self.told
        if data[0] == 3:
            fingerprint = zlib.crc32(repr([(name, kind) for name, (kind, _) in table.items()]).encode())
            limits = b"\x10\x80" if port == LOGGING else b""  # 16 blocks, 128 variables
            self._answer(port, 0, struct.pack("<BHI", 3, len(table), fingerprint) + limits)
        elif data[0] == 2:
            name = list(table)[struct.unpack("<H", data[1:3])[0]]
            text = "".join(f"{part}\0" for part in name.split(".")).encode()
            self._answer(port, 0, data[:3] + bytes([table[name][0]]) + text)

    def _parameter(self, channel: int, data: bytes) -> None:
        if channel == 3:  # extended type, version 2: persistent
            self._answer(PARAM, 3, data[:3] + b"\0\1")
            return
        name = list(self.parameters)[struct.unpack("<H", data[:2])[0]]
        kind, value = self.parameters[name]
        form = PARAM_FORMATS[kind & ~EXTENDED]
        if channel == 2 and name not in self.stubborn:
            (value,) = struct.unpack(form, data[2:])
            self.parameters[name] = (kind, value)
        status = b"\0" if channel == 1 else b""
        self._answer(
            PARAM, channel, data[:2] + status + struct.pack(form, value if kind == FLOAT_PARAM else int(value))
        )

    def _control(self, data: bytes) -> None:
        """Blocks of log variables: made, added to, deleted, started (period in tens of ms), stopped, all forgotten."""
        command, number = data[0], data[1] if len(data) > 1 else 0
        if command in (6, 7):
            names = list(self.told)
            added = [names[data[at + 1] | data[at + 2] << 8] for at in range(2, len(data) - 2, 3)]
            if command == 6:
                self.blocks[number] = Block([])
            self.blocks[number].variables += added
        elif command == 3:
            block = self.blocks[number]
            block.period = data[2] / 100.0
            block.due = time.monotonic() + block.period
        elif command == 4:
            self.blocks[number].period = 0.0
        elif command == 2:
            del self.blocks[number]
        elif command == 5:
            self.blocks.clear()
        self._answer(LOGGING, 1, bytes([command, number, 0]))

    def _arm(self, do: bool) -> None:
        if not do and self.info & FLYING:
            self.info = LOCKED  # disarmed in the air: motors off until it is switched off and on
        elif not self.info & LOCKED:
            self.info = ARMED | CAN_FLY if do else CAN_BE_ARMED
        self._answer(SUPERVISOR, 1, bytes([0x81, 1, bool(self.info & ARMED)]))

    def _setpoint(self, data: bytes) -> None:
        roll, pitch, yaw, thrust = struct.unpack("<fffH", data)
        if thrust == 0:
            self.thrust_locked = False
        thrust = 0 if self.thrust_locked or thrust < 1000 else thrust
        as_rates = all(self.parameters[f"flightmode.stabMode{axis}"][1] == 0 for axis in ("Roll", "Pitch"))
        # attitudeRate is roll, to be gyro.x; pitch, to be -gyro.y; -yaw, to be gyro.z.
        self.flown.append(Rates(roll, -pitch, -yaw, thrust, as_rates))
        self.info &= ~BY_ITSELF  # a setpoint from outside preempts the high-level commander
        if thrust and self.info & ARMED:
            self.info |= FLYING

    def _fly_itself(self, data: bytes) -> None:
        command = data[0]
        if command == 7 and self.info & ARMED:
            self._rise(*struct.unpack("<f", data[2:6]))
            self.info |= FLYING | BY_ITSELF
        elif command == 12:
            self.info |= BY_ITSELF
        elif command == 8 and not self.lands_at:
            self.info |= BY_ITSELF
            self.lands_at = time.monotonic() + 0.3
        elif command == 3:
            self.info &= ~BY_ITSELF

    def _rise(self, height: float) -> None:
        self.told["stateEstimate.z"] = (7, height)
        self.told["stateEstimateZ.z"] = (5, round(1000 * height))
