"""The main job: train, export, evaluate what was exported, report. `python train.py` is this."""

import sys
from pathlib import Path

from robo_ppo.config import RunConfig
from robo_ppo.run import folder as folders
from robo_ppo.run.distributed import cores, resolve_ranks


def run(config: RunConfig, overrides: list[str], output: Path | None = None) -> None:
    """Do what the configuration says, in a new folder (or in `output`, or in the run to resume)."""
    if config.resume is not None:
        folder = folders.find(config.resume, config.runs)
        config = folders.load_config(folder)
    else:
        config.ranks = resolve_ranks(config.ranks)
        config.threads = config.threads or max(1, cores() // config.ranks)
        config.sim.threads = config.sim.threads or config.threads
        folder = folders.create(config.runs, config.task.name) if output is None else output
        folders.save_config(config, folder)
    from robo_ppo.run.train import train

    result = train(config, folder)
    print(result)
