"""The program that holds Isaac Gym: started, asked, and its end noticed.

    process = WorkerProcess(["/opt/rlgpu/bin/python"], {}, arrays)
    process.arrays["control"][:] = commands          # torch tensors in memory that both sides map
    process.ask({"do": "step", "substeps": 4})       # returns when it is done

The memory has no name and the channel no address: when either side ends, however it ends, nothing is left behind, and
the worker ends with the run that started it.
"""

import json
import mmap
import os
import shutil
import socket
import subprocess
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from robo_ppo.errors import UserError

WORKER = Path(__file__).with_name("worker.py")
_ALIGNMENT = 64
_LAST_WORDS = 2000
_SECONDS_TO_END = 5.0


class WorkerProcess:
    """A worker in its own interpreter, with arrays {name: (dtype, shape)} in common."""

    def __init__(
        self,
        python: str,
        environment: Mapping[str, str],
        arrays: Mapping[str, tuple[type[np.generic], tuple[int, ...]]],
    ) -> None:
        executable = shutil.which(python)
        if executable is None:
            raise UserError(
                f"sim.isaac_gym.python={python or '?'}: no such program. Isaac Gym needs an interpreter of its "
                "own (Python 3.8 or older, with isaacgym and torch); docs/isaac_gym.md says how to make one"
            )
        self._python = executable
        self.specification, size = _places(arrays)
        self._log = tempfile.TemporaryFile()
        self._log_read = 0
        ours, theirs = socket.socketpair()
        descriptor = os.memfd_create("robo_ppo-isaac_gym")
        try:
            os.ftruncate(descriptor, size)
            memory = mmap.mmap(descriptor, size)
            self._process = subprocess.Popen(
                [executable, str(WORKER), str(theirs.fileno()), str(descriptor)],
                pass_fds=(theirs.fileno(), descriptor),
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
            )
        finally:
            os.close(descriptor)
            theirs.close()
        self.arrays = _tensors(memory, self.specification)
        self._lines = ours.makefile("rw", encoding="utf-8")
        self._channel = ours
        self._end = weakref.finalize(self, _end, ours, self._lines, self._process, self._log)
        self._receive()  # it has imported Isaac Gym

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def ask(self, request: Mapping[str, Any]) -> None:
        """Let the worker do something and wait until it is done; its errors are raised here."""
        try:
            self._lines.write(json.dumps(request) + "\n")
            self._lines.flush()
        except OSError:
            pass  # it has ended; receiving says how
        self._receive()

    def check_log(self) -> None:
        """Raise where PhysX has said, since the last call, that it dropped contacts for want of memory."""
        text = self._printed(self._log_read)
        self._log_read += len(text)
        for line in text.decode(errors="replace").splitlines():
            if "overflow" in line.lower() or "have been dropped" in line.lower():
                raise UserError(
                    f"Isaac Gym lost contacts; raise sim.isaac_gym.max_gpu_contact_pairs or take fewer environments. "
                    f"It printed: {line.strip()}"
                )

    def close(self) -> None:
        """End the worker; what it held is gone."""
        self._end()

    def _receive(self) -> None:
        try:
            line = self._lines.readline()
        except OSError:
            line = ""
        if not line:
            raise self._ended()
        reply: dict[str, str] = json.loads(line)
        if "mistake" in reply:
            raise UserError(f"{reply['mistake']}{self._last_words()}")
        if "fault" in reply:
            raise RuntimeError(f"the Isaac Gym worker failed; in {self._python}:\n{reply['fault']}")

    def _ended(self) -> Exception:
        code = self._process.wait()
        words = self._last_words()
        if "ModuleNotFoundError" in words or "ImportError" in words:
            return UserError(
                f"sim.isaac_gym.python={self._python} cannot run Isaac Gym; it needs isaacgym, torch and numpy "
                f"(docs/isaac_gym.md){words}"
            )
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return RuntimeError(f"the Isaac Gym worker ended ({how}){words}")

    def _last_words(self) -> str:
        """The end of what the worker printed; Isaac Gym explains itself there and nowhere else."""
        text = self._printed(0).decode(errors="replace").strip()
        return f"; it printed:\n{text[-_LAST_WORDS:]}" if text else ""

    def _printed(self, start: int) -> bytes:
        """What stands in the log from a place on; the worker's own place in it must not move."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), max(0, size - start), start)


def _places(
    arrays: Mapping[str, tuple[type[np.generic], tuple[int, ...]]],
) -> tuple[list[tuple[str, str, tuple[int, ...], int]], int]:
    """Where each array lies (name, dtype, shape, offset), and the size of all."""
    places: list[tuple[str, str, tuple[int, ...], int]] = []
    offset = 0
    for name, (kind, shape) in arrays.items():
        places.append((name, np.dtype(kind).str, shape, offset))
        size = np.dtype(kind).itemsize * int(np.prod(shape))
        offset += -(-size // _ALIGNMENT) * _ALIGNMENT
    return places, max(offset, _ALIGNMENT)


def _tensors(memory: mmap.mmap, places: Sequence[tuple[str, str, tuple[int, ...], int]]) -> dict[str, Tensor]:
    arrays = {
        name: np.frombuffer(memory, dtype=kind, count=int(np.prod(shape)), offset=offset).reshape(shape)
        for name, kind, shape, offset in places
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _end(channel: socket.socket, lines: IO[str], process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
    for stream in (lines, channel):
        try:
            stream.close()
        except OSError:
            pass  # the other side ended first
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()
