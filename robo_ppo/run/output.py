"""What a person reads and types: the name of the program, and output that nobody is to read."""

import os
import sys
from pathlib import Path


def program(command: str) -> str:
    """How this person starts a command: `python train.py` in a checkout, `robo-ppo train` where it is installed."""
    return f"robo-ppo {command}" if Path(sys.argv[0]).stem == "robo-ppo" else f"python {command}.py"


def silence() -> None:
    """Send standard output nowhere from now on, whoever writes to it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
