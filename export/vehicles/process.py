"""A simulated vehicle in a process of its own, started, watched and ended.

with VehicleProcess("robo_ppo.export.vehicles.mavlink", "task=uav_nav", "episode=3") as vehicle:
    vehicle.wait_for("ready")          # a line of JSON with that key
    …
    vehicle.wait_for("outcome")        # → {"episode": 3, "outcome": "success", "steps": 231}
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from robo_ppo.errors import UserError

STARTING = 120.0  # s: the task is built first, on a machine that may be busy


class VehicleProcess:
    """A module run with `python -m`, which says what happens in lines of JSON, and ends with this process."""

    def __init__(self, module: str, *settings: str) -> None:
        command = [sys.executable, "-m", module, *settings, f"parent={os.getpid()}"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._changed = threading.Condition()
        self._reports: list[dict[str, Any]] = []
        self._errors: list[str] = []
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> "VehicleProcess":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def reports(self) -> Sequence[dict[str, Any]]:
        """All lines so far."""
        return tuple(self._reports)

    def wait_for(self, key: str, seconds: float = STARTING, **values: object) -> dict[str, Any]:
        """The first line with this key and these values; UserError with what the process said where none comes."""

        def found() -> dict[str, Any] | None:
            wanted = values.items()
            return next((r for r in self._reports if key in r and all(r.get(k) == v for k, v in wanted)), None)

        end = time.monotonic() + seconds
        with self._changed:
            while True:
                report = found()
                if report is not None:
                    return report
                if self._process.poll() is not None or time.monotonic() > end:
                    break
                self._changed.wait(0.1)
        if self._process.poll() is not None:
            self._threads[1].join(2.0)
        said = "".join(self._errors).strip().removeprefix("error: ")
        what = "ended" if self._process.poll() is not None else f"did not tell '{key}' within {seconds:g} s"
        raise UserError(f"the simulated vehicle {what}{said and ': ' + said}")

    def last(self, key: str, **values: object) -> dict[str, Any]:
        """The newest such line; waits for one if there is none yet."""
        first = self.wait_for(key, STARTING, **values)
        found = [r for r in self.reports if key in r and all(r.get(k) == v for k, v in values.items())]
        return found[-1] if found else first

    def stop(self) -> int:
        """End it as Ctrl-C would, so that it writes what it has; its exit code."""
        if self._process.poll() is None:
            self._process.terminate()
        try:
            return self._process.wait(20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            for thread in self._threads:
                thread.join(2.0)
            for stream in (self._process.stdout, self._process.stderr):
                if stream is not None:
                    stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                with self._changed:
                    self._reports.append(json.loads(line))
                    self._changed.notify_all()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line)
