"""MSP, the protocol in which Betaflight and its relatives are configured, watched and, if wanted, steered.

    wire = Msp(open_wire("tcp:127.0.0.1:5761"))     # or "/dev/ttyACM0", with pyserial
    wire.request(API_VERSION)                       # → payload; waits, for the ground
    wire.send(SET_RAW_RC, payload)                  # never waits, for the air
    for command, payload in wire.received(): ...

A message is `$M<`, the payload's length, the command, the payload, and the exclusive or of all bytes from the length
on; an answer has `>` in place of `<`, or `!` where the vehicle knows no such command (MSP, version 1).
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import Any, Callable, Protocol

from ..errors import UserError

LONGEST = 255
_PREFIX = b"$M"
_ATTEMPTS = 4


class Wire(Protocol):
    """Bytes to and from a vehicle."""

    def write(self, data: bytes) -> None:
        """Send all of it, or none where that would have to wait; never the beginning of it alone."""
        ...

    def read(self) -> bytes:
        """What has arrived; never waits."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class LostConnection(Exception):
    """The other end has gone."""


class Msp:
    """Messages over a wire."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._buffer = b""

    def send(self, command: int, payload: bytes = b"") -> None:
        """Send one message; never waits."""
        self._wire.write(message(command, payload))

    def received(self) -> list[tuple[int, bytes]]:
        """All answers that have arrived whole, in order; damaged ones and refusals are left out."""
        self._buffer += self._wire.read()
        answers, self._buffer = parse(self._buffer)
        return [(command, payload) for kind, command, payload in answers if kind == b">"]

    def request(self, command: int, payload: bytes = b"", timeout: float = 2.0) -> bytes:
        """The answer to one message; UserError where the vehicle refuses it or says nothing. Waits.

        A message that gets no answer may have been lost and is sent again, up to `_ATTEMPTS` times in all: to ask or to
        set the same twice does no harm, and a vehicle answers in order, so that nothing asked for later is mistaken.
        """
        start, sent = time.monotonic(), 0
        while (passed := time.monotonic() - start) < timeout:
            try:
                if passed >= sent * timeout / _ATTEMPTS:
                    self.send(command, payload)
                    sent += 1
                self._buffer += self._wire.read()
            except LostConnection as error:
                raise UserError(f"the flight controller is gone: {error}") from error
            answers, self._buffer = parse(self._buffer)
            for kind, answered, content in answers:
                if answered == command and kind == b"!":
                    raise UserError(f"the flight controller refuses MSP command {command}")
                if answered == command:
                    return content
            time.sleep(0.001)
        raise UserError(f"the flight controller did not answer MSP command {command} within {timeout:g} s")

    def close(self) -> None:
        """Close the wire."""
        self._wire.close()


def message(command: int, payload: bytes = b"", direction: bytes = b"<") -> bytes:
    """One message as bytes."""
    if len(payload) > LONGEST:
        raise ValueError(f"a payload of {len(payload)} bytes, where {LONGEST} is the most")
    body = bytes((len(payload), command)) + payload
    return _PREFIX + direction + body + bytes((_checksum(body),))


def parse(data: bytes) -> tuple[list[tuple[bytes, int, bytes]], bytes]:
    """Whole messages in a stream as (direction, command, payload), and the rest, of which more may follow."""
    found: list[tuple[bytes, int, bytes]] = []
    while True:
        start = data.find(_PREFIX)
        if start < 0:
            return found, data[-1:] if data.endswith(_PREFIX[:1]) else b""
        data = data[start:]
        if len(data) < 6 or len(data) < 6 + data[3]:
            return found, data
        end = 5 + data[3]
        if data[2:3] in (b"<", b">", b"!") and _checksum(data[3:end]) == data[end]:
            found.append((data[2:3], data[4], data[5:end]))
            data = data[end + 1 :]
        else:
            data = data[len(_PREFIX) :]


def open_wire(address: str) -> Wire:
    """A wire to `tcp:<host>:<port>`, or to a serial port by its name; UserError where there is none."""
    if address.startswith("tcp:"):
        host, _, port = address[len("tcp:") :].rpartition(":")
        if not host or not port.isdigit():
            raise UserError(f"address={address} must be tcp:<host>:<port>, as tcp:127.0.0.1:5761")
        return TcpWire(host, int(port))
    return SerialWire(address)


class Outbox:
    """Keeps a stream whole: where only the beginning of a message went, the rest goes before any other message.

    `put` sends what goes at once and says how many bytes that were. A message that has to wait is dropped: the next one
    is newer.
    """

    def __init__(self, put: Callable[[bytes], int]) -> None:
        self._put = put
        self._rest = b""

    def write(self, message: bytes) -> None:
        """Send this message, if it goes at once."""
        try:
            if self._rest:
                self._rest = self._rest[self._put(self._rest) :]
            if not self._rest:
                sent = self._put(message)
                self._rest = message[sent:] if sent else b""
        except OSError as error:
            raise LostConnection(str(error)) from error


class TcpWire:
    """A connection, as the firmware's simulator offers it."""

    def __init__(self, host: str, port: int) -> None:
        try:
            self._socket = socket.create_connection((host, port), timeout=2.0)
        except OSError as error:
            raise UserError(f"no flight controller answers at {host}:{port}: {error.strerror or error}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._outbox = Outbox(self._put)

    def write(self, data: bytes) -> None:
        """Send at once."""
        self._outbox.write(data)

    def read(self) -> bytes:
        """What has arrived."""
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise LostConnection(str(error)) from error
        if not data:
            raise LostConnection("closed by the other end")
        return data

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _put(self, data: bytes) -> int:
        with suppress(BlockingIOError):
            return self._socket.send(data)
        return 0


class SerialWire:
    """A serial port, as a real flight controller has it."""

    def __init__(self, name: str, baud: int = 115200) -> None:
        try:
            import serial  # pyright: ignore[reportMissingModuleSource, reportMissingImports]
        except ModuleNotFoundError as error:
            raise UserError("a flight controller on a serial port needs pyserial: pip install pyserial") from error
        module: Any = serial
        try:
            self._port = module.Serial(name, baud, timeout=0, write_timeout=0)
        except (OSError, ValueError) as error:
            raise UserError(f"cannot open the serial port {name}: {error}") from error
        self._outbox = Outbox(lambda data: int(self._port.write(data) or 0))

    def write(self, data: bytes) -> None:
        """Send at once."""
        self._outbox.write(data)

    def read(self) -> bytes:
        """What has arrived."""
        try:
            return bytes(self._port.read(65536))
        except OSError as error:
            raise LostConnection(str(error)) from error

    def close(self) -> None:
        """Close the port."""
        self._port.close()


def _checksum(data: bytes) -> int:
    total = 0
    for byte in data:
        total ^= byte
    return total
