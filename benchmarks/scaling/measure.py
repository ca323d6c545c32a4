"""What the other benchmarks do not measure, and the model needs: sums of several sizes, and other numbers of worlds.

    python -m benchmarks.scaling --measure

writes benchmarks/results/scaling_<machine>.json: seconds of a sum over two ranks, through shared memory and through
messages; and seconds that one rank on one thread needs to collect and to learn with few worlds and with many. These
are seconds of the processor, not of the clock, and the least of several repeats: both change little when the machine
has other work besides.
"""

import os
import socket
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

WORLDS = (128, 512, 2048)  # of a rank
_FLOATS = (1, 128, 1024, 4096, 14_730, 65_536, 262_144)
_WAYS = ("shared memory", "messages")
_CALLS = 50
_WARM_UP = 5  # iterations


def measure(repeats: int) -> dict[str, Any]:
    """Everything, by way and bytes of a sum, and by worlds of a rank."""
    reports = _in_processes(2, _rank_that_sums, repeats)
    sums = {way: {size: max(r[way][size] for r in reports) for size in reports[0][way]} for way in _WAYS}
    worlds = {str(count): _in_processes(1, _rank_alone, count, repeats)[0] for count in WORLDS}
    return {"all_reduce_seconds": sums, "processor_seconds": worlds, "machine": machine()}


def _in_processes(count: int, work: Callable[..., None], *arguments: int) -> list[Any]:
    """What each of `count` new processes reports."""
    context = get_context("spawn")
    barrier, queue = context.Barrier(count), context.Queue()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    processes = [context.Process(target=work, args=(rank, port, barrier, queue, *arguments)) for rank in range(count)]
    for process in processes:
        process.start()
    reports = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    return reports


def _rank_alone(rank: int, port: int, barrier: Barrier, queue: Any, worlds: int, repeats: int) -> None:
    """The least processor seconds of a rollout, and of the rest of an iteration."""
    import torch

    from robo_ppo.run.compose import compose
    from robo_ppo.run.distributed import Ranks
    from robo_ppo.run.resolve import resolved
    from robo_ppo.run.train import Trainer

    torch.set_num_threads(1)
    config = resolved(compose("ranks=1", "threads=1", f"num_envs={worlds}"))
    trainer = Trainer(config, Path("nowhere"), Ranks())
    for _ in range(_WARM_UP):
        trainer.iterate()

    @torch.no_grad()
    def collect() -> None:
        trainer.collect()

    rollouts, iterations = [], []
    for _ in range(repeats):
        iterations.append(_processor_seconds(trainer.iterate))
        rollouts.append(_processor_seconds(collect))
    queue.put({"collect": min(rollouts), "update": min(iterations) - min(rollouts)})


def _processor_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def _rank_that_sums(rank: int, port: int, barrier: Barrier, queue: Any, repeats: int) -> None:
    """The least seconds of a sum, for each way and size."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    import torch
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    from robo_ppo.run.distributed import Ranks

    torch.set_num_threads(1)
    store = TCPStore("127.0.0.1", port, is_master=rank == 0)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    ways = {"messages": Ranks(rank, 2), "shared memory": Ranks(rank, 2)}
    ways["shared memory"].share_memory(store, lambda: False)
    found: dict[str, dict[str, float]] = {way: {} for way in ways}
    for way, group in ways.items():
        for floats in _FLOATS:
            tensor = torch.zeros(floats)
            times: list[float] = []
            for _ in range(4 * repeats):
                barrier.wait()
                started = time.perf_counter()
                for _ in range(_CALLS):
                    group.sum(tensor)
                times.append((time.perf_counter() - started) / _CALLS)
            found[way][str(4 * floats)] = min(times)
    barrier.wait()
    torch.distributed.destroy_process_group()
    queue.put(found)
