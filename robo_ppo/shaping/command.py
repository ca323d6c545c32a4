"""The body of `refine.py`: a folder, the tools that the configuration names, the loop, and what came of it.

runs/refine_uav_nav/2026-11-21_10-30-00/
  config.yaml  versions.json  refinement.json  refine_report.html
  candidates/{given,r01_c01,…}/{reward.py, packet.json, *.png, seed_0/}  llm/  best_reward.py  policy.onnx
"""

import dataclasses
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from robo_ppo.config import RefineConfig, RunConfig, parse
from robo_ppo.env.build import is_foreign
from robo_ppo.env.language import PROGRAM, Program, program_of
from robo_ppo.env.language import parse as parse_program
from robo_ppo.errors import UserError
from robo_ppo.run import folder as folders
from robo_ppo.run.lock import Busy, alone_in
from robo_ppo.run.output import program as command
from robo_ppo.run.sweep.launcher import TrialLauncher
from robo_ppo.shaping.candidates import Stopped, Trainings
from robo_ppo.shaping.final import POLICY
from robo_ppo.shaping.gate import RANKING, Gate
from robo_ppo.shaping.llm import choices as llm
from robo_ppo.shaping.llm.model import Model
from robo_ppo.shaping.prompt import Briefing
from robo_ppo.shaping.proposer import Author, Proposer
from robo_ppo.shaping.ranges import prepare as refine_ranges
from robo_ppo.shaping.record import NAME, Refinement, best_file
from robo_ppo.shaping.refine import GIVEN, Loop, Tools, rung_steps
from robo_ppo.shaping.search import Search
from robo_ppo.shaping.subject import RewardSubject

RANDOMIZATION = "randomization"
TARGETS = ("reward", RANDOMIZATION)


def run(config: RefineConfig, overrides: list[str], launcher: TrialLauncher) -> None:
    """Refine in a new folder, or go on in the one to resume; ends with what was found."""
    folder = None
    if config.resume is None:
        _check(config)
    else:
        folder, config = _to_resume(config, overrides)
    begin = _ranges(config, launcher) if config.target == RANDOMIZATION else _reward(config, launcher)
    if folder is None:  # all that can be wrong with what was given is known
        folder = _new_folder(config)
    try:
        with alone_in(folder):
            refinement = begin(folder)
    except Busy:
        raise UserError(f"another process is refining in {folder}; stop it first, or let it go on") from None
    except Stopped as stopped:
        print(f"stopped by {stopped.told.by}; {_again(folder)}")
        sys.exit(stopped.told.exit_code)
    except (UserError, KeyboardInterrupt):  # such as a server that does not answer, a person who will answer later
        if (folder / NAME).exists():
            print(f"what was done is kept; {_again(folder)}", flush=True)
        raise
    print(_conclusion(refinement, folder))


def _again(folder: Path) -> str:
    """How to go on: a launcher is no part of the configuration that is kept, so it is named again."""
    launcher = [text for text in sys.argv[1:] if text.startswith(("hydra/launcher=", "hydra.launcher."))]
    return f"go on with: {command('refine')} {shlex.join([f'resume={folder}', *launcher])}"


def _ranges(config: RefineConfig, launcher: TrialLauncher) -> Callable[[Path], Refinement]:
    """The loop over randomization ranges, to be run in a folder."""
    base = _base(config)
    given = refine_ranges.given_ranges(base)

    def begin(folder: Path) -> Refinement:
        model = llm.make_model(config.llm, folder)
        tools = refine_ranges.range_tools(given, config, base, folder, launcher, model)
        return Loop(config, given, base, folder, tools).run()

    return begin


def _reward(config: RefineConfig, launcher: TrialLauncher) -> Callable[[Path], Refinement]:
    """The loop over rewards, to be run in a folder; a `UserError` for a given one that nothing can be made of."""
    base = _base(config)
    given, gate = _given(base), Gate(base)
    for verdict in gate.judge(given):
        if not verdict.passed and verdict.stage != RANKING:  # a reward that ranks wrongly is what this is for
            raise UserError(f"the given reward: {verdict.message}")
        print(f"the given reward, {verdict.stage}: {verdict.message or 'passed'}")

    def begin(folder: Path) -> Refinement:
        tools = _tools(config, base, llm.make_model(config.llm, folder), gate, Trainings(launcher))
        return Loop(config, given, base, folder, tools).run()

    return begin


def _to_resume(config: RefineConfig, overrides: list[str]) -> tuple[Path, RefineConfig]:
    """The folder to go on in, and the configuration that it was begun with."""
    assert config.resume is not None
    folder = _refinement(config.resume, config.runs)
    path = folder / "config.yaml"
    stored = parse(path.read_text(), str(path), RefineConfig)
    changed = [text for text in overrides if not text.startswith(("resume=", "runs="))]
    if changed:
        raise UserError(f"a refinement goes on as it was configured, so {changed[0]} cannot apply")
    print(f"resuming {folder}")
    return folder, stored


def _new_folder(config: RefineConfig) -> Path:
    folder = folders.create(config.runs, f"refine_{config.task.name}", latest=False)
    folders.save_config(config, folder)
    print(f"refinement: {folder}", flush=True)
    return folder


def _refinement(name: str, runs: str) -> Path:
    """The folder of a refinement, given its path or "latest": the one that was begun last."""
    if name == folders.LATEST:
        begun = [path.parent for path in Path(runs).glob("refine_*/*/config.yaml")]
        if not begun:
            raise UserError(f"there is no refinement in {Path(runs).absolute()} yet")
        return max(begun, key=lambda folder: folder.name)
    folder = Path(name)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder.absolute()} is not a refinement: it has no config.yaml")
    if not folders.is_refinement(folder):  # working there would overwrite the run's policy
        raise UserError(f"{folder} is a run, not a refinement; {command('train')} resume={folder} goes on")
    return folder


def _check(config: RefineConfig) -> None:
    """A `UserError` for what makes no sense, before anything is made."""
    settings = config.refine
    if config.target not in TARGETS:
        raise UserError(f"target={config.target}: what is to be refined is {' or '.join(TARGETS)}")
    for key, least in (("rounds", 1), ("candidates", 1), ("seeds", 3), ("more_seeds", 0), ("episodes", 1)):
        if getattr(settings, key) < least:
            raise UserError(f"refine.{key} must be at least {least}, not {getattr(settings, key)}")
    if not 0.0 < settings.enough <= 1.0:
        raise UserError(f"refine.enough must be a share of episodes, above 0 and at most 1, not {settings.enough:g}")
    if settings.minutes is not None and not settings.minutes > 0.0:
        raise UserError(f"refine.minutes must be more than 0, or null for no limit, not {settings.minutes:g}")
    rungs = settings.rungs
    if not rungs or sorted(set(rungs)) != list(rungs) or not 0.0 < rungs[0] <= rungs[-1] <= 1.0:
        raise UserError(f"refine.rungs must be rising shares of total_steps, as [0.125, 0.25], not {list(rungs)}")
    if config.info:
        raise UserError("info=true is for train.py; here, try refine.rounds=1 with a small total_steps")
    if is_foreign(config):
        raise UserError(f"{config.task.name} brings its own environments; only tasks of signals can be refined")
    # Whom to ask, only to hear of a missing key, package or record: nothing is asked or written.
    llm.make_model(config.llm, Path(config.runs) / "new" / "new")


def _base(config: RefineConfig) -> RunConfig:
    """How a candidate trains, to the end: the last rung."""
    base = RunConfig(**{field.name: getattr(config, field.name) for field in dataclasses.fields(RunConfig)})
    base.total_steps = rung_steps(config)[-1]
    return base


def _given(base: RunConfig) -> Program:
    """The reward to begin with, as a program."""
    if base.program:
        return parse_program(base.program, PROGRAM).with_weights(base.reward)
    return program_of(base.reward, f"A reward for {base.task.name}.")


def _tools(config: RefineConfig, base: RunConfig, model: Model | None, gate: Gate, trainings: Trainings) -> Tools:
    briefing = Briefing(base, programs=config.refine.programs)
    proposer: Proposer
    if model is None:
        proposer = Search(gate, briefing.library, base.seed)
    else:
        name, library, programs = config.llm.name, briefing.library, config.refine.programs
        proposer = Author(model, name, briefing, library, gate.judge, programs=programs)
    return Tools(proposer, gate.judge, trainings, model, RewardSubject())


def _conclusion(refinement: Refinement, folder: Path) -> str:
    """What was found, in a few lines."""
    before, after = refinement.test_before, refinement.test_after
    assert before is not None
    assert after is not None
    said = [f"stopped by {refinement.stopped_by}; {refinement.seconds / 60:.1f} minutes"]
    if refinement.winner == GIVEN:
        unbeaten = f"nothing was shown to be better than the given {refinement.target}"
        said.append(f"{unbeaten}: {before.value:.1%} in test episodes")
    else:
        said.append(
            f"{refinement.winner}: success in test episodes {before.value:.1%} ({before.low:.1%} to {before.high:.1%}) "
            f"before, {after.value:.1%} ({after.low:.1%} to {after.high:.1%}) after"
        )
    best = folder / best_file(refinement.target)
    said.append(f"{refinement.target}: {best}, policy: {folder / POLICY}")
    if refinement.winner != GIVEN:
        said.append(f"train on it: {command('train')} task={refinement.task} {refinement.target}={best}")
    return "\n".join(said)
