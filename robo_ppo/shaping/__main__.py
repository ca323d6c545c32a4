"""`python -m robo_ppo.shaping <command> …`: the commands around rewards, each a module of its own."""

import os
import sys
from collections.abc import Callable, Sequence

from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.run.hydra_errors import COMPOSING, explain

USAGE = """\
usage: python -m robo_ppo.shaping check task=uav_nav <program.py> …   judge reward programs without training
       python -m robo_ppo.shaping record task=uav_nav                   store flights for the ranking test"""


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; the exit code is 2 for a person's mistake, and where a program is refused."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # its errors are told in our way
    name, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    commands = _commands()
    if name in ("", "-h", "--help") or name not in commands:
        hint = "" if name in ("", "-h", "--help") else f"error: there is no '{name}'; {did_you_mean(name, commands)}\n"
        print(f"{hint}{USAGE}", file=sys.stderr if name not in ("-h", "--help") else sys.stdout)
        return 0 if name in ("-h", "--help") else 2
    try:
        return commands[name](rest)
    except UserError as error:
        message = str(error)
    except COMPOSING as error:
        message = explain(error)
    print(f"error: {message}", file=sys.stderr)
    return 2


def _commands() -> dict[str, Callable[[Sequence[str]], int]]:
    from robo_ppo.shaping import check
    from robo_ppo.shaping.flights import recording

    return {"check": check.main, "record": recording.main}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
