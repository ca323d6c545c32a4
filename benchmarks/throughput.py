"""Where the time goes in a training on this machine, as shipped: `python -m benchmarks.throughput [task=uav_nav …]`.

Measured in one run, in turn, all of it with all cores and the shipped configuration:

(a) the physics limit: the same model and substeps, no Python between control steps
(b) environment steps with random actions
(c) environment steps with the policy's actions, as a training collects them
(d) training: (c) and the update
(e) the matrix products of (c) and the update alone: the same shapes, batches and epochs

The ranks of a training run side by side here as well, each a process of its own. Every part is measured several times
in turn with the others, and the medians are reported. Writes benchmarks/results/throughput_<machine>.json and .png.
"""

import argparse
import json
import resource
import socket
import statistics
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from benchmarks.machine import file_name, machine
from robo_ppo.config import RunConfig
from robo_ppo.run.compose import compose
from robo_ppo.run.resolve import resolved

RESULTS = Path(__file__).parent / "results"
PARTS = ("physics", "environment", "inference", "training", "matrix products")


def main() -> None:
    """Measure, print a table, write JSON and a plot."""
    parser = argparse.ArgumentParser(description="Where the time goes in a training on this machine.")
    parser.add_argument("overrides", nargs="*", help="configuration, as for train.py")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each part in each repeat")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    config = resolved(compose(*arguments.overrides))
    results = measure(config, arguments.repeats, arguments.seconds)
    print(table(results))
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / file_name("throughput", results["machine"])
    path.write_text(json.dumps(results, indent=2) + "\n")
    _plot(results, path.with_suffix(".png"))
    print(f"\n{path}")


def measure(config: RunConfig, repeats: int, seconds: float) -> dict[str, Any]:
    """All parts, in microseconds per environment step of all ranks together."""
    context = get_context("spawn")
    barrier, queue = context.Barrier(config.ranks), context.Queue()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    processes = [
        context.Process(target=_rank, args=(config, rank, port, barrier, queue, repeats, seconds))
        for rank in range(config.ranks)
    ]
    for process in processes:
        process.start()
    reports = [queue.get() for _ in processes]
    for process in processes:
        process.join()
    # All ranks work at the same time on their share, so the slowest one sets the time of a step.
    times = {
        part: [max(report["times"][part][i] for report in reports) / config.ranks * 1e6 for i in range(repeats)]
        for part in PARTS
    }
    median = {part: statistics.median(values) for part, values in times.items()}
    outside = [
        (t - p) / m for t, p, m in zip(times["training"], times["physics"], times["matrix products"], strict=True)
    ]
    limit = [p / t for t, p in zip(times["training"], times["physics"], strict=True)]
    return {
        "task": config.task.name,
        "num_envs": config.num_envs,
        "ranks": config.ranks,
        "decimation": config.task.decimation,
        "networks": {
            "policy": list(config.policy.hidden),
            "critic": list(config.policy.critic_hidden),
            "activation": config.policy.activation,
        },
        "epochs": config.ppo.epochs,
        "horizon": config.ppo.horizon,
        "minibatches": config.ppo.minibatches,
        "microseconds_per_step": {
            part: {"median": median[part], "min": min(v), "max": max(v)} for part, v in times.items()
        },
        "steps_per_second": {part: 1e6 / value for part, value in median.items() if part != "matrix products"},
        "training_over_physics_limit": statistics.median(limit),
        "outside_physics_over_matrix_products": statistics.median(outside),
        "memory_mib": sum(report["memory_mib"] for report in reports),
        "machine": machine(),
    }


def table(results: dict[str, Any]) -> str:
    """The result for a terminal or a README (Markdown)."""
    explained = {
        "physics": "(a) physics limit",
        "environment": "(b) environment, random actions",
        "inference": "(c) environment, policy's actions",
        "training": "(d) training",
        "matrix products": "(e) matrix products alone",
    }
    lines = ["| part | µs per step | steps/s |", "|---|---|---|"]
    for part in PARTS:
        micro = results["microseconds_per_step"][part]["median"]
        speed = f"{1e3 / micro:.0f}k" if part != "matrix products" else "–"
        lines.append(f"| {explained[part]} | {micro:.2f} | {speed} |")
    lines.append(f"\ntraining ÷ physics limit: {results['training_over_physics_limit']:.2f}")
    lines.append(f"time outside physics ÷ matrix products: {results['outside_physics_over_matrix_products']:.2f}")
    where = results["machine"]
    lines.append(
        f"{results['num_envs']} environments, {results['ranks']} ranks, {where['processor']}, {where['cores']} cores"
    )
    return "\n".join(lines)


def _rank(config: RunConfig, rank: int, port: int, barrier: Barrier, queue: Any, repeats: int, seconds: float) -> None:
    """One rank: measures every part in step with the others and reports seconds per environment step of its own."""
    import torch
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    from robo_ppo.run.distributed import Ranks
    from robo_ppo.run.train import Trainer

    store = TCPStore("127.0.0.1", port, is_master=rank == 0)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=config.ranks)
    ranks = Ranks(rank, config.ranks)
    ranks.share_memory(store, lambda: False)
    trainer = Trainer(config, Path("nowhere"), ranks)
    own = config.num_envs // config.ranks
    parts = {
        "physics": (_physics(trainer), 1),
        "environment": (_environment(trainer), 1),
        "inference": (_inference(trainer), config.ppo.horizon),
        "training": (_training(trainer), config.ppo.horizon),
        "matrix products": (_matrix_products(config, trainer, own), config.ppo.horizon),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(20):
        parts["training"][0]()  # episodes at every age, a policy that flies at least for a while, warm caches
    for _ in range(repeats):
        for name, (work, steps) in parts.items():
            calls = _agreed(max(1, round(seconds / _once(work))), config.ranks)
            barrier.wait()
            started = time.perf_counter()
            for _ in range(calls):
                work()
            times[name].append((time.perf_counter() - started) / (calls * steps * own))
            barrier.wait()
    torch.distributed.destroy_process_group()
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    queue.put({"times": times, "memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit})


def _once(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _agreed(calls: int, ranks: int) -> int:
    """The same number of calls on all ranks: some of them exchange gradients."""
    import torch

    mean = torch.tensor([float(calls)])
    torch.distributed.all_reduce(mean)
    return max(1, round(float(mean) / ranks))


def _physics(trainer: Any) -> Callable[[], None]:
    simulation, decimation = trainer.environment.sim, trainer.config.task.decimation
    # The batch itself: what shows the state to torch is the environment's time.
    batch = simulation._batch
    return lambda: batch.step(nstep=decimation)


def _environment(trainer: Any) -> Callable[[], None]:
    import torch

    environment = trainer.environment
    generator = torch.Generator().manual_seed(0)

    @torch.no_grad()
    def work() -> None:
        environment.step(0.3 * torch.randn(environment.num_envs, environment.action_size, generator=generator))

    return work


def _inference(trainer: Any) -> Callable[[], None]:
    import torch

    @torch.no_grad()
    def work() -> None:
        trainer.collect()

    return work


def _training(trainer: Any) -> Callable[[], None]:
    return lambda: trainer.iterate()


def _matrix_products(config: RunConfig, trainer: Any, own: int) -> Callable[[], None]:
    """Every matrix product of an iteration, on tensors that are there already.

    Forward for acting; then, for each minibatch and epoch, forward, the gradient of the weights, and the gradient of
    the inputs (but for the first layer, whose inputs need none).
    """
    import torch

    ppo, sizes = config.ppo, trainer.environment.observation_sizes
    networks = [
        [sizes["policy"], *config.policy.hidden, trainer.environment.action_size],
        [sizes["critic"], *config.policy.critic_hidden, 1],
    ]

    def products(rows: int, backward: bool) -> list[tuple[Any, Any, Any]]:
        found: list[tuple[Any, Any, Any]] = []
        for layers in networks:
            for number, (a, b) in enumerate(pairwise(layers)):
                x, w, y = torch.randn(rows, a), torch.randn(b, a), torch.randn(rows, b)
                found.append((x, w.t(), torch.empty(rows, b)))
                if backward:
                    found.append((y.t(), x, torch.empty(b, a)))
                    if number:
                        found.append((y, w, torch.empty(rows, a)))
        return found

    acting = products(own, backward=False)
    learning = products(own * ppo.horizon // ppo.minibatches, backward=True)

    @torch.no_grad()
    def work() -> None:
        for _ in range(ppo.horizon):
            for a, b, out in acting:
                torch.mm(a, b, out=out)
        for _ in range(ppo.epochs * ppo.minibatches):
            for a, b, out in learning:
                torch.mm(a, b, out=out)

    return work


def _plot(results: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    times = results["microseconds_per_step"]
    labels = ["physics limit", "environment", "+ policy", "training", "matrix products"]
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.subplots()
    medians = [times[part]["median"] for part in PARTS]
    spread = [
        [m - times[p]["min"] for m, p in zip(medians, PARTS, strict=True)],
        [times[p]["max"] - m for m, p in zip(medians, PARTS, strict=True)],
    ]
    axes.barh(
        labels,
        medians,
        xerr=spread,
        color=["#1f5fa8", "#6b95c4", "#6b95c4", "#d9700f", "#9aa4ae"],
        ecolor="#555",
        height=0.65,
    )
    axes.invert_yaxis()
    axes.set_xlabel("µs per environment step, all cores (median; lines: all repeats)")
    axes.set_title(
        f"{results['task']}, {results['machine']['processor']}, {results['machine']['cores']} cores",
        loc="left",
        fontsize=10,
    )
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
