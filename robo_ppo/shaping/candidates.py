"""Candidates in training: each a folder like that of any run, trained as far as it deserves.

    trainings = Trainings(SerialLauncher(retries=3))
    reached = trainings.train([Work(folder / "candidates/r01_c02/seed_0", config)], steps=2_000_000)

What a folder holds already is not trained again, so a loop that was killed pays for nothing twice. A training that is
asked for more steps goes on from where it paused.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from robo_ppo.config import LoggerConfig, RunConfig
from robo_ppo.env.task import SUCCESS
from robo_ppo.run.metrics import read_rows
from robo_ppo.run.sweep.attempt import Job
from robo_ppo.run.sweep.launcher import TrialLauncher
from robo_ppo.run.sweep.prepare import prepare, refuse_another
from robo_ppo.run.sweep.record import Record, read
from robo_ppo.run.sweep.stopping import Told, stoppable
from robo_ppo.shaping.diagnosis import diagnose
from robo_ppo.shaping.packets.packet import FILE, Packet, read_packet
from robo_ppo.shaping.record import Rung, Share, share_of

One = TypeVar("One")
_VALIDATION = f"validation/{SUCCESS}"


@dataclass(frozen=True)
class Work:
    """A training that is wanted: where, and how."""

    folder: Path
    config: RunConfig


class Stopped(Exception):
    """A signal has ended the trainings; each has its checkpoint."""

    def __init__(self, told: Told) -> None:
        super().__init__(told.by)
        self.told = told


class Trainings:
    """Has candidates trained, one after another or side by side, as its launcher does."""

    def __init__(self, launcher: TrialLauncher, success: Callable[[Work, int], Share] | None = None) -> None:
        """`success` judges a policy after so many steps by something else than its training's own validation."""
        self._launcher, self._success = launcher, success
        launcher.check()
        launcher.connect()

    def train(self, wanted: Sequence[Work], steps: int, *, again: bool = True) -> list[Rung | str]:
        """Train all up to so many environment steps; what each reached, or why it could not.

        What has failed on this way before is tried once more, unless `again` is false: then it has failed.

        Raises:
            Stopped: a signal came.
            UserError: a folder holds the training of something else.
        """
        asked = {work.folder.absolute(): work for work in wanted}
        failed = {} if again else {folder: why for folder in asked if (why := _failure(read(folder), steps))}
        jobs = [job for folder, work in asked.items() if folder not in failed and (job := self._job(work, steps))]
        told = Told()
        with stoppable(sorted({job.folder.parent for job in jobs}), told):
            for job, record in self._launcher.train(jobs):
                if record.state not in ("paused", "finished"):
                    failed[job.folder] = _failure(record, steps) or record.state
                elif told.by is None:
                    print(f"  {_said(asked[job.folder], steps)}", flush=True)
        if told.by is not None:
            raise Stopped(told)
        return [failed.get(work.folder.absolute()) or self._rung(work, steps) for work in wanted]

    def _rung(self, work: Work, steps: int) -> Rung | str:
        rung = _rung(work, steps)
        if self._success is not None and not isinstance(rung, str):
            rung.success = self._success(work, steps)
        return rung

    def _job(self, work: Work, steps: int) -> Job | None:
        """What is to be done for a training; nothing if it has come that far."""
        folder = work.folder.absolute()
        record = read(folder)
        if record.state == "finished" or record.steps >= steps:  # it may have failed on the way to more
            return None
        cores = self._launcher.cores_of(work.config)
        refuse_another(work.config, folder)
        prepare(work.config, folder, cores)
        return self._launcher.job(folder, cores, pause_at=steps)


def training_config(config: RunConfig, seed: int) -> RunConfig:
    """How a candidate of a loop trains: as `config` says, and quietly."""
    return dataclasses.replace(config, seed=seed, logger=LoggerConfig(name="none"), resume=None, info=False)


def _failure(record: Record, steps: int) -> str:
    """Why a training did not come as far as so many steps; "" where it did, or may yet."""
    return record.error or record.state if record.state in ("failed", "lost") and record.steps < steps else ""


def _rung(work: Work, steps: int) -> Rung | str:
    """What a training had reached after so many steps, or at its end if that came before."""
    rows = [row for row in read_rows(work.folder / "metrics.jsonl") if _VALIDATION in row]
    # Every pause is validated, so the first row that is as far is that of the pause.
    row = next((row for row in rows if row["step"] >= steps), rows[-1] if rows else None)
    if row is None:
        return f"{work.folder} holds no validation"
    episodes = work.config.validation.episodes
    success = share_of(round(row[_VALIDATION] * episodes), episodes)
    return Rung(int(row["step"]), row["seconds"], success, work.config.seed, row.get(f"train/{SUCCESS}", 0.0))


def _said(work: Work, steps: int) -> str:
    """What a training has reached, for the terminal."""
    reached, name = _rung(work, steps), work.folder.absolute().parent.name
    if isinstance(reached, str):
        return f"{name}: {reached}"
    return f"{name}, seed {reached.seed}: {reached.success.value:.1%} after {reached.steps / 1e6:.1f} M steps"


def diagnosed(work: Work, output: Path, *, episodes: int, pictures: bool) -> Packet:
    """What the policy of a training does, as `output` says, or as is found out now and kept there.

    In validation episodes that the training did not choose its best policy by.
    """
    if not (output / FILE).exists():
        first = work.config.validation.episodes
        diagnose(work.config, work.folder, output, episodes=episodes, first=first, pictures=pictures)
    return read_packet(output / FILE)


def halved(candidates: Sequence[tuple[One, Rung]]) -> list[One]:
    """The better half, the best first: what goes on to the next rung.

    Where none succeeds in validation yet, what they do in training tells them apart.
    """
    ranked = sorted(candidates, key=lambda one: (one[1].success.value, one[1].training_success), reverse=True)
    return [one for one, _ in ranked[: math.ceil(len(ranked) / 2)]]
