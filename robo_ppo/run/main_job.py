"""The main job: train, export, evaluate what was exported, report. `python train.py` is this."""

import dataclasses
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from robo_ppo.config import RunConfig
from robo_ppo.errors import UserError
from robo_ppo.run import folder as folders
from robo_ppo.run import loggers
from robo_ppo.run.launch import Launch
from robo_ppo.run.launch import find as find_launch
from robo_ppo.run.others import other_ranks
from robo_ppo.run.output import program
from robo_ppo.run.resolve import check, on_cpu, resolved

if TYPE_CHECKING:
    from robo_ppo.run.train import TrainingResult


def run(config: RunConfig, overrides: list[str], output: Path | None = None) -> None:
    """Do what the configuration says, in a new folder (or in `output`, or in the run to resume).

    Of ranks that torchrun has started, each does this: all train, and rank 0 does the rest.
    """
    started = time.monotonic()
    launch = find_launch()
    if launch is None:
        config, known = _checked(config, overrides)
        with other_ranks(1 if config.info else config.ranks) as others:
            folder = _begun(config, known, output)
            if folder is None:
                return
            from robo_ppo.run.train import train

            result = train(config, folder, others=others)
    else:
        from robo_ppo.run.torchrun import Plan, joined
        from robo_ppo.run.train import take_part

        def prepare() -> Plan | None:
            checked, known = _checked(config, overrides, launch)
            begun = _begun(checked, known, output)
            return None if begun is None else (checked, begun)

        with joined(launch, config, prepare) as (ranks, plan):
            result = None if plan is None else take_part(*plan, ranks)
        if plan is None or result is None or not launch.leads:
            return
        config, folder = plan
    _conclude(config, folder, result)
    print(f"whole job: {time.monotonic() - started:.0f} s")


def _checked(config: RunConfig, overrides: list[str], launch: Launch | None = None) -> tuple[RunConfig, Path | None]:
    """The configuration of the run, and its folder if it is one to resume; all that shows without heavy imports."""
    folder = None
    if config.resume is not None:
        folder = folders.find(config.resume, config.runs)
        config = folders.resumed_config(folder, overrides)
        _refuse_unless_training(folder)
        check(config, launch)
        print(f"resuming {folder}")
    else:
        config = resolved(config, launch)
    loggers.check(config.logger)
    return config, folder


def _begun(config: RunConfig, folder: Path | None, output: Path | None) -> Path | None:
    """Show what is to be trained, and make its folder unless it has one; None where showing was all."""
    print(_table(config, is_new=folder is None))
    if config.info:
        return None
    if folder is None:
        folder = folders.create(config.runs, config.task.name) if output is None else output
        if output is not None:
            folders.point_latest(Path(config.runs), output)
        folders.save_config(config, folder)
        print(f"run: {folder}\n", flush=True)
    return folder


def go_on(folder: Path, pause_at: int | None = None) -> "TrainingResult":
    """Do, or do the rest of, what the configuration in a folder says: a trial of a sweep.

    With `pause_at` it only trains, up to so many environment steps.
    """
    started = time.monotonic()
    config = folders.load_config(folder)
    check(config)
    loggers.check(config.logger)
    with other_ranks(config.ranks) as others:
        from robo_ppo.run import checkpoint
        from robo_ppo.run.train import train

        print(_table(config, is_new=not checkpoint.numbered(folder)))
        result = train(config, folder, pause_at, others)
    _conclude(config, folder, result, finishes=pause_at is None)
    print(f"whole job: {time.monotonic() - started:.0f} s")
    return result


def _conclude(config: RunConfig, folder: Path, result: "TrainingResult", *, finishes: bool = True) -> None:
    """Say how the training ended, and finish the job unless it was told to stop."""
    if result.stopped_by.startswith("SIG"):
        print(
            f"stopped by {result.stopped_by} after {result.steps / 1e6:.2f} M steps; "
            f"go on with: {program('train')} resume={folder}"
        )
        sys.exit(130 if result.stopped_by == "SIGINT" else 143)
    from robo_ppo.run.metrics import score_text

    best = f"best validation {score_text(result.score, result.best_validation)}"
    print(f"trained {result.steps / 1e6:.2f} M steps in {result.seconds:.0f} s; {best}")
    if finishes:
        finish(config, folder)


def finish(config: RunConfig, folder: Path) -> None:
    """Export the best policy of a run, evaluate the file, and report."""
    from robo_ppo.run import evaluate
    from robo_ppo.run.export import export_run

    bundle = export_run(config, folder)
    print(f"exported {folder / 'policy.onnx'}")
    settings = config.evaluation
    if settings.episodes:
        options = evaluate.Options(settings.episodes, "test", settings.video, settings.video_seconds)
        evaluate.evaluate(folder, config, bundle, options, record_in=folder / "policy.onnx")


def _refuse_unless_training(folder: Path) -> None:
    """A folder with results and no checkpoint was made by an evaluation; one with neither was stopped at its start."""
    from robo_ppo.run import checkpoint

    if (folder / "policy.onnx").exists() and not checkpoint.numbered(folder):
        raise UserError(
            f"{folder} has no checkpoint to go on from: it is an evaluation; start from its policy with "
            f"init={folder / 'policy.onnx'}"
        )


def _table(config: RunConfig, *, is_new: bool) -> str:
    """The composed task; what is wrong with it, or with the learner's settings, shows before the run has a folder."""
    from robo_ppo.env.backends import check_machine
    from robo_ppo.env.build import is_foreign, make_environment
    from robo_ppo.learn.ppo import PPOSettings
    from robo_ppo.run.describe import describe
    from robo_ppo.run.train import initialise, make_model

    if not is_foreign(config):
        check_machine(config)
    with closing(make_environment(on_cpu(config), "train", 1, episodes=1)) as environment:
        environment.interface.onboard.refuse_to_export()
        model = make_model(config, environment.observation_sizes, environment.action_size)
        if is_new and config.init is not None:
            initialise(model, config)
        PPOSettings(**dataclasses.asdict(config.ppo))
        return describe(config, environment)
