"""Sweeps of tiny trainings through the real command line."""

import csv
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.run.training import ROOT, TINY, environment, rows

# Read by Python at its start: the trials leave out what follows a training, which has tests of its own.
_ALONE = """
import sys
if "robo_ppo.run.sweep.trial" in sys.orig_argv:
    from robo_ppo.run import main_job
    main_job.finish = lambda *_: None
"""


def sweep(folder: Path, *arguments: str, prelude: str = "") -> subprocess.Popen[str]:
    """Start a sweep of tiny trainings, whose folder is `<folder>/sweep`."""
    (folder / "alone").mkdir(exist_ok=True)
    (folder / "alone/sitecustomize.py").write_text(_ALONE)
    code = f"{prelude}\nfrom robo_ppo.command_line import train; train()"
    own = ["-m", *TINY, f"runs={folder}/runs", f"hydra.sweep.dir={folder}/sweep", *arguments]
    return subprocess.Popen(
        [sys.executable, "-c", code, *own],
        cwd=folder,
        env=environment(PYTHONPATH=f"{folder}/alone:{ROOT}", HOME=str(folder)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """What a sweep has printed, once it has ended as it should."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, out + err
    return out, err


def table(folder: Path) -> dict[str, Mapping[str, str]]:
    """trials.csv, by the name of the trial."""
    with open(folder / "sweep/trials.csv") as file:
        return {row["trial"]: row for row in csv.DictReader(file)}


def trainer(process: subprocess.Popen[str], trial: Path, after: int) -> psutil.Process:
    """The process that trains a trial, as soon as it has logged so many iterations."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode}: {process.communicate()}")
        if len(rows(trial)) >= after:
            for one in psutil.process_iter(["cmdline"]):
                if (one.info["cmdline"] or [])[-2:] == ["robo_ppo.run.sweep.trial", str(trial)]:
                    return one
        time.sleep(0.01)
    raise AssertionError("it does not come on")
