"""Standard output that nobody reads any more."""

import os
import sys


def silence() -> None:
    """Send standard output nowhere from now on: the reader of the pipe has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
