"""Measurements over UDP: what a motion-capture system, or a simulated vehicle, says in one datagram after another.

A datagram is one JSON object, at most 8 kB. World z up (east-north-up), body forward-left-up, quaternions wxyz, SI:

    {"sequence": 17, "time": 3.214, "position": [x, y, z], "attitude": [w, x, y, z], …}

`sequence` counts the sender's datagrams, `time` is the moment of measuring on the sender's clock (s); both grow. All
other keys are measurements by the names of the policy's contract, each a list of numbers in the contract's order
(matrices row by row), or of a body's motion, for the limits; all others are passed over. What arrives damaged, doubled
or after a newer one is dropped and counted.

A sender that was started again may count from 0: a number far back, or any number after 0.25 s in which nothing was
taken, begins a new count. Its `time` must go on growing all the same.

    source = MocapSource(port=7700)                              # on board
    sender = MocapSender("192.168.1.20", 7700)                   # in the room
    sender.send(time, {"position": (0.0, 0.0, 1.0)})
"""

from __future__ import annotations

import json
import math
import socket
from time import monotonic
from typing import Any, Callable, Mapping, Sequence, cast

from ..contract import Contract
from ..errors import UserError
from ..safety.checks import BODY
from ..vehicle import Sample
from .source import Source

PORT = 7700
LONGEST = 8192
_MOST_AT_ONCE = 256
_LATE = 16  # how far back a number is late, not the beginning of a new count
_NEW_AFTER = 0.25  # s without anything taken, and whatever arrives begins a new count


class MocapSource(Source):
    """Listens on a UDP port; `measures` names what the sender delivers, with commas."""

    def __init__(
        self,
        clock: Callable[[], float] = monotonic,
        *,
        host: str = "127.0.0.1",
        port: int = PORT,
        measures: str = "position,velocity,attitude,gyro",
    ) -> None:
        self.provides = tuple(name for name in measures.split(",") if name)
        self._address = host, port
        self._sizes: dict[str, int] = {}
        self._clock = clock
        self._last, self._taken = -1, clock()  # the newest number, and when it was taken
        self._socket: socket.socket | None = None
        self.dropped = 0

    def open(self, contract: Contract) -> None:
        """Listen."""
        sizes = {**BODY, **{port.name: port.size for port in contract.inputs}}
        self._sizes = {name: size for name, size in sizes.items() if name in self.provides}
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            listening.bind(self._address)
        except OSError as error:
            listening.close()
            host, port = self._address
            raise UserError(f"cannot listen for measurements on {host}:{port}: {error.strerror}") from error
        listening.setblocking(False)
        self._socket = listening

    def poll(self) -> list[Sample]:
        """What has arrived, oldest first."""
        samples: list[Sample] = []
        now = self._clock()
        for _ in range(_MOST_AT_ONCE):
            if self._socket is None:
                break
            try:
                data = self._socket.recv(LONGEST)
            except (BlockingIOError, ConnectionRefusedError):
                break
            try:
                sequence, found = parse(data, self._sizes)
            except ValueError:
                self.dropped += 1
                continue
            is_new_count = sequence < self._last - _LATE or now - self._taken > _NEW_AFTER
            if sequence <= self._last and not is_new_count:
                self.dropped += 1
                continue
            self._last, self._taken = sequence, now
            samples += found
        return samples

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class MocapSender:
    """Sends measurements to a `MocapSource`."""

    def __init__(self, host: str = "127.0.0.1", port: int = PORT) -> None:
        self._address = host, port
        self._sequence = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def send(self, time: float, measured: Mapping[str, Sequence[float]]) -> None:
        """One datagram; lost if nobody listens."""
        document: dict[str, object] = {"sequence": self._sequence, "time": time}
        document.update({name: [round(float(value), 6) for value in values] for name, values in measured.items()})
        self._sequence += 1
        try:
            self._socket.sendto(json.dumps(document).encode(), self._address)
        except (BlockingIOError, ConnectionRefusedError):
            return

    def close(self) -> None:
        """Let go."""
        self._socket.close()


def parse(data: bytes, sizes: Mapping[str, int]) -> tuple[int, list[Sample]]:
    """Sequence number and samples of one datagram; ValueError where it is none. `sizes` are those of what is wanted.

    Numbers that are not finite are passed on as they are: the safety net must see them.
    """
    try:
        found: object = json.loads(data.decode("utf-8"), parse_int=_short)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(found, dict):
        raise ValueError("not an object")
    document = cast("dict[str, Any]", found)
    sequence, time = document.get("sequence"), document.get("time", math.nan)
    is_time = isinstance(time, (int, float)) and not isinstance(time, bool) and math.isfinite(time)
    if type(sequence) is not int or not is_time:
        raise ValueError("no sequence number, or no time")
    samples: list[Sample] = []
    for name, size in sizes.items():
        values = document.get(name)
        if values is None:
            continue
        if type(values) is not list or len(values) != size or any(type(v) not in (int, float) for v in values):
            raise ValueError(f"{name} is not a list of {size} numbers")
        samples.append(Sample(name, tuple(float(v) for v in values), float(time)))
    return sequence, samples


def _short(text: str) -> int:
    if len(text) > 18:
        raise ValueError("a whole number of too many digits")
    return int(text)
