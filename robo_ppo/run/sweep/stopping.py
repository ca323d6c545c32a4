"""Stop trials as one stops a training: with Ctrl-C, and each writes a checkpoint before it ends."""

import os
import signal
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from robo_ppo.run.sweep.attempt import STOP


@dataclass
class Told:
    """Which signal has told the trials to stop; None while none has."""

    by: str | None = None

    @property
    def exit_code(self) -> int:
        """What a process that was stopped so ends with."""
        return 130 if self.by == "SIGINT" else 143


@contextmanager
def stoppable(folders: Sequence[Path], told: Told) -> Generator[None]:
    """Until its end, SIGINT and SIGTERM stop the trials in these folders; a second signal ends all at once."""
    for folder in folders:
        (folder / STOP).unlink(missing_ok=True)

    def hear(number: int, _frame: FrameType | None) -> None:
        if told.by is not None:
            raise KeyboardInterrupt
        told.by = signal.Signals(number).name
        os.write(2, b"\nstopping: every trial writes a checkpoint\n")
        for folder in folders:
            (folder / STOP).touch()

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for folder in folders:
            (folder / STOP).unlink(missing_ok=True)
