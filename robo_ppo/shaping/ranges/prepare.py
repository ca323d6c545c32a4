"""What the loop works with for `target=randomization`: the given ranges, and tools made from a sweep of their policy.

    given = given_ranges(base)
    tools = range_tools(given, config, base, folder, launcher, model)      # trains the given ranges, and sweeps

The sweep needs a policy, so the given ranges are trained first, as far as the last rung. The loop finds that done.
"""

import json
from pathlib import Path

from robo_ppo.config import RefineConfig, RunConfig
from robo_ppo.env.build import make_task
from robo_ppo.errors import UserError
from robo_ppo.run.sweep.launcher import TrialLauncher
from robo_ppo.shaping.candidates import Trainings, Work, training_config
from robo_ppo.shaping.llm.model import Model
from robo_ppo.shaping.proposer import Proposer
from robo_ppo.shaping.ranges.author import RangeAuthor
from robo_ppo.shaping.ranges.flying import pilot_of
from robo_ppo.shaping.ranges.held_out import HeldOut, told
from robo_ppo.shaping.ranges.ranges import Ranges, ranges_of
from robo_ppo.shaping.ranges.search import RangeSearch
from robo_ppo.shaping.ranges.subject import RangeSubject, config_of, judge, kept
from robo_ppo.shaping.ranges.sweep import FILE, Sweep, has_errors, load, save, sweep
from robo_ppo.shaping.refine import GIVEN, Tools, rung_steps


def given_ranges(base: RunConfig) -> Ranges:
    """The ranges to begin with; a `UserError` where there is nothing to randomize."""
    if not make_task(base).robot.parameters() and not has_errors(base.task):
        raise UserError(
            f"there is nothing to randomize: {base.robot.entry_point} has no parameters, {base.task.name} no sensor "
            "errors; a robot says in parameters() what may differ"
        )
    return ranges_of(base.randomization, f"What was given for {base.task.name}.")


def range_tools(
    given: Ranges, config: RefineConfig, base: RunConfig, folder: Path, launcher: TrialLauncher, model: Model | None
) -> Tools[Ranges]:
    """The loop's tools.

    Raises:
        Stopped: a signal came while the given ranges trained.
        UserError: there is no policy to sweep.
    """
    steps = rung_steps(config)
    work = Work(folder / "candidates" / GIVEN / f"seed_{base.seed}", training_config(config_of(base, given), base.seed))
    swept = _swept(work, given, Trainings(launcher), steps, folder / FILE)
    print(swept.table(), flush=True)
    subject = RangeSubject(HeldOut(base, swept))
    proposer: Proposer[Ranges]
    if model is None:
        proposer = RangeSearch(swept, base.seed)
    else:
        proposer = RangeAuthor(model, config.llm.name, swept, base.task.name, lambda name: _worlds(folder, name, base))
    return Tools[Ranges](proposer, lambda one: judge(one, swept), Trainings(launcher, subject.reached), None, subject)


def _swept(work: Work, given: Ranges, trainings: Trainings, rungs: list[int], path: Path) -> Sweep:
    """The sweep of the given ranges' policy, as it is kept or is flown now."""
    if path.exists():
        return load(path)
    print(f"the given randomization, to be swept\n{given.text}", end="", flush=True)
    for steps in rungs:
        (result,) = trainings.train([work], steps)
        if isinstance(result, str):
            raise UserError(f"the given randomization cannot be trained: {result}")
        kept(work, steps)
    swept = sweep(work.config, pilot_of(work.config, kept(work, rungs[-1])))
    save(swept, path)
    return swept


def _worlds(folder: Path, name: str, base: RunConfig) -> str:
    """How a candidate's policy did in each held-out world, at the last rung that it reached."""
    found = (folder / "candidates" / name).glob(f"*_{base.seed}/held_out_*.json")  # of seed_0, or warm_0
    memories = [path for path in found if path.stem.rpartition("_")[2].isdigit()]
    last = max(memories, key=lambda path: int(path.stem.rpartition("_")[2]))
    return told(json.loads(last.read_text()))
