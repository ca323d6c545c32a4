"""Launchers that train on this machine: one trial after another, or side by side."""

from collections.abc import Iterator, Sequence

from typing_extensions import override

from robo_ppo.config import RunConfig, device_of
from robo_ppo.errors import UserError
from robo_ppo.run.resolve import MOST_RANKS, cores
from robo_ppo.run.sweep.attempt import Job, work
from robo_ppo.run.sweep.launcher import TrialLauncher, share
from robo_ppo.run.sweep.record import Record
from robo_ppo.run.sweep.settings import PLUGINS


class SerialLauncher(TrialLauncher):
    """One trial after another; each has the whole machine, and the terminal."""

    __module__ = PLUGINS
    shows_trials = True

    def __init__(self, retries: int) -> None:
        super().__init__()
        self.retries = retries

    @override
    def cores_of(self, config: RunConfig) -> int:
        return cores()

    @override
    def train(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Record]]:
        for job in jobs:
            yield job, work(job)


class JoblibLauncher(TrialLauncher):
    """Several trials at once, which share the cores: ranks that wait for no other one get more out of a core."""

    __module__ = PLUGINS

    def __init__(self, n_jobs: int, retries: int) -> None:
        super().__init__()
        self.n_jobs, self.retries = n_jobs, retries

    @override
    def require(self) -> None:
        if self.n_jobs < 0:
            raise UserError(f"hydra.launcher.n_jobs must be at least 0, not {self.n_jobs}")

    @override
    def cores_of(self, config: RunConfig) -> int:
        if config.ranks:
            return share(config, cores())
        several = max(cores() // MOST_RANKS, 2) if device_of(config) == "cpu" else 1  # a GPU is one trial's
        return max(1, cores() // (self.n_jobs or several))

    @override
    def train(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Record]]:
        import joblib  # takes a moment, which commands that only register this need not wait for

        if not jobs:
            return
        at_once = self.n_jobs or max(1, cores() // max(job.cores for job in jobs))
        # Threads, since all that they do is wait for the process of their trial.
        pool = joblib.Parallel(at_once, backend="threading", pre_dispatch="n_jobs", return_as="generator_unordered")
        for ended in pool(joblib.delayed(_labelled)(job) for job in jobs):
            assert ended is not None
            yield ended


def _labelled(job: Job) -> tuple[Job, Record]:
    return job, work(job)
