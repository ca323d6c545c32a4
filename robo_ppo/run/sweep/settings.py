"""Schemas of `hydra/launcher` and `hydra/sweeper`; `conf/hydra/` holds the values."""

from dataclasses import dataclass, field
from functools import cache

from hydra.core.config_store import ConfigStore

PLUGINS = "hydra_plugins.robo_ppo"
"""Where Hydra takes launchers and sweepers to be from: it allows none outside of `hydra_plugins`."""


@dataclass
class SerialSettings:
    """One trial after another on this machine."""

    _target_: str = f"{PLUGINS}.SerialLauncher"
    retries: int = 3  # how often a trial that was killed goes on from its newest checkpoint


@dataclass
class JoblibSettings:
    """Side by side on this machine."""

    _target_: str = f"{PLUGINS}.JoblibLauncher"
    n_jobs: int = 0  # trials at once, which share the cores; 0: two, or as many as leave each its ranks, or four
    retries: int = 3


@dataclass
class RaySettings:
    """On a Ray cluster, or on one of this machine's own for the time of the sweep."""

    _target_: str = f"{PLUGINS}.RayLauncher"
    address: str | None = None  # "auto" or host:port of a cluster; null: RAY_ADDRESS, or this machine alone
    num_cpus: int = 0  # of a trial; 0: its ranks × threads, or four
    num_gpus: float | None = None  # of a trial, also a part of one; null: 1 where device is a GPU
    retries: int = 3


@dataclass
class SubmititSettings:
    """Jobs of Slurm, or with `cluster: local` processes of this machine through the same library."""

    _target_: str = f"{PLUGINS}.SubmititLauncher"
    cluster: str = "slurm"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    timeout_min: int = 240  # of a job; one that runs out of it is queued again and goes on
    cpus_per_task: int = 0  # 0: the trial's ranks × threads, or four
    gpus_per_node: int | None = None  # null: 1 where device is a GPU
    mem_gb: float | None = None
    array_parallelism: int = 256  # jobs that Slurm runs at once
    setup: list[str] = field(default_factory=list)  # shell lines before the job, as `module load …`
    additional_parameters: dict[str, str] = field(default_factory=dict)  # further options of sbatch
    retries: int = 3


@dataclass
class OptunaSettings:
    """Optuna chooses the settings: the search space is what is swept on the command line, and `params`."""

    _target_: str = f"{PLUGINS}.OptunaSweeper"
    n_trials: int = 20
    n_jobs: int = 1  # trials that are chosen together, and trained at once where the launcher can
    sampler: str = "tpe"  # or random
    seed: int = 0
    storage: str | None = None  # a database of Optuna's, as sqlite:///study.db; null: the folders of the trials suffice
    study_name: str | None = None  # in that database; null: the name of the sweep's folder
    params: dict[str, str] = field(default_factory=dict)  # key → interval(…), choice(…), range(…)


@cache
def register() -> None:
    """Make the schemas known to Hydra, once in a process."""
    store = ConfigStore.instance()
    for name, node in (
        ("serial", SerialSettings),
        ("joblib", JoblibSettings),
        ("ray", RaySettings),
        ("submitit", SubmititSettings),
    ):
        store.store(group="hydra/launcher", name=f"{name}_schema", node=node)
    store.store(group="hydra/sweeper", name="optuna_schema", node=OptunaSettings)
