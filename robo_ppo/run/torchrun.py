"""Ranks that torchrun has started, on one machine or on several: `torchrun --nproc-per-node 2 train.py …`.

    with joined(launch, config, prepare) as (ranks, plan):      # in every process
        take_part(*plan, ranks)

The group is that of `robo_ppo.run.distributed`: synchronous data-parallel PPO. All ranks read the same command line;
rank 0 alone decides what it means on its machine, prints and writes, and hands its decisions out, so that the others
need neither its files nor its folder.

torchrun watches the processes: where one ends in any way but well, it ends the others (SIGTERM, and SIGKILL 30 s
later). So the rank that knows best has to say it before it goes, and only one may: `_may_speak`.
"""

import os
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed
from torch.distributed import Store, rendezvous  # pyright: ignore[reportPrivateImportUsage]

from robo_ppo.config import RunConfig
from robo_ppo.errors import UserError
from robo_ppo.run.distributed import (
    PATIENCE,
    PeerLost,
    Ranks,
    needing_peers,
    prefer_loopback,
    what_is_left,
)
from robo_ppo.run.equality import refuse_unequal
from robo_ppo.run.last_words import ending_in_time
from robo_ppo.run.launch import Launch
from robo_ppo.run.others import PEER_LOST, USER_ERROR
from robo_ppo.run.output import silence

Plan = tuple[RunConfig, Path]
"""What is trained, and in which folder."""

_WORD, _PROCESS, _LEFT = "word", "process", "left"  # keys of the store
_TOLD, _LOST, _FAILED = "told", "lost", "failed"  # how a rank has left
_TIME_TO_LEAVE = 3.0  # s, for the ranks that live to say that they leave


@contextmanager
def joined(
    launch: Launch, config: RunConfig, prepare: Callable[[], Plan | None]
) -> Generator[tuple[Ranks, Plan | None]]:
    """Come together with all ranks; rank 0 prepares the run, and all of them get its plan.

    A mistake is told once, whoever sees it, and ends all ranks with 2. So does the death of a rank, with what there is
    to go on from.
    """
    _refuse(launch, config)
    if not launch.leads:
        silence()
    store = _meet(launch, config.device)
    ranks = Ranks(launch.rank, launch.size)
    folder: list[Path] = []

    def left() -> str:
        return what_is_left(folder[0]) if folder and folder[0].is_dir() else "what rank 0 has written is whole"

    def hung() -> str:
        dead = _dead(launch, store, _left(launch, store)) if launch.is_on_one_machine else []
        why = _died(dead) if dead else "told to stop, but the ranks do not come to the end of their iteration"
        return f"{why}; {left()}" if _may_speak(store) else ""

    with ending_in_time(hung) as be_calm:
        try:
            is_alone = _introduce(launch, store)
            if launch.is_on_one_machine and config.device == "cpu":
                ranks.share_memory(store, is_alone)
            refuse_unequal(ranks, config)
            plan = ranks.decide(prepare)
            if plan is not None:
                folder.append(plan[1])
            yield ranks, plan
        except UserError as error:
            be_calm()
            _say(store, str(error))
            _leave(launch, store, _TOLD, together=True)
            _end(USER_ERROR)
        except PeerLost as lost:
            be_calm()
            _leave(launch, store, _LOST)
            if reason := _reason(launch, store, lost):
                _say(store, f"{reason}; {left()}")
            _end(USER_ERROR if launch.leads else PEER_LOST)
        except Exception:  # a fault: its stack trace is about to be printed
            be_calm()
            _leave(launch, store, _FAILED)
            raise
    torch.distributed.destroy_process_group()


def _refuse(launch: Launch, config: RunConfig) -> None:
    """What cannot work is seen before the ranks wait for each other."""
    if config.ranks not in (0, launch.size):
        raise UserError(
            f"ranks={config.ranks}, but torchrun has started {launch.size}; leave ranks=… out, or start as many"
        )
    if launch.attempt and config.resume is None:
        raise UserError(
            "torchrun has started the ranks again (--max-restarts), which would begin another run; "
            "go on with the one that has ended: resume=<its folder>"
        )
    if config.device.startswith("cuda"):
        if config.device != "cuda":
            raise UserError(f"device={config.device}: torchrun gives each rank a GPU of its own; write device=cuda")
        found = torch.cuda.device_count()
        if launch.local_size > found:
            raise UserError(
                f"device=cuda: torchrun has started {launch.local_size} ranks on this machine, which has {found} GPUs; "
                f"each needs its own, so start --nproc-per-node {found} at most"
            )


def _meet(launch: Launch, device: str) -> Store:
    """Wait for all ranks; from then on, tensors of the CPU are summed by gloo and those of GPUs by NCCL."""
    backend = "gloo"
    if device.startswith("cuda"):
        torch.cuda.set_device(launch.local_rank)  # from now on, "cuda" is this rank's GPU
        backend = "cpu:gloo,cuda:nccl"
    if launch.is_on_one_machine:
        prefer_loopback()
    try:
        store, rank, size = next(rendezvous("env://", timeout=PATIENCE))
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the {launch.size} ranks that torchrun has started do not come together: {reason}") from error
    return store


def _introduce(launch: Launch, store: Store) -> Callable[[], bool]:
    """Tell the ranks of this machine one's process; returns whether one of theirs is gone."""
    store.set(f"{_PROCESS}/{launch.rank}", str(os.getpid()))
    if not launch.is_on_one_machine:
        return lambda: False
    with needing_peers():
        others = [int(store.get(f"{_PROCESS}/{rank}")) for rank in range(launch.size) if rank != launch.rank]
    return lambda: not all(map(_is_running, others))


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except ProcessLookupError:
        return False
    except OSError:  # a system without /proc, or another user's process
        return True
    return state[0] not in "ZX"  # ended, and torchrun has not looked yet


def _may_speak(store: Store) -> bool:
    """Whether nobody has spoken before: one message is enough."""
    try:
        return store.add(_WORD, 1) == 1
    except RuntimeError:  # the store is gone, and with it the machine that it was on
        return True


def _say(store: Store, message: str) -> None:
    if _may_speak(store):
        print(f"error: {message}", file=sys.stderr, flush=True)


def _leave(launch: Launch, store: Store, how: str, *, together: bool = False) -> None:
    """Leave word of how this rank goes; `together` waits a moment for those of all.

    torchrun ends all ranks once the first has gone, which must not be before the one that speaks has spoken.
    """
    try:
        store.set(f"{_LEFT}/{launch.rank}", how)
        deadline = time.monotonic() + _TIME_TO_LEAVE
        while together and time.monotonic() < deadline:
            together = not store.check([f"{_LEFT}/{rank}" for rank in range(launch.size)])
            time.sleep(0.02)
    except RuntimeError:  # the store is gone, with the rank that kept it
        pass


def _reason(launch: Launch, store: Store, lost: PeerLost) -> str:
    """Why the ranks have lost each other; nothing where another one has said it already."""
    deadline = time.monotonic() + _TIME_TO_LEAVE
    try:
        while True:
            if store.check([_WORD]):
                return ""
            left = _left(launch, store)
            failed = [rank for rank, how in left.items() if how == _FAILED]
            if failed:
                return f"rank {failed[0]} failed; its stack trace stands above"
            dead = _dead(launch, store, left)
            is_over = time.monotonic() > deadline
            # Of another machine's ranks nothing is known but their silence, and they may need a moment to break it.
            if dead and (launch.is_on_one_machine or is_over):
                return _died(dead)
            if is_over:
                return f"the ranks have lost each other: {lost}"
            time.sleep(0.05)
    except RuntimeError:
        return f"the machine of rank 0 is gone: {lost}"


def _left(launch: Launch, store: Store) -> dict[int, str]:
    """The other ranks that have left word of how they go."""
    others = [rank for rank in range(launch.size) if rank != launch.rank]
    return {rank: store.get(key).decode() for rank in others if store.check([key := f"{_LEFT}/{rank}"])}


def _dead(launch: Launch, store: Store, left: Mapping[int, str]) -> list[int]:
    """The other ranks that have gone without a word; on several machines, those that are silent."""
    silent = [rank for rank in range(launch.size) if rank != launch.rank and rank not in left]
    if not launch.is_on_one_machine:
        return silent
    return [rank for rank in silent if not _is_running(int(store.get(f"{_PROCESS}/{rank}")))]


def _died(ranks: Sequence[int]) -> str:
    names = f"rank {ranks[0]} has" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))} have"
    return f"{names} died without a word; torchrun says below how (SIGKILL: often the system, when memory runs out)"


def _end(code: int) -> None:
    """At once: the interpreter's own end would meet threads of C++ that still wait, and abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
