"""How long a GPU does nothing while it trains, from a trace of the profiler.

Two shares of the wall time of some iterations: in which no kernel runs at all, the pauses of a microsecond between two
kernels of one graph included, and in which none runs for longer than `PAUSE`: there the GPU waits for the host.

To trace the kernels of a graph one by one costs time itself. So the same iterations are timed without the profiler as
well, and the share that the busy time leaves of *that* is given too (`idle_share_untraced`).
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.clock import Clock

PAUSE = 10.0  # µs

Interval = tuple[float, float]


def measure(work: Callable[[], object], clock: Clock, calls: int) -> dict[str, Any] | str:
    """Idle shares over so many calls; on a CPU, why not."""
    if clock.device.type != "cuda":
        return "not measured: there is no GPU"
    untraced = clock.time(work, calls)
    # A profiler that shuts CUPTI down and starts it again beside graphs has crashed (pytorch pull request 112507).
    os.environ.setdefault("TEARDOWN_CUPTI", "0")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        traced = clock.time(work, calls)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        found = kernels(json.loads(path.read_text())["traceEvents"])
    if not found:
        return "not measured: the profiler saw no kernels"
    return shares(found, traced * 1e6, untraced * 1e6)


def kernels(events: Iterable[dict[str, Any]]) -> list[Interval]:
    """Begin and end (µs) of every kernel in a trace."""
    return [
        (float(event["ts"]), float(event["ts"]) + float(event["dur"]))
        for event in events
        if event.get("cat") == "kernel" and event.get("ph") == "X"
    ]


def shares(kernels: list[Interval], traced: float, untraced: float) -> dict[str, Any]:
    """What is left of the wall times (µs, with and without the profiler) beside the union of the kernels."""
    busy = _length(united(kernels, 0.0))
    nearly_busy = _length(united(kernels, PAUSE))
    return {
        "idle_share": 1.0 - busy / traced,
        "idle_share_pauses_over_10_us": 1.0 - nearly_busy / traced,
        "idle_share_untraced": max(0.0, 1.0 - busy / untraced),
        "kernels": len(kernels),
        "busy_seconds": busy / 1e6,
        "traced_seconds": traced / 1e6,
        "untraced_seconds": untraced / 1e6,
    }


def united(intervals: list[Interval], pause: float) -> list[Interval]:
    """The union, in which gaps up to `pause` are closed."""
    union: list[Interval] = []
    for begin, end in sorted(intervals):
        if union and begin - union[-1][1] <= pause:
            union[-1] = (union[-1][0], max(union[-1][1], end))
        else:
            union.append((begin, end))
    return union


def _length(union: list[Interval]) -> float:
    return sum(end - begin for begin, end in union)
