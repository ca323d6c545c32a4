"""Files that are there whole or not at all: written beside their place, then renamed; a reader sees the old or the new.

    write(folder / "report.html", page)
    with beside(folder / "best.pt") as fresh:          # for what writes by itself
        torch.save(content, fresh)

What fails leaves the file as it was, and nothing beside it.
"""

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def beside(path: Path) -> Generator[Path]:
    """A path to write to, whose file takes the place of another if nothing fails."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield fresh
        os.replace(fresh, path)
    finally:
        with suppress(OSError):  # it is gone after the rename, and may never have been
            fresh.unlink()


def write(path: Path, content: str | bytes) -> None:
    """Replace a file, or make it, and have it on the disk.

    Raises:
        OSError: the disk did not take it.
    """
    # A name on a disk, of which a text may speak, need not be UTF-8.
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    with beside(path) as fresh, fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
