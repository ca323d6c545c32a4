"""`target=randomization`: candidates are ranges, judged in worlds that no training has seen.

    subject = RangeSubject(HeldOut(base, swept))
    trainings = Trainings(launcher, subject.reached)      # each rung's success is that in the held-out worlds
    verdicts = judge(ranges, swept)                       # before training

The success of a training's own validation says nothing here: its episodes have the ranges that it trained with, and the
narrowest would win. So every policy flies the held-out worlds, and none may fly the nominal vehicle much worse than the
given ranges' policy does.
"""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from typing_extensions import override

from robo_ppo import atomic
from robo_ppo.config import RandomizationConfig, RunConfig
from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.run import checkpoint
from robo_ppo.run import folder as folders
from robo_ppo.run.evaluate import Options, evaluate
from robo_ppo.run.export import BUNDLE, export_run
from robo_ppo.shaping.candidates import Work, diagnosed
from robo_ppo.shaping.documents import write_json
from robo_ppo.shaping.judge import Entrant, Judged, Judgement
from robo_ppo.shaping.packets.packet import Packet
from robo_ppo.shaping.packets.rules import Flag
from robo_ppo.shaping.ranges.flying import PilotOf, pilot_of
from robo_ppo.shaping.ranges.held_out import HeldOut, share, told
from robo_ppo.shaping.ranges.ranges import Ranges, applied
from robo_ppo.shaping.ranges.sweep import ERRORS, Sweep
from robo_ppo.shaping.record import Share, Verdict
from robo_ppo.shaping.subject import Subject

STAGE = "ranges"
EPISODES = 200  # at a rung, in each world
MARGIN = 0.05  # of success with the nominal vehicle, that may be lost


class RangeSubject(Subject[Ranges]):
    """Randomization, for the loop."""

    name = "randomization"

    def __init__(self, worlds: HeldOut) -> None:
        self._worlds = worlds

    @override
    def config(self, base: RunConfig, item: Ranges) -> RunConfig:
        return config_of(base, item)

    @override
    def diagnosed(self, work: Work, output: Path, *, episodes: int, pictures: bool) -> Packet:
        """With the nominal vehicle, the same for every candidate."""
        config = dataclasses.replace(work.config, randomization=RandomizationConfig(measurement_errors=1.0))
        return diagnosed(Work(work.folder, config), output, episodes=episodes, pictures=pictures)

    def reached(self, work: Work, steps: int) -> Share:
        """Success in the held-out worlds of the best policy after so many steps."""
        return self._flown(work.folder / f"held_out_{steps}.json", work.config, kept(work, steps), EPISODES)

    @override
    def success(self, work: Work, packet: Packet, episodes: int) -> Share:
        best, first = work.folder / "checkpoints" / checkpoint.BEST, max(EPISODES, work.config.validation.episodes)
        return self._flown(work.folder / "held_out_final.json", work.config, best, self._each(episodes), first=first)

    @override
    def judged(self, entrants: Sequence[Entrant], judgement: Judgement | None) -> list[Judged]:
        return [Judged(one.name, one.packet, tuple(self.flags(one.packet, one.parent))) for one in entrants]

    @override
    def flags(self, packet: Packet, parent: Packet | None) -> list[Flag]:
        if parent is None or parent.success.value - packet.success.value <= MARGIN:
            return []
        numbers = f"{packet.success.value:.1%} instead of {parent.success.value:.1%}"
        return [Flag("nominal", f"success with the nominal vehicle is {numbers}; {MARGIN:.0%} may be lost")]

    @override
    def tested(self, folder: Path, options: Options) -> Share:
        config = folders.load_config(folder)
        bundle = export_run(config, folder)
        if options.video:
            evaluate(folder, config, bundle, options, record_in=folder / BUNDLE)
        each = self._each(options.episodes)
        found = self._worlds.successes(pilot_of(config, folder / BUNDLE), each, "test")
        print(f"  test episodes: {told(found)}", flush=True)
        return share(found, each)

    def _each(self, episodes: int) -> int:
        return max(1, episodes // len(self._worlds.worlds))

    def _flown(self, memory: Path, config: RunConfig, policy: Path, episodes: int, first: int = 0) -> Share:
        """What is remembered of a policy, or is found out now, in episodes from `first` on."""
        if not memory.exists():
            pilot: PilotOf = pilot_of(config, policy)
            found = self._worlds.successes(pilot, episodes, first=first)
            write_json(memory, found)
        found = json.loads(memory.read_text())
        print(f"  {memory.parent.parent.name}: {told(found)}", flush=True)
        return share(found, episodes)


def config_of(base: RunConfig, ranges: Ranges) -> RunConfig:
    """How a candidate trains: to the end, since its own validation is the easier the narrower its ranges."""
    validation = dataclasses.replace(base.validation, target=None)
    return dataclasses.replace(applied(base, ranges), validation=validation)


def kept(work: Work, steps: int) -> Path:
    """A copy of the best policy of a training that stands at so many steps: it may be flown when there is a better."""
    copy = work.folder / "checkpoints" / f"best_{steps}.pt"
    if not copy.exists():
        with atomic.beside(copy) as fresh:
            shutil.copyfile(copy.with_name(checkpoint.BEST), fresh)
    return copy


def judge(ranges: Ranges, swept: Sweep) -> list[Verdict]:
    """Whether anybody can train with these ranges: the gate."""
    try:
        check(ranges, swept)
    except UserError as error:
        return [Verdict(STAGE, False, str(error))]
    return [Verdict(STAGE, True)]


def check(ranges: Ranges, swept: Sweep) -> None:
    """A `UserError` for ranges of what is unknown, without the nominal value, or beyond what the sweep looked at."""
    for name, (low, high) in ranges.parameters.items():
        if name not in swept.parameters:
            raise UserError(f"the robot has no parameter '{name}'; {did_you_mean(name, swept.parameters)}")
        one = swept.parameters[name]
        floor, ceiling = 0.0 if one.is_factor else one.floor, one.ceiling
        slack = 0.01 * (ceiling - floor)  # what rounding adds
        if not low <= one.nominal <= high:
            raise UserError(f"{name}: [{low:g}, {high:g}] does not hold the nominal value, {one.nominal:g}")
        if low < floor - (0.0 if one.is_factor else slack) or high > ceiling + slack:
            raise UserError(f"{name}: [{low:g}, {high:g}] goes beyond what was swept, [{floor:g}, {ceiling:g}]")
    most = 1.0 if swept.errors is None else swept.errors.ceiling
    if not 0.0 <= ranges.measurement_errors <= most:
        raise UserError(f"{ERRORS} must be a factor from 0 to {most:g}, not {ranges.measurement_errors:g}")
