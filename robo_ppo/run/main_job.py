"""The main job: train, export, evaluate what was exported, report. `python train.py` is this."""

import dataclasses
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from robo_ppo.config import RunConfig
from robo_ppo.run import folder as folders
from robo_ppo.run.distributed import cores, resolve_ranks

if TYPE_CHECKING:
    from robo_ppo.export.bundle import Bundle

_GOLDEN_FLIGHTS = 200  # environments whose measurements the exported policy is compared on
_GOLDEN_STEPS = 50


def run(config: RunConfig, overrides: list[str], output: Path | None = None) -> None:
    """Do what the configuration says, in a new folder (or in `output`, or in the run to resume)."""
    started = time.monotonic()
    if config.resume is not None:
        folder = folders.find(config.resume, config.runs)
        config = folders.resumed_config(folder, overrides)
        print(f"resuming {folder}")
    else:
        config = resolved(config)
        folder = None
    print(_table(config))
    if config.info:
        return
    if folder is None:
        folder = folders.create(config.runs, config.task.name) if output is None else output
        folders.save_config(config, folder)
        print(f"run: {folder}\n")

    from robo_ppo.run.train import train

    result = train(config, folder)
    if result.stopped_by.startswith("SIG"):
        print(
            f"stopped by {result.stopped_by} after {result.steps / 1e6:.2f} M steps; go on with: python train.py resume={folder}"
        )
        sys.exit(130 if result.stopped_by == "SIGINT" else 143)
    print(
        f"trained {result.steps / 1e6:.2f} M steps in {result.seconds:.0f} s; best validation {result.best_validation or 0.0:.1%}"
    )
    finish(config, folder, result.steps)
    print(f"whole job: {time.monotonic() - started:.0f} s")


def resolved(config: RunConfig) -> RunConfig:
    """The configuration with what depends on this machine filled in, so that the run can be repeated."""
    ranks = resolve_ranks(config.ranks)
    threads = config.threads or max(1, cores() // ranks)
    sim = dataclasses.replace(config.sim, threads=config.sim.threads or threads)
    return dataclasses.replace(config, ranks=ranks, threads=threads, sim=sim)


def finish(config: RunConfig, folder: Path, steps: int) -> None:
    """Export the best policy of a run, evaluate the file, and report."""
    from robo_ppo.run import evaluate

    bundle = export(config, folder, steps)
    print(f"exported {folder / 'policy.onnx'}")
    settings = config.evaluation
    if settings.episodes:
        options = evaluate.Options(settings.episodes, "test", settings.video, settings.video_seconds)
        metrics = evaluate.evaluate(folder, config, bundle, options)
        evaluate.record_in_bundle(folder / "policy.onnx", metrics)


def export(config: RunConfig, folder: Path, steps: int) -> "Bundle":
    """Write policy.onnx from the best checkpoint, checked against torch on measurements of validation flights."""
    import torch

    from robo_ppo.env.build import build
    from robo_ppo.export.contract import Training
    from robo_ppo.export.policy import export_policy, measured_sequence
    from robo_ppo.run import checkpoint
    from robo_ppo.run.train import load_model, make_model

    environment = build(config, "validation", _GOLDEN_FLIGHTS, episodes=_GOLDEN_FLIGHTS)
    model = make_model(config, environment.observation_sizes, environment.action_size)
    best = checkpoint.read(folder / "checkpoints" / checkpoint.BEST)
    load_model(model, best["model"], str(folder))
    generator = torch.Generator().manual_seed(config.seed)
    size = (_GOLDEN_FLIGHTS, environment.action_size)
    actions = [0.3 * torch.randn(size, generator=generator) for _ in range(_GOLDEN_STEPS - 1)]
    versions = folders.versions()
    training = Training(
        commit=versions["commit"], seed=config.seed, steps=best["steps"], config=folders.portable(config)
    )
    return export_policy(
        folder / "policy.onnx", environment, model, measured_sequence(environment, actions), versions, training
    )


def _table(config: RunConfig) -> str:
    from robo_ppo.env.build import build
    from robo_ppo.run.describe import describe

    return describe(config, build(config, "train", 1, episodes=1))
