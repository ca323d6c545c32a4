"""A process that is of no use without the one that started it."""

import os
import sys
import threading


def leave_with_parent(code: int) -> None:
    """End this process with an exit code as soon as its standard input ends: when its parent closes it, or is gone."""

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os._exit(code)

    threading.Thread(target=watch, daemon=True).start()
