"""What a person reads and types: the name of the program, and output that nobody is to read."""

import os
import sys
from pathlib import Path

from robo_ppo.run import launch


def program(command: str) -> str:
    """How this person starts a command: `python train.py` in a checkout, `robo-ppo train` where it is installed.

    A training that torchrun has started is started by torchrun again.
    """
    installed = Path(sys.argv[0]).stem == "robo-ppo"
    place = launch.find() if command == "train" else None
    if place is None:
        return f"robo-ppo {command}" if installed else f"python {command}.py"
    return f"{place.command} --no-python robo-ppo {command}" if installed else f"{place.command} {command}.py"


def silence() -> None:
    """Send standard output nowhere from now on, whoever writes to it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
