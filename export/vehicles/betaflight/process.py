"""Runs the firmware: one program with its own folder, settings and time, which ends when we do.

    with Firmware(settings) as firmware:          # lines of the firmware's command line
        firmware.send(Motion(…))                  # about a thousand times a second
        outputs = firmware.motors()               # (4,) in [0, 1]: front left, front right, back left, back right

The firmware's ports are fixed (UDP 9001 to 9004, TCP 5761), so only one can run on a machine: a second one waits for
the lock of the first. Settings are written once over its command line and kept as a file in the cache; a flight starts
from a copy of it. Now and then the program hangs when it starts; it is then started again.
"""

import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.betaflight import firmware

HOST = "127.0.0.1"
MOTORS, STATE, COMMAND_LINE = 9002, 9003, 5761
_PACKET = struct.Struct("<18d")
_OUTPUTS = struct.Struct("<4f")
# The packet's motors are front right, back left, front left, back right (`pwmCompleteMotorUpdate` in its sitl.c).
_ORDER = (2, 0, 1, 3)
_ATTEMPTS = 20
_READY_WITHIN = 10.0  # s
_ANSWERS = 20  # to be sure of it; the first packet is always answered
_OUTPUT, _PORTS_ARE_OPEN = "output.txt", "bind port"
_LOCK_WITHIN = 600.0  # s, as long as another program's flights may take
_SET_TIMER_SLACK, _SET_PARENT_DEATH_SIGNAL = 29, 1  # of Linux' prctl
_SEA_LEVEL = 101325.0  # Pa
# The firmware sets the pace of its clock by the time stamps of two packets over the time between their arrivals, which
# makes it leap when packets arrive close together. Where the stamps do not grow, it keeps its own, true time.
_ALWAYS = 0.0  # s


@dataclass(frozen=True)
class Motion:
    """What the firmware's sensors feel, in our frames: body forward-left-up, world z up, quaternion wxyz, SI."""

    attitude: Sequence[float]
    gyro: Sequence[float]
    specific_force: Sequence[float]
    position: Sequence[float]
    velocity: Sequence[float]


class Firmware:
    """The running firmware, with the given settings; a context manager that starts and ends it."""

    def __init__(self, settings: Sequence[str]) -> None:
        self._settings = tuple(settings)
        self._program = firmware.find()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._open.enter_context(_machine_lock())
            self._folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="betaflight-")))
            self._socket = self._open.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            self._socket.bind((HOST, MOTORS))
            self._socket.setblocking(False)
            self._open.callback(self._end)
            kept = self._configured()
            shutil.copy(kept, self._folder / "eeprom.bin")
            self._start()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def send(self, motion: Motion) -> None:
        """Let the sensors feel this now."""
        w, x, y, z = motion.attitude
        p, q, r = motion.gyro
        pressure = _SEA_LEVEL * (1.0 - 2.25577e-5 * motion.position[2]) ** 5.25588
        packet = _PACKET.pack(
            _ALWAYS,
            *(p, -q, -r),
            *(-value for value in motion.specific_force),
            *(w, x, -y, -z),
            *motion.velocity,
            *motion.position,
            pressure,
        )
        # A program that has just ended refuses: `check` will say so.
        with suppress(ConnectionRefusedError):
            self._socket.sendto(packet, (HOST, STATE))

    def motors(self) -> NDArray[np.float64] | None:
        """The newest outputs of the four motors (in the order of `robo_ppo.robots.multirotor.ROTORS`), if any came."""
        newest = None
        with suppress(BlockingIOError):
            while True:
                newest = self._socket.recv(64)
        if newest is None or len(newest) != _OUTPUTS.size:
            return None
        values = _OUTPUTS.unpack(newest)
        return np.array([values[i] for i in _ORDER])

    def check(self) -> None:
        """Raise if the program has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"Betaflight ended with exit code {self._process.returncode}; {self._said()}")

    def _start(self) -> None:
        """Start the program, again and again until its motors answer."""
        for _ in range(_ATTEMPTS):
            self._run()
            if self._opens_its_ports() and self._answers():
                return
            self._end()
        raise UserError(f"Betaflight was started {_ATTEMPTS} times, and its motors never answered; {self._said()}")

    def _opens_its_ports(self) -> bool:
        """Wait until its sensors are set up: it opens its ports right after that. A packet before would end it."""
        until = time.monotonic() + _READY_WITHIN
        while time.monotonic() < until and self._process.poll() is None:
            if _PORTS_ARE_OPEN in (self._folder / _OUTPUT).read_text(errors="replace"):
                return True
            time.sleep(0.01)
        return False

    def _answers(self) -> bool:
        """Whether its motors answer to a vehicle at rest.

        Its scheduler never begins with the rate loop if, by chance, more than two of the loop's periods have gone when
        it first looks at the clock; everything else then works.
        """
        rest = Motion((1, 0, 0, 0), (0, 0, 0), (0, 0, 9.81), (0, 0, 0), (0, 0, 0))
        answers = 0
        for _ in range(10 * _ANSWERS):
            self.send(rest)
            time.sleep(0.001)
            answers += self.motors() is not None
            if answers == _ANSWERS:
                return True
        return False

    def _run(self) -> None:
        with (self._folder / _OUTPUT).open("w") as output:
            self._process = subprocess.Popen(
                [self._program, HOST],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_prepare_child,
            )

    def _end(self) -> None:
        process = getattr(self, "_process", None)
        if process is not None:
            process.kill()
            process.wait()

    def _configured(self) -> Path:
        """The file of settings, made once."""
        name = hashlib.sha256("\n".join((str(self._program), *self._settings)).encode()).hexdigest()[:16]
        kept = firmware.cache() / f"eeprom-{name}.bin"
        if not kept.exists():
            self._start()
            configure(self._settings)
            try:
                self._process.wait(5.0)  # saving ends it
            except subprocess.TimeoutExpired:
                raise UserError(f"Betaflight did not save its settings; {self._said()}") from None
            kept.parent.mkdir(parents=True, exist_ok=True)
            half = kept.with_suffix(".half")
            shutil.copy(self._folder / "eeprom.bin", half)
            half.replace(kept)
        return kept

    def _said(self) -> str:
        lines = (self._folder / _OUTPUT).read_text(errors="replace").splitlines()
        told = [line for line in lines if "FLASH_ProgramWord" not in line]
        return "it said last: " + " | ".join(told[-3:])


def configure(settings: Sequence[str]) -> None:
    """Give settings to the running firmware over its command line, and save them, which ends it."""
    with socket.create_connection((HOST, COMMAND_LINE), timeout=20.0) as wire:
        wire.sendall(b"#")
        _prompt(wire)
        for line in settings:
            wire.sendall(line.encode() + b"\n")
            answer = _prompt(wire)
            if "###ERROR" in answer or "INVALID" in answer.upper():
                raise UserError(f"Betaflight refuses '{line}': {' '.join(answer.split())}")
        wire.sendall(b"save\n")
        with suppress(OSError):
            while wire.recv(4096):
                pass


def _prompt(wire: socket.socket) -> str:
    """What the command line answers, up to its next prompt."""
    answer = b""
    while not answer.endswith(b"\r\n# "):
        got = wire.recv(4096)
        if not got:
            raise UserError("Betaflight closed its command line")
        answer += got
    return answer.decode(errors="replace")


@contextmanager
def _machine_lock() -> Generator[None]:
    """Hold the machine's one set of ports; wait for another program that does."""
    firmware.cache().mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + _LOCK_WITHIN
    with (firmware.cache() / "lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise UserError("another Betaflight has been flying here for ten minutes; end it first") from None
                time.sleep(0.1)
        yield


def _prepare_child() -> None:
    """End with the parent; and wake from sleeps on time, without which its loops run at half their rate."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl
        prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        prctl(_SET_TIMER_SLACK, 1, 0, 0, 0)
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
