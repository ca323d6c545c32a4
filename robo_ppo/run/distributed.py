"""Ranks: processes that train one policy together, each on its own environments.

This is synchronous data-parallel PPO. Every rank collects its own rollout, gradients and the divergence are averaged in
every minibatch, and so all ranks hold the same weights at any time. On a CPU, several ranks of one thread each are
faster than one rank of several threads: nothing waits for the slowest core between two small operations.

    with other_ranks(count=2) as others, start_ranks(folder, others) as ranks:      # in the main process, rank 0
        ranks.mean(tensor)                                                          # in place, the same on all

The other ranks (`robo_ppo.run.others`) read the configuration that the main process has written. No rank can go on
alone. Where one is gone, rank 0 says why and ends the job; where rank 0 is gone, however that happened, the others see
the end of their standard input and go too.

On several GPUs or machines it is torchrun that starts the ranks: `robo_ppo.run.torchrun`.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed
from torch import Tensor
from torch.distributed import Store, TCPStore  # pyright: ignore[reportPrivateImportUsage]

from robo_ppo.errors import UserError
from robo_ppo.run import checkpoint
from robo_ppo.run.others import HOST, PEER_LOST, USER_ERROR, Others
from robo_ppo.run.output import program
from robo_ppo.run.shared_sum import SharedSum, is_supported

PATIENCE = timedelta(minutes=10)
"""How long a rank waits for another one before it takes it for lost."""
_FOLDER, _MEMORY = "folder", "shared memory"  # keys under which rank 0 names them
Thing = TypeVar("Thing")


class PeerLost(Exception):
    """Another rank is gone, or silent for too long."""


class RankLost(UserError):
    """What the person is told of a lost rank that has made no mistake; a resumed run may well go on."""


class Ranks:
    """This process among all; a single process is a group of one."""

    def __init__(self, rank: int = 0, size: int = 1, shared: SharedSum | None = None) -> None:
        self.rank, self.size, self._shared = rank, size, shared

    def mean(self, tensor: Tensor) -> Tensor:
        """Mean over all ranks, in place."""
        self.sum(tensor)
        if self.size > 1:
            tensor /= self.size
        return tensor

    def sum(self, tensor: Tensor) -> Tensor:
        """Sum over all ranks, in place."""
        if self._shared is not None and self._shared.takes(tensor):
            if not self._shared.add(tensor):
                raise PeerLost("a rank has ended")
        elif self.size > 1:
            with needing_peers():
                torch.distributed.all_reduce(tensor)
        return tensor

    def gather(self, thing: Thing) -> list[Thing]:
        """What every rank has, in order, on rank 0; an empty list on the others. Tensors must be the CPU's."""
        if self.size == 1:
            return [thing]
        gathered: list[Any] | None = [None] * self.size if self.rank == 0 else None
        with needing_peers():
            torch.distributed.gather_object(thing, gathered)
        return gathered or []

    def scatter(self, things: Sequence[Thing]) -> Thing:
        """One of `things` for each rank, in order; what other ranks than 0 pass is not looked at."""
        if self.size == 1:
            return things[0]
        own: list[Any] = [None]
        with needing_peers():
            torch.distributed.scatter_object_list(own, list(things) if self.rank == 0 else None)
        return own[0]

    def share(self, thing: Thing) -> Thing:
        """What rank 0 has, on all ranks. Tensors must be the CPU's."""
        shared = [thing]
        if self.size > 1:
            with needing_peers():
                torch.distributed.broadcast_object_list(shared)
        return shared[0]

    def decide(self, choose: Callable[[], Thing]) -> Thing:
        """What `choose` returns on rank 0, on all ranks; a `UserError` there is one everywhere."""
        chosen: Thing | None = None
        mistake: UserError | None = None
        if self.rank == 0:
            try:
                chosen = choose()
            except UserError as error:
                mistake = error
        chosen, mistake = self.share((chosen, mistake))
        if mistake is not None:
            raise mistake
        return chosen  # pyright: ignore[reportReturnType]  # None only where `choose` says so

    def share_memory(self, store: Store, is_alone: Callable[[], bool]) -> None:
        """Sum through shared memory from now on, where this machine can; rank 0 decides for all."""
        if self.rank == 0:
            try:
                self._shared = SharedSum.create(self.size, is_alone) if is_supported() else None
            except OSError:  # no room for it: messages do as well
                self._shared = None
            store.set(_MEMORY, str(self._shared.path) if self._shared is not None else "")
        elif path := store.get(_MEMORY).decode():
            self._shared = SharedSum.attach(Path(path), self.rank, self.size, is_alone)
        try:
            with needing_peers():
                torch.distributed.barrier()
        finally:
            if self.rank == 0 and self._shared is not None:
                self._shared.forget_path()


@contextmanager
def start_ranks(folder: Path, others: Others) -> Generator[Ranks]:
    """As rank 0, work on a run's folder in a group with `others`, who are dismissed afterwards.

    A `UserError` of another rank is raised here; one that was killed becomes one; after a fault, whose stack trace
    stands on the terminal, the program exits with 1.
    """
    if others.listener is None:
        yield Ranks()
        return
    prefer_loopback()
    port: int = others.listener.getsockname()[1]
    store = TCPStore(
        HOST, port, is_master=True, wait_for_workers=False, timeout=PATIENCE, master_listen_fd=others.listener.detach()
    )
    store.set(_FOLDER, str(folder.absolute()))
    try:
        _await(others.processes, store)
        ranks = _join(0, others.count, store)
        ranks.share_memory(store, lambda: any(process.poll() is not None for process in others.processes))
        yield ranks
    except PeerLost as lost:
        raise _reason(others.processes, lost, folder) from lost
    finally:
        others.dismiss()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def join_ranks(rank: int, count: int, port: int) -> tuple[Path, Ranks]:
    """As another rank, come to the group of rank 0, who names the run's folder; a `PeerLost` where it has gone."""
    with needing_peers():
        store = TCPStore(HOST, port, is_master=False, timeout=PATIENCE)
        folder = Path(store.get(_FOLDER).decode())
        store.set(_ready(rank), "")
    ranks = _join(rank, count, store)
    ranks.share_memory(store, lambda: False)
    return folder, ranks


def what_is_left(folder: Path) -> str:
    """Of a run that has lost a rank: what there is to go on from, and how."""
    found = checkpoint.numbered(folder)
    if not found:
        return f"{folder} has no checkpoint yet"
    return (
        f"the checkpoint of step {checkpoint.steps_of(found[-1]):,} is whole; "
        f"go on with: {program('train')} resume={folder}"
    )


def prefer_loopback() -> None:
    """All ranks are on this machine: whatever its name resolves to, and whatever its firewall thinks, they can talk."""
    loopback = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if loopback is not None:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", loopback)


def _await(others: Sequence[subprocess.Popen[bytes]], store: Store) -> None:
    """Wait until every rank has come; a `PeerLost` if one ends before."""
    awaited = {_ready(rank): process for rank, process in enumerate(others, 1)}
    deadline = time.monotonic() + PATIENCE.total_seconds()
    while awaited:
        here = [key for key in awaited if store.check([key])]
        for key in here:
            del awaited[key]
        if any(process.poll() is not None for process in awaited.values()) or time.monotonic() > deadline:
            raise PeerLost("a rank has not started")
        time.sleep(0.02)


def _ready(rank: int) -> str:
    return f"ready/{rank}"


def _join(rank: int, size: int, store: Store) -> Ranks:
    with needing_peers():
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=PATIENCE)
    return Ranks(rank, size)


@contextmanager
def needing_peers() -> Generator[None]:
    """Where messages are exchanged: what goes wrong there is a `PeerLost`."""
    try:
        yield
    except RuntimeError as error:  # the only type that the back end knows
        raise PeerLost(str(error)) from error


def _reason(others: Sequence[subprocess.Popen[bytes]], lost: PeerLost, folder: Path) -> BaseException:
    """What to say about a lost rank: its own words, its signal, or that it failed."""
    deadline = time.monotonic() + 5.0
    while True:
        for rank, process in enumerate(others, 1):
            code = process.poll()
            if code is None or code == PEER_LOST:
                continue
            assert process.stdout is not None
            if code == USER_ERROR:
                return UserError(process.stdout.read().decode())
            if code < 0:
                name = signal.Signals(-code).name
                hint = " (the system does that when memory runs out)" if name == "SIGKILL" else ""
                return RankLost(f"rank {rank} was ended by {name}{hint}; {what_is_left(folder)}")
            return SystemExit(f"error: rank {rank} failed; its stack trace stands above")
        if time.monotonic() > deadline:
            return RankLost(f"the ranks have lost each other: {lost}; {what_is_left(folder)}")
        time.sleep(0.02)
