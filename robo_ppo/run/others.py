"""The other ranks of a training as processes, begun before this one imports torch: they need seconds to do the same.

    with other_ranks(3) as others:                          # as soon as it is known how many are wanted
        ...                                                 # whatever this process has to do first
        with start_ranks(folder, others) as ranks:          # tells them which run it is (`robo_ppo.run.distributed`)

They are `robo_ppo.run.rank`. Their standard input ends with the `with`, or with this process, and then they go too.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

HOST = "127.0.0.1"
USER_ERROR, PEER_LOST = 2, 3
"""Exit codes of a rank."""


@dataclass(frozen=True)
class Others:
    """Processes that will ask at `listener` what to do."""

    processes: list[subprocess.Popen[bytes]]
    listener: socket.socket | None  # None: there is no other rank

    def dismiss(self) -> None:
        """Let all of them go, whatever they are doing."""
        for process in self.processes:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.close()
            process.stdout.close()

    @property
    def count(self) -> int:
        """How many ranks there are with this process's own."""
        return len(self.processes) + 1


@contextmanager
def other_ranks(count: int) -> Generator[Others]:
    """The ranks from 1 on of a group of `count`; all of them are gone afterwards."""
    if count == 1:
        yield Others([], None)
        return
    with socket.create_server((HOST, 0)) as listener:
        processes = _spawn(count, listener.getsockname()[1])
        others = Others(processes, listener)
        try:
            yield others
        finally:
            others.dismiss()
            for process in processes:
                try:
                    process.wait(timeout=10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _spawn(count: int, port: int) -> list[subprocess.Popen[bytes]]:
    """Start the ranks from 1 on, which import what this process could import."""
    # Ctrl-C and a manager's SIGTERM reach every process at once, but rank 0 decides when all of them stop. What is
    # ignored here is ignored from the first instruction of the new process on.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return [
            subprocess.Popen(
                [sys.executable, "-m", "robo_ppo.run.rank", str(rank), str(count), str(port)],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for rank in range(1, count)
        ]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
