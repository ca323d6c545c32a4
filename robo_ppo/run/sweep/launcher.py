"""What every launcher does: make a folder for each trial, have those trained that are not finished, and report.

A launcher of ours is a subclass that knows with how many cores a trial trains (`cores_of`), and where (`train`).
"""

import importlib
import os
import shlex
import sys
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf
from typing_extensions import override

from robo_ppo.config import RunConfig, typed
from robo_ppo.errors import UserError, why_not_imported
from robo_ppo.run import folder as folders
from robo_ppo.run.output import program
from robo_ppo.run.resolve import MOST_RANKS
from robo_ppo.run.sweep import table
from robo_ppo.run.sweep.attempt import Job
from robo_ppo.run.sweep.naming import trial_name
from robo_ppo.run.sweep.prepare import prepare, refuse_another
from robo_ppo.run.sweep.record import Record, read
from robo_ppo.run.sweep.stopping import Told, stoppable
from robo_ppo.run.sweep.table import Trial

# What a trial finds in its environment as it stands here, wherever it trains.
_PASSED_ON = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "MUJOCO_GL")


class TrialLauncher(Launcher):
    """A launcher whose trials are processes of their own, and usual runs."""

    retries = 0
    shows_trials = False  # on the terminal, instead of in each trial's output.log

    def __init__(self) -> None:
        self.trials: list[Trial] = []  # of all batches
        self._told = Told()

    @override
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._loader, self._config = hydra_context.config_loader, config
        self.check()

    @override
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        trials = self.run(job_overrides)
        self.report()
        returns: list[JobReturn] = []
        for trial, overrides in zip(trials, job_overrides, strict=True):
            done = JobReturn(overrides=list(overrides), status=JobStatus.COMPLETED)
            done.return_value = trial.record.value
            returns.append(done)
        return returns

    def check(self) -> None:
        """Refuse what cannot work, before anything is made."""
        if self.retries < 0:
            raise UserError(f"hydra.launcher.retries must be at least 0, not {self.retries}")
        self.require()

    def require(self) -> None:
        """Refuse where a library or a program is missing."""

    def connect(self) -> None:
        """Reach the machines that train."""

    @abstractmethod
    def cores_of(self, config: RunConfig) -> int:
        """Cores with which a trial trains."""

    @abstractmethod
    def train(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Record]]:
        """Train all, and say of each how it ended as soon as it has."""

    def run(self, batch: Sequence[Sequence[str]]) -> list[Trial]:
        """Train what is not finished of a batch of trials; each is a list of overrides, as the sweeper makes them."""
        setup_globals()
        configs = [self._compose(overrides) for overrides in batch]
        trials = [self._trial(overrides) for overrides in batch]
        if configs and configs[0].info:
            self._show(configs)
            return trials
        for trial, config in zip(trials, configs, strict=True):
            refuse_another(config, trial.folder)
        self.connect()
        self.trials += trials
        jobs = {job.folder: job for job in map(self._job, trials, configs) if job is not None}  # two may be the same
        print(f"{os.path.relpath(self.folder)}: {len(jobs)} of {len(batch)} trials to train", flush=True)
        with stoppable([self.folder], self._told):
            self._save()
            for job, record in self.train(list(jobs.values())):
                self._note(job.folder, record, [trial for trial in trials if trial.folder == job.folder])
        if self._told.by is not None:
            print(f"\n{table.text(self.trials)}\ngo on with: {self._again()}")
            sys.exit(self._told.exit_code)
        return trials

    def report(self) -> None:
        """Print the table of all trials; a `UserError` if some have not finished."""
        if not self.trials:
            return
        print(f"\n{table.text(self.trials)}\ntable: {os.path.relpath(self.folder / table.NAME)}", flush=True)
        missing = [trial for trial in self.trials if trial.record.state != "finished"]
        if missing:
            reasons = "".join(f"\n  {trial.name}: {trial.record.error}" for trial in missing)
            count = f"{len(missing)} of {len(self.trials)} trials did not finish"
            raise UserError(f"{count}:{reasons}\ntry them again with: {self._again()}")

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        return Path(str(self._config.hydra.sweep.dir)).absolute()

    def _compose(self, overrides: Sequence[str]) -> RunConfig:
        composed = OmegaConf.to_container(self._loader.load_sweep_config(self._config, list(overrides)))
        assert isinstance(composed, dict)
        del composed["hydra"]
        config = typed(OmegaConf.create(composed), RunConfig)
        if config.resume is not None:
            raise UserError(
                "a sweep resumes no single run; to go on with a sweep, give its command again with "
                "hydra.sweep.dir=<its folder>"
            )
        return config

    def _trial(self, overrides: Sequence[str]) -> Trial:
        """A trial, named by what is swept among its overrides."""
        chosen = self._config.hydra
        written = [
            *chosen.overrides.task,
            *(f"{key}={value}" for key, value in (chosen.sweeper.get("params") or {}).items()),
        ]
        parsed = OverridesParser.create(self._loader).parse_overrides(written)
        swept = {override.get_key_element() for override in parsed if override.is_sweep_override()}
        pairs = [text.partition("=") for text in overrides]
        values = {key: value for key, _, value in pairs if key in swept}
        name = trial_name(list(values.items()))
        return Trial(name, values, self.folder / name)

    def _job(self, trial: Trial, config: RunConfig) -> Job | None:
        """What is to be done for a trial: nothing if it has finished, or cannot begin."""
        cores = self.cores_of(config)
        try:
            prepare(config, trial.folder, cores)
        except UserError as error:
            trial.record = Record("failed", error=str(error))
            print(f"{trial.name}: {table.ending(trial.record)}", flush=True)
            return None
        trial.record = read(trial.folder)
        if trial.record.state == "finished":
            return None
        return self.job(trial.folder, cores)

    def job(self, folder: Path, cores: int, *, pause_at: int | None = None) -> Job:
        """A trial whose folder is prepared, as this process would train it."""
        paths = tuple(path or os.getcwd() for path in sys.path)
        passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        shown = self.shows_trials and pause_at is None
        return Job(folder, cores, self.retries, Path.cwd(), paths, passed_on, shown, pause_at)

    def _note(self, folder: Path, record: Record, trials: Sequence[Trial]) -> None:
        """Keep how a trial has ended, and say so."""
        for trial in trials:
            trial.record = record
        self._save()
        print(f"{folder.name}: {table.ending(record)}", flush=True)
        if record.state == "finished":
            runs = Path(str(self._config.runs))
            runs.mkdir(parents=True, exist_ok=True)  # the sweep may lie elsewhere
            folders.point_latest(runs, folder)

    def _save(self) -> None:
        try:
            table.save(self.folder, self.trials)
        except OSError as error:
            raise UserError(f"cannot write into {self.folder}: {error.strerror}") from error

    def _show(self, configs: Sequence[RunConfig]) -> None:
        """With info=true: what would be trained."""
        from robo_ppo.run import main_job

        for config in configs:
            main_job.run(config, [])

    def _again(self) -> str:
        """The command that does what is not finished."""
        arguments = [text for text in sys.argv[1:] if not text.startswith("hydra.sweep.dir=")]
        return f"{program('train')} {shlex.join([*arguments, f'hydra.sweep.dir={os.path.relpath(self.folder)}'])}"


def need(module: str, extra: str, choice: str) -> None:
    """Refuse what needs a library that is not installed, and say how to install it."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        reason = why_not_imported(module, error)
        raise UserError(f"{choice} needs {module}: pip install 'robo-ppo[{extra}]' ({reason})") from error


def share(config: RunConfig, most: int) -> int:
    """Cores for a trial: one for each thread of its ranks where they are given, else a few."""
    return config.ranks * max(1, config.threads) if config.ranks else min(MOST_RANKS, most)
