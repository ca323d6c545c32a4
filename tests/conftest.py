"""What holds for every test: modest use of the machine, long files first, and no skip that nobody decided on.

A skip must be named in `allowed_skips.txt`; any other turns into a failure, so that a missing browser or library cannot
quietly take its tests away.
"""

import os
import signal
from collections.abc import Generator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

# Read by libraries when they are first imported, so set before any is; a caller's own choice stands.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("MPLBACKEND", "agg")

# A shell starts what it puts into the background with Ctrl-C ignored, and programs under test would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import hypothesis
import pytest
import warp

# Files that take more than ten seconds, the longest first.
_LONG = """
pages ray refine policy bad_input end_to_end resume export isaac_lab memory mavlink_vehicle simulation torchrun evaluate
distributed command_line play launchers loggers c_code train gymnasium page mavlink_link faults gpu optuna graphs
"""
LONG = [f"test_{name}.py" for name in _LONG.split()]

# Compiling its kernels takes half the time so, and they run for a few steps.
warp.config.optimization_level = 0

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")

hypothesis.settings.register_profile("suite", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("suite")


@dataclass(frozen=True)
class AllowedSkip:
    """One line of `allowed_skips.txt`: which tests may be skipped (a pattern on their ids), and for what reason."""

    tests: str
    reason: str

    def covers(self, nodeid: str, reason: str) -> bool:
        return fnmatchcase(nodeid, self.tests) and fnmatchcase(reason, self.reason)


def read_allowed_skips(path: Path) -> list[AllowedSkip]:
    allowed: list[AllowedSkip] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        tests, separator, reason = (part.strip() for part in line.partition("|"))
        if not (tests and separator and reason):
            raise pytest.UsageError(f"{path.name}, line {number}: expected 'tests | reason', not {line!r}")
        allowed.append(AllowedSkip(tests, reason))
    return allowed


def refuse_unless_allowed(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turns a skip into a failure unless `allowed_skips.txt` names it (an expected failure is no skip)."""
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    location = report.longrepr
    reason = str(location[2] if isinstance(location, tuple) else location).removeprefix("Skipped: ")
    if not any(skip.covers(report.nodeid, reason) for skip in read_allowed_skips(ALLOWED_SKIPS)):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped ({reason}), and {ALLOWED_SKIPS.name} does not allow it"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: a worker that begins one last would keep all waiting."""
    places = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONG)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, Any, Any]:
    report = yield
    refuse_unless_allowed(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, Any, Any]:
    report = yield
    refuse_unless_allowed(report)
    return report
