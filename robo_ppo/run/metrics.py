"""What a training says about itself: metrics.jsonl, TensorBoard, and lines on the terminal."""

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO


class MetricsLog:
    """Appends rows of numbers to metrics.jsonl and TensorBoard; after a resume, rows beyond the checkpoint are dropped."""

    def __init__(self, folder: Path, from_step: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._path = folder / "metrics.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["step"] <= from_step] if from_step else []
        self._path.write_text("".join(kept))
        self._file = self._path.open("a")
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=from_step or None)

    def _lines(self) -> list[str]:
        if not self._path.is_file():
            return []
        # A killed run may leave half a line at the end.
        return [line for line in self._path.read_text().splitlines(keepends=True) if line.endswith("}\n")]

    def write(self, row: Mapping[str, float]) -> None:
        """One row; `step` is the number of environment steps so far."""
        self._file.write(json.dumps(dict(row)) + "\n")
        self._file.flush()
        for name, value in row.items():
            if name != "step":
                self._board.add_scalar(name, value, int(row["step"]))

    def close(self) -> None:
        """Write out what is buffered."""
        self._file.close()
        self._board.close()


class Progress:
    """Where the training stands: a bar that renews itself on a terminal, a plain line now and then elsewhere."""

    def __init__(self, total: int, out: TextIO = sys.stdout, every_seconds: float = 10.0) -> None:
        self._total, self._out, self._every = total, out, every_seconds
        self._is_terminal = out.isatty()
        self._shown_at = float("-inf")

    def show(
        self, steps: int, speed: float, success: float | None, validation: float | None, *, force: bool = False
    ) -> None:
        """Say where we are, if it is time to."""
        now = time.monotonic()
        if not force and now - self._shown_at < (0.2 if self._is_terminal else self._every):
            return
        self._shown_at = now
        rest = (self._total - steps) / speed if speed > 0 else 0.0
        parts = [
            f"{steps / 1e6:6.2f} / {self._total / 1e6:.2f} M steps",
            f"{speed / 1e3:5.0f}k steps/s",
            f"success {success:.1%}" if success is not None else "success  –  ",
            f"validation {validation:.1%}" if validation is not None else "validation  –  ",
            f"at most {int(rest) // 60}:{int(rest) % 60:02d} to go",
        ]
        line = "  ".join(parts)
        if self._is_terminal:
            width = min(24, shutil.get_terminal_size().columns - len(line) - 4)
            done = round(max(0, width) * min(1.0, steps / self._total))
            bar = f"[{'█' * done}{' ' * (width - done)}] " if width > 4 else ""
            self._out.write(f"\r\x1b[2K{bar}{line}")
        else:
            self._out.write(line + "\n")
        self._out.flush()

    def end(self) -> None:
        """Leave the last bar standing."""
        if self._is_terminal and self._shown_at > float("-inf"):
            self._out.write("\n")
            self._out.flush()
