"""What a training says about itself: metrics.jsonl, the logger that was chosen, and lines on the terminal."""

import json
import shutil
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Self, TextIO

from robo_ppo import atomic
from robo_ppo.config import RunConfig
from robo_ppo.env.vector import Score
from robo_ppo.errors import UserError
from robo_ppo.run.loggers import NoLogger, open_logger
from robo_ppo.run.output import silence


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.jsonl; none where there is no file."""
    lines = path.read_text().splitlines() if path.is_file() else []
    # A killed run may leave half a line at the end.
    return [json.loads(line) for line in lines if line.endswith("}")]


class MetricsLog:
    """Appends rows of numbers to metrics.jsonl and the logger; on a resume, rows beyond the checkpoint are dropped.

    A context manager: what is buffered is written out at its end. Without a configuration there is no logger.
    """

    def __init__(self, folder: Path, from_step: int, config: RunConfig | None = None) -> None:
        self._path = folder / "metrics.jsonl"
        rows = read_rows(self._path)
        known_step = rows[-1]["step"] if rows else 0.0
        with self._writing():
            # First, since a logger that cannot start must leave the rows as they are.
            self._logger = NoLogger() if config is None else open_logger(config, folder, from_step, known_step)
            atomic.write(self._path, "".join(_line(row) for row in rows if row["step"] <= from_step))
            self._file = self._path.open("a")

    def write(self, row: Mapping[str, float]) -> None:
        """One row; `step` is the number of environment steps so far."""
        with self._writing():
            self._file.write(_line(row))
            self._file.flush()
            self._logger.write(row)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        failed = error[0] is not None
        # A full disk has been reported by then.
        with suppress(UserError) if failed else nullcontext(), self._writing():
            self._logger.close(failed=failed)
            self._file.close()

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"cannot write {self._path.parent}: {error.strerror or error}; the last checkpoint is unharmed"
            ) from error


def _line(row: Mapping[str, float]) -> str:
    return json.dumps(dict(row)) + "\n"


def score_text(score: Score, value: float | None) -> str:
    """A mean score for a reader: per cent of success, or the return."""
    if value is None:
        return " –  "
    return f"{value:.1%}" if score == "success" else f"{value:,.1f}"


class Progress:
    """Where the training stands: a bar that renews itself on a terminal, a plain line now and then elsewhere."""

    def __init__(
        self, total: int, score: Score, steps: int = 0, out: TextIO | None = None, every_seconds: float = 10.0
    ) -> None:
        self._total, self._first, self._every = total, steps, every_seconds
        self._score: Score = score
        self._out = out or sys.stdout
        self._is_terminal = self._out.isatty()
        self._started = time.monotonic()
        self._shown_at = float("-inf")
        self._hidden: str | None = None

    def show(self, steps: int, training: float | None, validation: float | None) -> None:
        """Say where we are, if it is time to; both are scores."""
        now = time.monotonic()
        self._hidden = self._line(steps, (steps - self._first) / max(now - self._started, 1e-9), training, validation)
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

    def _line(self, steps: int, speed: float, training: float | None, validation: float | None) -> str:
        rest = max(0, self._total - steps) / speed
        parts = [
            f"{steps / 1e6:6.2f} / {self._total / 1e6:.2f} M steps",
            f"{speed / 1e3:5.0f}k steps/s",
            f"{self._score} {score_text(self._score, training)}",
            f"validation {score_text(self._score, validation)}",
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
