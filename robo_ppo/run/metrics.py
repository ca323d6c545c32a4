"""What a training says about itself: metrics.jsonl, TensorBoard, and lines on the terminal."""

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Self, TextIO

from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.record_writer import RecordWriter

from robo_ppo.errors import UserError
from robo_ppo.run.output import silence


class MetricsLog:
    """Appends rows of numbers to metrics.jsonl and TensorBoard; on a resume, rows beyond the checkpoint are dropped.

    A context manager: what is buffered is written out at its end.
    """

    def __init__(self, folder: Path, from_step: int) -> None:
        self._path = folder / "metrics.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["step"] <= from_step] if from_step else []
        with self._writing():
            fresh = self._path.with_suffix(".tmp")
            fresh.write_text("".join(kept))
            fresh.replace(self._path)
            self._file = self._path.open("a")
            self._board = _Board(folder / "tensorboard", from_step)

    def write(self, row: Mapping[str, float]) -> None:
        """One row; `step` is the number of environment steps so far."""
        with self._writing():
            self._file.write(json.dumps(dict(row)) + "\n")
            self._file.flush()
            self._board.write(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        # A full disk has been reported by then.
        with nullcontext() if error[0] is None else suppress(UserError), self._writing():
            self._board.close()
            self._file.close()

    def _lines(self) -> list[str]:
        if not self._path.is_file():
            return []
        # A killed run may leave half a line at the end.
        return [line for line in self._path.read_text().splitlines(keepends=True) if line.endswith("}\n")]

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write {self._path.parent}: {error.strerror or error}; the last checkpoint is unharmed"
            ) from error


class _Board:
    """TensorBoard's event file, written in place: the thread of its own writer would report a full disk by itself."""

    def __init__(self, folder: Path, from_step: int) -> None:
        folder.mkdir(exist_ok=True)
        self._file = (folder / f"events.out.tfevents.{time.time_ns()}.{platform.node()}.{os.getpid()}").open("wb")
        self._records = RecordWriter(self._file)
        self._put(file_version="brain.Event:2")
        if from_step:  # what an earlier session has written from this step on does not count
            self._put(step=from_step + 1, session_log=SessionLog(status=SessionLog.START))

    def write(self, row: Mapping[str, float]) -> None:
        """Every number of a row as a scalar."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if name != "step"]
        self._put(step=int(row["step"]), summary=Summary(value=values))

    def close(self) -> None:
        """No more rows will come."""
        self._file.close()

    def _put(self, **content: object) -> None:
        self._records.write(Event(wall_time=time.time(), **content).SerializeToString())
        self._file.flush()


class Progress:
    """Where the training stands: a bar that renews itself on a terminal, a plain line now and then elsewhere."""

    def __init__(self, total: int, steps: int = 0, out: TextIO | None = None, every_seconds: float = 10.0) -> None:
        self._total, self._first, self._every = total, steps, every_seconds
        self._out = out or sys.stdout
        self._is_terminal = self._out.isatty()
        self._started = time.monotonic()
        self._shown_at = float("-inf")
        self._hidden: str | None = None

    def show(self, steps: int, success: float | None, validation: float | None) -> None:
        """Say where we are, if it is time to."""
        now = time.monotonic()
        self._hidden = self._line(steps, (steps - self._first) / max(now - self._started, 1e-9), success, validation)
        if now - self._shown_at >= (0.2 if self._is_terminal else self._every):
            self._shown_at = now
            self._put(self._hidden)

    def end(self) -> None:
        """Show where it ended, and leave that standing."""
        if self._hidden is not None:
            self._put(self._hidden)
        if self._is_terminal and self._shown_at > float("-inf"):
            self._out.write("\n")
            self._out.flush()

    def _line(self, steps: int, speed: float, success: float | None, validation: float | None) -> str:
        rest = max(0, self._total - steps) / speed
        parts = [
            f"{steps / 1e6:6.2f} / {self._total / 1e6:.2f} M steps",
            f"{speed / 1e3:5.0f}k steps/s",
            f"success {success:.1%}" if success is not None else "success  –  ",
            f"validation {validation:.1%}" if validation is not None else "validation  –  ",
            f"at most {int(rest) // 60}:{int(rest) % 60:02d} to go",
        ]
        line = "  ".join(parts)
        if not self._is_terminal:
            return line
        width = min(24, shutil.get_terminal_size().columns - len(line) - 4)
        done = round(max(0, width) * min(1.0, steps / self._total))
        return (f"[{'█' * done}{' ' * (width - done)}] " if width > 4 else "") + line

    def _put(self, line: str) -> None:
        try:
            self._out.write(f"\r\x1b[2K{line}" if self._is_terminal else f"{line}\n")
            self._out.flush()
        except BrokenPipeError:  # the reader has gone, which is no reason to end a training
            silence()
        self._hidden = None
