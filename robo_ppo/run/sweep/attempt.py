"""Train a trial wherever a launcher calls, and again if it is killed: `work(job)` gives how it ended.

This runs on the machine that trains, which shares the folder of runs with the one that sweeps, and nothing else.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGINT, Signals

from robo_ppo.run.sweep.record import Record, read, write

LOST, BUSY = 75, 76
"""Exit codes of a trial: one of its own processes was killed; another process trains in its folder."""

OUTPUT = "output.log"
STOP = ".stop"
"""File in the folder of a sweep that tells every trial to write a checkpoint and end."""


@dataclass(frozen=True)
class Job:
    """A trial to be trained."""

    folder: Path  # absolute
    cores: int
    retries: int  # how often it is tried again after it was killed
    here: Path  # where the sweep was started; relative paths of the configuration count from there
    paths: tuple[str, ...]  # where Python imports from
    environment: Mapping[str, str]  # variables it needs besides those of the machine
    shown: bool  # print to the terminal instead of output.log
    pause_at: int | None = None  # environment steps to train up to for now; None: all, then export and evaluate

    @property
    def stop(self) -> Path:
        """The file that tells it to stop."""
        return self.folder.parent / STOP


def work(job: Job) -> Record:
    """Train until it is finished, fails, is told to stop, or has been killed once too often."""
    if not job.folder.is_dir():
        return Record("failed", error=f"there is no folder {job.folder} here: all machines must share that of the runs")
    code = 0
    for _ in range(1 + job.retries):
        if job.stop.exists():
            return lost(job, "")
        code = _train(job)
        if code >= 0 and code != LOST:
            return _ended(job, code)
        # Killed: by the system when memory runs out, mostly. What it has learnt up to its checkpoint is not lost.
    cause = "one of its ranks was killed" if code == LOST else f"ended by {Signals(-code).name}"
    return lost(job, f"it was killed {1 + job.retries} times, at last {cause}")


def lost(job: Job, why: str) -> Record:
    """The record of a trial that was killed too often, or while it was told to stop."""
    record = read(job.folder)
    stopped = job.stop.exists()
    record = replace(record, state="stopped" if stopped else "lost", error="" if stopped else why)
    write(job.folder, record)
    return record


def _ended(job: Job, code: int) -> Record:
    """The record that the trial has left, or why it has left none."""
    record = read(job.folder)
    if code == BUSY:
        return replace(record, state="failed", error="another process trains in its folder")
    if record.state in ("waiting", "running") or (
        code and record.state == "paused"
    ):  # it has not come as far as to say anything
        if job.stop.exists():
            return replace(record, state="stopped")
        where = "" if job.shown else f"; see {job.folder / OUTPUT}"
        record = replace(record, state="failed", error=f"its process ended with {code}{where}")
        write(job.folder, record)
    return record


def _until(job: Job) -> list[str]:
    return [] if job.pause_at is None else [str(job.pause_at)]


def _train(job: Job) -> int:
    """One process for the trial, to its end; returns its exit code, negative for a signal."""
    environment = {"OMP_NUM_THREADS": str(job.cores), **os.environ, **job.environment}
    environment |= {"ROBO_PPO_CORES": str(job.cores), "PYTHONPATH": os.pathsep.join(job.paths)}
    with open(os.devnull if job.shown else job.folder / OUTPUT, "a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "robo_ppo.run.sweep.trial", str(job.folder), *_until(job)],
            cwd=job.here if job.here.is_dir() else None,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=None if job.shown else log,
            stderr=None if job.shown else log,
            start_new_session=True,  # so that Ctrl-C reaches the sweep alone, which tells its trials
        )
    try:
        is_told = False
        while True:
            try:
                return process.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if not is_told and job.stop.exists():
                    is_told = True
                    process.send_signal(SIGINT)
    finally:
        assert process.stdin is not None
        process.stdin.close()  # if this is left by an exception, the trial goes too
        process.wait()
