"""A folder for one process alone: two that wrote the same files would ruin them."""

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


class Busy(Exception):
    """Another process works in the folder."""


@contextmanager
def alone_in(folder: Path, *, patience: float = 0.0) -> Generator[None]:
    """Hold the folder's lock; `Busy` where another process still holds it after so many seconds."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT)
    deadline = time.monotonic() + patience
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise Busy(str(folder)) from None
                time.sleep(0.1)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(lock)
