"""How fast each learner trains: collecting and updating, measured in turn, since a machine drifts.

Physics always has all cores. Our learner is measured as it is shipped, and every learner as one process, with one
thread for torch and with one for each core; the faster of the two counts for it. (On a CPU the others have but one
process: rsl_rl and skrl distribute themselves through NCCL alone, Stable-Baselines3 not at all.)
"""

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.job import Job, Outcome, run
from benchmarks.peers.learner import MODULES, NAMES, steps_of_iteration
from benchmarks.peers.results import Entry, Results
from robo_ppo.config import RunConfig
from robo_ppo.run.resolve import cores


@dataclass(frozen=True)
class Setup:
    """A learner and the processes and threads that it works with."""

    learner: str
    ranks: int
    torch_threads: int  # of each rank
    physics_threads: int  # of each rank

    @property
    def name(self) -> str:
        """The learner, as readers know it."""
        return NAMES[self.learner]

    @property
    def processes(self) -> str:
        """How many, in words."""
        return "1 process" if self.ranks == 1 else f"{self.ranks} processes"

    def configure(self, config: RunConfig) -> RunConfig:
        """The run's configuration with these processes and threads."""
        sim = dataclasses.replace(config.sim, threads=self.physics_threads)
        return dataclasses.replace(config, ranks=self.ranks, threads=self.torch_threads, sim=sim)

    def entries(self, results: Results) -> list[Entry]:
        """What was measured of it, one entry for each repeat."""
        return results.find("speed", **dataclasses.asdict(self))


def shipped(config: RunConfig) -> Setup:
    """Our learner as `python train.py` runs it on this machine."""
    return Setup("ours", config.ranks, config.threads, config.sim.threads)


def setups(config: RunConfig, learners: Sequence[str]) -> list[Setup]:
    """All that is to be measured."""
    threads = sorted({1, cores()})
    found = [shipped(config)] if "ours" in learners else []
    found += [Setup(learner, 1, number, cores()) for learner in learners for number in threads]
    return list(dict.fromkeys(found))


def fastest(results: Results, setups: Sequence[Setup]) -> Setup:
    """Of some setups the one with the highest median speed; the first one where nothing was measured."""

    def median(setup: Setup) -> float:
        return statistics.median([entry["steps_per_second"] for entry in setup.entries(results)] or [0.0])

    return max(setups, key=median)


def measure(
    results: Results, config: RunConfig, learners: Sequence[str], repeats: int, warm_up: int, iterations: int
) -> None:
    """Measure what is not measured yet, every other repeat in reverse order."""
    steps = steps_of_iteration(config)
    config = dataclasses.replace(config, total_steps=(warm_up + iterations) * steps)
    chosen = setups(config, learners)
    for repeat in range(repeats):
        for setup in chosen if repeat % 2 == 0 else reversed(chosen):
            if any(entry["repeat"] == repeat for entry in setup.entries(results)):
                continue
            outcome = run(Job(setup.learner, setup.configure(config)))
            results.describe(setup.learner, outcome.learner)
            results.add("speed", {**dataclasses.asdict(setup), "repeat": repeat, **_summary(outcome, warm_up, steps)})
            speed = results.entries("speed")[-1]["steps_per_second"]
            threads = f"torch {setup.torch_threads}, physics {setup.physics_threads}"
            print(f"{setup.name}, {setup.processes}, {threads}: {speed:.0f} steps/s", flush=True)


def measured(results: Results) -> list[Setup]:
    """All setups that were measured: ours as shipped first, then the learners as one process."""
    names = [field.name for field in dataclasses.fields(Setup)]
    found = dict.fromkeys(Setup(**{name: entry[name] for name in names}) for entry in results.entries("speed"))
    return sorted(found, key=lambda setup: (-setup.ranks, list(MODULES).index(setup.learner), setup.torch_threads))


def _summary(outcome: Outcome, warm_up: int, steps: int) -> dict[str, Any]:
    """Medians over the iterations after the warm-up."""
    collect, update = statistics.median(outcome.collect[warm_up:]), statistics.median(outcome.update[warm_up:])
    return {"steps_per_second": steps / (collect + update), "collect_seconds": collect, "update_seconds": update}
