"""One training of one learner, in a process of its own: clean memory, and threads that nobody else has touched.

    outcome = run(Job("rsl_rl", config, milestones=(2_000_000, 5_000_000)))

The policies at the milestones are kept and validated once the training is over, so that its times are its own.
"""

import importlib.metadata
import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers.learner import Iteration, load, steps_of_iteration
from robo_ppo.config import RunConfig
from robo_ppo.run.episodes import Act


@dataclass(frozen=True)
class Job:
    """What to train, on what, and when to look at it."""

    learner: str
    config: RunConfig
    milestones: Sequence[int] = ()  # environment steps


@dataclass
class Outcome:
    """What came of it."""

    learner: dict[str, Any] = field(default_factory=dict[str, Any])  # versions, settings and their sources
    collect: list[float] = field(default_factory=list[float])  # s, of each iteration
    update: list[float] = field(default_factory=list[float])
    success: list[float] = field(default_factory=list[float])  # at each milestone

    def seconds_until(self, iterations: int) -> float:
        """How long the first so many iterations took."""
        return sum(self.collect[:iterations]) + sum(self.update[:iterations])


class Recorder:
    """Notes the times of a training, and keeps its policy at the milestones."""

    def __init__(self, job: Job) -> None:
        self._steps, self._milestones = steps_of_iteration(job.config), job.milestones
        self.outcome = Outcome()
        self.policies: dict[int, Act] = {}

    def __call__(self, iteration: Iteration) -> None:
        """After each iteration."""
        self.outcome.collect.append(iteration.collect)
        self.outcome.update.append(iteration.update)
        done = self._steps * len(self.outcome.collect)
        for milestone in self._milestones:
            if done >= milestone and milestone not in self.policies:
                self.policies[milestone] = iteration.policy()


def run(job: Job) -> Outcome:
    """Train in a process of its own; whatever is raised there is raised here."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as executor:
        return executor.submit(_in_its_process, job).result()


def _in_its_process(job: Job) -> Outcome:
    from robo_ppo.run.output import silence

    silence()
    threading.Thread(target=_leave_with_the_parent, daemon=True).start()
    return perform(job)


def _leave_with_the_parent() -> None:
    """A benchmark that was killed must not leave a training behind, which would slow down the next one."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def perform(job: Job) -> Outcome:
    """Train and validate."""
    import torch

    from benchmarks.peers.validation import success

    torch.set_num_threads(job.config.threads)
    learner, recorder = load(job.learner), Recorder(job)
    learner.train(job.config, recorder)
    outcome = recorder.outcome
    outcome.learner = {
        "versions": {name: importlib.metadata.version(name) for name in learner.DISTRIBUTIONS},
        "settings": learner.settings(job.config),
        "sources": list(learner.SOURCES),
    }
    if job.milestones:
        found = success(job.config, recorder.policies)
        outcome.success = [found[milestone] for milestone in job.milestones]
    return outcome
