"""Ranks: processes that train one policy together, each on its own environments.

This is synchronous data-parallel PPO. Every rank collects its own rollout, gradients and statistics are averaged in every
minibatch, and so all ranks hold the same weights at any time. On a CPU, several ranks of one thread each are faster than
one rank of several threads: nothing waits for the slowest core between two small operations.

    ranks = start_ranks(folder, count=2)      # in the main process: starts the others; under torchrun: joins them
    ranks.mean(tensor)                        # in place, the same on all

The other ranks are `python -m robo_ppo.run.distributed <run folder>`; they read the configuration that the main process has
written there. A rank whose peers are gone stops with an error; it cannot go on alone.
"""

import os
import signal
import socket
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from robo_ppo.errors import UserError

_PATIENCE = timedelta(minutes=10)


class Ranks:
    """This process among all; a single process is a group of one."""

    def __init__(self, rank: int = 0, size: int = 1, others: list[subprocess.Popen[bytes]] | None = None) -> None:
        self.rank, self.size = rank, size
        self._others = others or []

    def mean(self, tensor: Tensor) -> Tensor:
        """Mean over all ranks, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
            tensor /= self.size
        return tensor

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over all ranks, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(tensor)
        return tensor

    def gather(self, thing: Any) -> list[Any]:
        """What every rank has, in order, on rank 0; an empty list on the others."""
        if self.size == 1:
            return [thing]
        gathered: list[Any] | None = [None] * self.size if self.rank == 0 else None
        torch.distributed.gather_object(thing, gathered)
        return gathered or []

    def close(self) -> None:
        """Leave the group, and end the ranks that this process started."""
        if self.size > 1 and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for process in self._others:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


def resolve_ranks(wanted: int) -> int:
    """Number of ranks for `ranks=0`: one for each core, four at most."""
    if wanted < 0:
        raise UserError(f"ranks must be 0 (automatic) or more, not {wanted}")
    return wanted or max(1, min(4, cores()))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_ranks(folder: Path, count: int) -> Ranks:
    """Join the group that torchrun made, or make one of `count` processes on this machine."""
    if "WORLD_SIZE" in os.environ:
        return _join(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), [])
    if count == 1:
        return Ranks()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
    others = [
        subprocess.Popen(
            [sys.executable, "-m", "robo_ppo.run.distributed", str(folder)],
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
        )
        for rank in range(1, count)
    ]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return _join(0, count, others)


def _join(rank: int, size: int, others: list[subprocess.Popen[bytes]]) -> Ranks:
    torch.distributed.init_process_group("gloo", rank=rank, world_size=size, timeout=_PATIENCE)
    return Ranks(rank, size, others)


def main() -> None:
    """Take part as one of the ranks that a main process has started."""
    # Ctrl-C reaches every process of the terminal; the main process decides when all of them stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    from robo_ppo.run.train import take_part

    try:
        take_part(Path(sys.argv[1]))
    except (UserError, torch.distributed.DistError, RuntimeError) as error:
        # A person's mistake, or the end of a peer: the main process says so. Anything else is this rank's own fault.
        if not isinstance(error, UserError | torch.distributed.DistError) and "onnection" not in str(error):
            raise
        sys.exit(2)


if __name__ == "__main__":
    main()
