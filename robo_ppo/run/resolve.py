"""What a configuration needs before a run begins: numbers that fit together, and nothing left to the machine.

All of it is checked here before anything heavy is imported; what only the task or the networks know, they check.
"""

import dataclasses
import os
from functools import reduce
from pathlib import Path

from robo_ppo.config import RunConfig, SimConfig, device_of
from robo_ppo.errors import UserError
from robo_ppo.run import folder as folders
from robo_ppo.run.launch import Launch

MOST_RANKS = 4
_LEAST = {
    "num_envs": 1,
    "total_steps": 1,
    "ranks": 0,
    "threads": 0,
    "seed": 0,
    "checkpoint_every": 1,
    "sim.threads": 0,
    "sim.contacts": 0,
    "sim.constraints": 0,
    "task.decimation": 1,
    "task.observation.history": 1,
    "ppo.horizon": 1,
    "ppo.epochs": 1,
    "ppo.minibatches": 1,
    "validation.every": 1,
    "validation.episodes": 1,
    "evaluation.episodes": 0,
}
_PRECISIONS = ("auto", "float32", "tf32", "bf16")
_EXAMPLES = {"gymnasium": "HalfCheetah-v5", "isaac_lab": "Isaac-Velocity-Flat-AnymalD"}
_POSITIVE = ("task.episode_seconds", "task.timestep", "evaluation.video_seconds")


def cores() -> int:
    """Cores that this process may use: its share of the machine where trials of a sweep run side by side."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(available, int(os.environ.get("ROBO_PPO_CORES", available)))


def resolved(config: RunConfig, launch: Launch | None = None, available: int | None = None) -> RunConfig:
    """The configuration, checked, with what depends on the machine filled in, so that the run can be repeated.

    The machine is this one, or one with as many cores as are `available`. Where torchrun has started the ranks, they
    are as many as it says.
    """
    available = available or cores()
    device = device_of(config)
    precision = _automatic_precision(device) if config.precision == "auto" else config.precision
    config = dataclasses.replace(config, device=device, precision=precision)
    _check_limits(config)
    ranks = config.ranks or (launch.size if launch is not None else _automatic_ranks(config, available))
    threads = config.threads or max(1, available // (launch.local_size if launch is not None else ranks))
    sim = dataclasses.replace(config.sim, threads=config.sim.threads or threads)
    config = dataclasses.replace(config, ranks=ranks, threads=threads, sim=sim, init=_found(config.init, config.runs))
    check(config, launch)
    return config


def _automatic_precision(device: str) -> str:
    """bf16 where the processor multiplies it natively, which is quicker there and learns as well; float32 elsewhere."""
    flags = Path("/proc/cpuinfo").read_text() if device == "cpu" and Path("/proc/cpuinfo").is_file() else ""
    return "bf16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def on_cpu(config: RunConfig) -> RunConfig:
    """The same task on MuJoCo itself, with all cores: there, and not on Warp, an exported policy is judged and shown.

    The physics is the same on any number of threads. Environments of another library stay where they are.
    """
    device = config.device if config.sim.backend == "mujoco_cpu" else "cpu"
    return dataclasses.replace(config, sim=SimConfig(threads=cores()), device=device)


def _automatic_ranks(config: RunConfig, available: int) -> int:
    """One for each core, a few at most, and no more than can share the work equally; a GPU is one rank's."""
    if config.device != "cpu":
        return 1
    for ranks in range(min(MOST_RANKS, available), 1, -1):
        try:
            _check_shares(dataclasses.replace(config, ranks=ranks))
        except UserError:
            continue
        return ranks
    return 1


def check(config: RunConfig, launch: Launch | None = None) -> None:
    """Refuse numbers of a resolved configuration that are out of their range or do not fit together."""
    _check_limits(config)
    _check_shares(config)
    _check_ranks(config, launch)


def _check_ranks(config: RunConfig, launch: Launch | None) -> None:
    """A resumed run needs the ranks that it had, and several GPUs need somebody who starts a process for each."""
    if launch is not None and config.ranks != launch.size:
        instead = f"--nproc-per-node {config.ranks}" if launch.is_on_one_machine else f"{config.ranks} in all"
        raise UserError(
            f"this run has {config.ranks} ranks, and torchrun has started {launch.size}; a run goes on with as many as "
            f"it had: start {instead}"
        )
    if launch is None and config.device != "cpu" and config.ranks > 1:
        raise UserError(
            f"device={config.device} with ranks={config.ranks}: each rank needs a GPU of its own; "
            f"start them with torchrun --nproc-per-node {config.ranks}"
        )


def _check_limits(config: RunConfig) -> None:
    if config.task.settings.get("env_id") == "":
        library = folders.library_of(config.task.entry_point)
        raise UserError(f"task={library} needs the name of an environment: env_id={_EXAMPLES[library]}")
    for key, least in _LEAST.items():
        value: int = reduce(getattr, key.split("."), config)
        if value < least:
            raise UserError(f"{key} must be at least {least}, not {value}")
    foreign = bool(config.env_id)  # whose environments know their own times
    for key in (key for key in _POSITIVE if not (foreign and key.startswith("task."))):
        seconds: float = reduce(getattr, key.split("."), config)
        if not 0.0 < seconds < float("inf"):
            raise UserError(f"{key} must be greater than 0, not {seconds}")
    if config.env_id and config.env_id != config.task.settings.get("env_id"):
        raise UserError(
            f"env_id={config.env_id} is for task=gymnasium and task=isaac_lab; {config.task.name} takes none"
        )
    simulates = "device" in config.task.settings  # the task itself, and where it is told
    if config.device != "cpu" and config.sim.backend == "mujoco_cpu" and not simulates:
        raise UserError(f"device={config.device}; sim=mujoco_cpu runs on device=cpu alone; on a GPU: sim=mujoco_warp")
    if config.precision == "tf32" and config.device == "cpu":
        raise UserError("precision=tf32 is a GPU's; on a CPU it must be auto, float32 or bf16")
    if config.precision not in _PRECISIONS:
        raise UserError(f"precision={config.precision}; it must be {', '.join(_PRECISIONS[:-1])} or {_PRECISIONS[-1]}")


def _check_shares(config: RunConfig) -> None:
    """Every rank gets as many environments as any other, and every minibatch as many samples."""
    if config.num_envs % config.ranks:
        raise UserError(
            f"num_envs={config.num_envs} cannot be shared equally by {config.ranks} ranks; "
            f"{config.num_envs - config.num_envs % config.ranks + config.ranks} can, or choose another number of ranks"
        )
    if config.validation.episodes < config.ranks:
        raise UserError(
            f"validation.episodes={config.validation.episodes} must be at least the number of ranks, {config.ranks}"
        )
    samples = config.ppo.horizon * config.num_envs // config.ranks
    if samples % config.ppo.minibatches:
        raise UserError(
            f"ppo.minibatches={config.ppo.minibatches} does not divide the {samples} samples of an iteration "
            f"(ppo.horizon={config.ppo.horizon} times the {config.num_envs // config.ranks} environments of a rank)"
        )
    if config.policy.recurrent != "none" and (config.num_envs // config.ranks) % config.ppo.minibatches:
        raise UserError(
            f"ppo.minibatches={config.ppo.minibatches} does not divide the {config.num_envs // config.ranks} "
            f"environments of a rank; a policy with policy.recurrent={config.policy.recurrent} learns from whole ones"
        )


def _found(init: str | None, runs: str) -> str | None:
    """Where to start from as a path: `latest` is another run once this one has a folder."""
    if init is None or init.endswith(".onnx"):
        return init
    return str(folders.find(init, runs).absolute())
