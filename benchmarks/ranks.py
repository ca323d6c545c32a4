"""What a second rank costs: `python -m benchmarks.ranks [task=uav_nav …]`.

Two ranks of one core each collect and learn from twice the samples of one rank in an iteration. Were the ranks' sums
and the shared memory bus free, an iteration would take as long as one rank's. Measured side by side in one run, every
process on a core of its own with one thread:

alone               one rank, the other core idle (each core in turn; their mean)
side by side        one rank on each core at once, which have nothing to do with each other: what the machine costs
shared memory       ranks that sum gradients through shared memory, as on one machine
messages            ranks that sum them through gloo, as between machines (here through the loopback)

All are measured in turn, several times; a ratio compares with `alone` of the same turn, and the least times of all
turns are compared too, since whatever else the machine does can only add. Writes
benchmarks/results/ranks_<machine>.json.
"""

import argparse
import dataclasses
import json
import os
import socket
import statistics
import time
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from benchmarks.machine import file_name, machine
from robo_ppo.config import RunConfig
from robo_ppo.run.compose import compose
from robo_ppo.run.resolve import resolved

RESULTS = Path(__file__).parent / "results"
ALONE = "alone"
PARTS = (ALONE, "side by side", "shared memory", "messages")
BAR = 1.15
_WARM_UP = 10  # iterations


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description="What a second rank costs.")
    parser.add_argument("overrides", nargs="*", help="configuration, as for train.py; num_envs is of all ranks")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each part in each repeat")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    config = resolved(compose("ranks=2", "threads=1", *arguments.overrides))
    results = measure(config, arguments.repeats, arguments.seconds)
    print(table(results))
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / file_name("ranks", results["machine"])
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{path}")


def measure(config: RunConfig, repeats: int, seconds: float) -> dict[str, Any]:
    """Milliseconds of an iteration in each part, and their ratios to that of one rank alone."""
    cores = _cores(config.ranks)
    context = get_context("spawn")
    barrier, queue = context.Barrier(config.ranks), context.Queue()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    processes = [
        context.Process(target=_rank, args=(config, rank, core, port, barrier, queue, repeats, seconds))
        for rank, core in enumerate(cores)
    ]
    for process in processes:
        process.start()
    reports: list[dict[str, list[float]]] = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    times: dict[str, list[float]] = {}
    for part in PARTS:
        # Ranks that learn together wait for the slowest; alone, each core was measured by itself.
        together = statistics.mean if part == ALONE else max
        times[part] = [together(report[part][repeat] for report in reports) * 1e3 for repeat in range(repeats)]
    ratios = {part: [t / one for t, one in zip(times[part], times[ALONE], strict=True)] for part in PARTS[1:]}
    own = config.num_envs // config.ranks
    return {
        "task": config.task.name,
        "ranks": config.ranks,
        "samples_per_iteration": {"one rank": own * config.ppo.horizon, "all": config.num_envs * config.ppo.horizon},
        "gradient_steps_per_iteration": config.ppo.epochs * config.ppo.minibatches,
        "networks": {"policy": list(config.policy.hidden), "critic": list(config.policy.critic_hidden)},
        "pinned": None not in cores,
        "milliseconds_per_iteration": {part: _spread(values) for part, values in times.items()},
        "ratio_to_one_rank": {part: _spread(values) for part, values in ratios.items()},
        "bar": BAR,
        "machine": machine(),
    }


def table(results: dict[str, Any]) -> str:
    """The result for a terminal or a page (Markdown)."""
    samples, ranks = results["samples_per_iteration"], results["ranks"]
    lines = [
        "| | samples per iteration | ms per iteration | ÷ one rank alone (least … most) | least ms | ÷ one rank's |",
        "|---|---|---|---|---|---|",
    ]
    least = results["milliseconds_per_iteration"][ALONE]["min"]
    for part in PARTS:
        times = results["milliseconds_per_iteration"][part]
        name = {ALONE: "one rank alone", "side by side": f"{ranks} single ranks side by side"}.get(
            part, f"{ranks} ranks, {part}"
        )
        count = samples["one rank"] if part == ALONE else samples["all"]
        ratio = results["ratio_to_one_rank"].get(part)
        text = f"{ratio['median']:.2f} ({ratio['min']:.2f} … {ratio['max']:.2f})" if ratio else "1"
        quietest = f"{times['min']:.1f} | {times['min'] / least:.2f}"
        lines.append(f"| {name} | {count:,} | {times['median']:.1f} | {text} | {quietest} |")
    where = results["machine"]
    lines.append(f"\n{results['task']}, {where['processor']}, one core a rank; the bar is {results['bar']}")
    return "\n".join(lines)


def _cores(count: int) -> list[int | None]:
    """A core for each rank; None for each where the system does not pin processes."""
    if not hasattr(os, "sched_getaffinity"):
        return [None] * count
    found = sorted(os.sched_getaffinity(0))
    if len(found) < count:
        raise SystemExit(f"error: {count} ranks need {count} cores, and there are {len(found)}")
    return list(found[:count])


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def _rank(
    config: RunConfig,
    rank: int,
    core: int | None,
    port: int,
    barrier: Barrier,
    queue: Any,
    repeats: int,
    seconds: float,
) -> None:
    """One rank: measures every part in step with the others and reports seconds per iteration."""
    if core is not None:
        os.sched_setaffinity(0, {core})  # before any library starts its threads, which inherit it
    import torch
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    from robo_ppo.run.distributed import Ranks
    from robo_ppo.run.train import Trainer

    store = TCPStore("127.0.0.1", port, is_master=rank == 0)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=config.ranks)
    messages, shared = Ranks(rank, config.ranks), Ranks(rank, config.ranks)
    shared.share_memory(store, lambda: False)
    single = dataclasses.replace(config, ranks=1, num_envs=config.num_envs // config.ranks)
    nowhere = Path("nowhere")
    alone = Trainer(single, nowhere, Ranks())
    trainers = {
        "side by side": alone,
        "shared memory": Trainer(config, nowhere, shared),
        "messages": Trainer(config, nowhere, messages),
    }
    for trainer in trainers.values():
        for _ in range(_WARM_UP):
            trainer.iterate()
    calls = torch.tensor(float(max(1, round(seconds / _time(alone, 1)))))
    count = int(messages.mean(calls))  # the same on all ranks, which exchange gradients
    times: dict[str, list[float]] = {part: [] for part in PARTS}
    for _ in range(repeats):
        for turn in range(config.ranks):
            barrier.wait()
            if turn == rank:
                times[ALONE].append(_time(alone, count))
        for part, trainer in trainers.items():
            barrier.wait()
            times[part].append(_time(trainer, count))
    barrier.wait()
    torch.distributed.destroy_process_group()
    queue.put(times)


def _time(trainer: Any, iterations: int) -> float:
    """Seconds of one iteration: collecting a rollout and learning from it."""
    started = time.perf_counter()
    for _ in range(iterations):
        trainer.iterate()
    return (time.perf_counter() - started) / iterations


if __name__ == "__main__":
    main()
