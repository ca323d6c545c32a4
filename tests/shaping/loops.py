"""A loop whose trainings take no time: the policy that a reward leads to was written down, everything else is real.

Where the flights themselves are not what a test is about, they are foretold, too.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

from robo_ppo.config import RefineConfig, RefineSettings, RunConfig, parse_config
from robo_ppo.env.language import Program, program_of
from robo_ppo.learn.actor_critic import ActorCritic
from robo_ppo.run import checkpoint
from robo_ppo.run.evaluate import Options
from robo_ppo.run.export import export_run
from robo_ppo.run.sweep.attempt import Job
from robo_ppo.run.sweep.launcher import TrialLauncher
from robo_ppo.run.sweep.record import Record, read, write
from robo_ppo.shaping.candidates import Trainings, Work
from robo_ppo.shaping.final import POLICY
from robo_ppo.shaping.gate import Gate
from robo_ppo.shaping.llm.model import Usage
from robo_ppo.shaping.packets.packet import Packet
from robo_ppo.shaping.proposer import Proposal, Request
from robo_ppo.shaping.record import Share, share_of
from robo_ppo.shaping.refine import Loop, Tools
from robo_ppo.shaping.subject import RewardSubject
from robo_ppo_onboard.bundle import Bundle, read_bundle
from tests.run.by_hand import hovering
from tests.shaping.packets import SOUND, config_of, hovering_above

GOOD = {"progress": 3.0, "success_bonus": 10.0, "failure": 10.0, "time": 0.01}
BESIDE = {"progress": 3.0, "failure": 10.0, "clearance_margin": 0.1}
TOTAL = 1000
OVERRIDES = (
    f"total_steps={TOTAL}",
    "validation.episodes=8",
    "task.episode_seconds=4.0",
    "task.settings.start_tilt=10.0",
)


def reward(weights: dict[str, float]) -> Program:
    given = {name: {"weight": weight} for name, weight in weights.items()}
    if "clearance_margin" in given:
        given["clearance_margin"]["margin"] = 0.3
    return program_of(given, "A test.")


_EXPORTED: dict[bool, bytes] = {}


def exported_once(config: RunConfig, folder: Path) -> Bundle:
    """What `export_run` gives; the two policies that there are are exported once each, since that takes seconds."""
    arrives = "success_bonus" in config.reward
    path = folder / "policy.onnx"
    if arrives in _EXPORTED:
        path.write_bytes(_EXPORTED[arrives])
    else:
        export_run(config, folder)
        _EXPORTED[arrives] = path.read_bytes()
    return read_bundle(path)


def config(**refine: object) -> RefineConfig:
    """A loop of one round with three seeds, whose episodes are few."""
    base = config_of(*OVERRIDES)
    made = RefineConfig(**vars(base))
    made.refine = RefineSettings(rounds=1, rungs=[0.25, 0.5], episodes=6, pictures=False, video=False)
    for name, value in refine.items():
        setattr(made.refine, name, value)
    return made


@dataclass
class Script:
    """Proposes what it was told to, and counts how often it was asked."""

    programs: Sequence[Program]
    origin: str = "script"
    asked: int = 0

    def propose(self, request: Request) -> tuple[list[Proposal], Usage]:
        self.asked += 1
        return [Proposal(one, request.leader.name, self.origin, "told to") for one in self.programs], Usage(1, 10, 5)


class Teacher(TrialLauncher):
    """Leaves in a trial's folder what a training would: who is paid for success hovers, the others stay beside it."""

    def __init__(self, fails: Callable[[RunConfig], str] = lambda _: "") -> None:
        super().__init__()
        self.trained: list[tuple[Path, int]] = []
        self.at_once = 0  # of what it was given, the most
        self._fails = fails
        self._models: dict[bool, ActorCritic] = {}

    def cores_of(self, config: RunConfig) -> int:
        return 1

    def train(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Record]]:
        self.at_once = max(self.at_once, len(jobs))
        for job in jobs:
            yield job, self._train(job)

    def _train(self, job: Job) -> Record:
        trained = stored(job.folder)
        self.trained.append((job.folder, job.pause_at or 0))
        error = self._fails(trained)
        if error:
            record = dataclasses.replace(read(job.folder), state="failed", error=error)
        else:
            steps, arrives = job.pause_at or TOTAL, "success_bonus" in trained.reward
            success = (steps - 50.0) / TOTAL if arrives else 0.0
            best = {"model": self._model(trained, arrives).state_dict(), "steps": steps, "validation": success}
            checkpoint.write(job.folder / "checkpoints" / checkpoint.BEST, best)
            row = {"step": float(steps), "seconds": steps / 100.0, "validation/success": success}
            with (job.folder / "metrics.jsonl").open("a") as rows:
                rows.write(json.dumps(row) + "\n")
            record = Record("finished" if steps >= TOTAL else "paused", 1, "success", success, steps, steps / 100.0)
        write(job.folder, record)
        return record

    def _model(self, trained: RunConfig, arrives: bool) -> ActorCritic:
        if arrives not in self._models:
            self._models[arrives] = hovering(trained) if arrives else hovering_above(trained)
        return self._models[arrives]


def stored(folder: Path) -> RunConfig:
    """A training's configuration, read once."""
    return _parsed((folder / "config.yaml").read_text())


@functools.cache
def _parsed(text: str) -> RunConfig:
    return parse_config(text, "a training")


@functools.cache
def gate() -> Gate:
    return Gate(config_of(*OVERRIDES))


class Foretold(RewardSubject):
    """Nothing is flown: who is paid for success has it in eight of ten episodes, the others never do."""

    @override
    def diagnosed(self, work: Work, output: Path, *, episodes: int, pictures: bool) -> Packet:
        return dataclasses.replace(SOUND, success=_foretold(work.config, episodes), folder=str(output))

    @override
    def tested(self, folder: Path, options: Options) -> Share:
        (folder / POLICY).write_bytes(b"a policy")
        return _foretold(stored(folder), options.episodes)


def _foretold(config: RunConfig, episodes: int) -> Share:
    return share_of(round(0.8 * episodes) if "success_bonus" in config.reward else 0, episodes)


def loop(
    folder: Path,
    given: Program,
    proposer: Script,
    teacher: Teacher,
    settings: RefineConfig,
    *,
    seed: int = 0,
    subject: RewardSubject | None = None,
) -> Loop:
    """A loop in a folder; where no other subject is given, nothing is flown."""
    base = config_of(*OVERRIDES, f"seed={seed}")
    tools = Tools(proposer, gate().judge, Trainings(teacher), None, subject or Foretold())
    return Loop(settings, given, base, folder, tools)
