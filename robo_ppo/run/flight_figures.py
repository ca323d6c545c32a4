"""Figures of one flight, from the controller's log: what was commanded, and how late everything was.

commands(log, contract, folder / "commands.png")
latencies(log, contract, folder / "latencies.png")
"""

from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robo_ppo.run import palette
from robo_ppo.run.flight_record import Log
from robo_ppo.run.plots import style
from robo_ppo_onboard.contract import Contract

_DPI = 150
_SHADES = {"LAUNCH": "#e3e7ec", "RAMP": "#d7e8f7", "POLICY": "#eaf4ea", "HOVER": "#fbe3d6", "DESCEND": "#f4ecd8"}


def commands(log: Log, contract: Contract, path: Path) -> Path:
    """Every command over time within its limits, with who flew as the background, into a PNG at `path`."""
    ports = contract.outputs
    figure = Figure(figsize=(8.0, 1.5 * len(ports) + 0.6), dpi=_DPI, layout="constrained")
    time = log.numbers["time [s]"]
    axes: Axes | None = None
    for index, port in enumerate(ports):
        axes = figure.add_subplot(len(ports), 1, index + 1, sharex=axes)
        style(axes, f"{port.name} ({port.unit})")
        _shade(axes, log, time, labelled=index == 0)
        axes.plot(time, log.numbers[f"{port.name} [{port.unit}]"], color=palette.PATH, linewidth=1.0)
        for limit in (port.lower, port.upper):
            if limit is not None:
                axes.axhline(limit[0], color=palette.MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
    _finish(figure, axes)
    figure.savefig(path, format="png", facecolor="white")
    return path


def latencies(log: Log, contract: Contract, path: Path) -> Path:
    """How late ticks began, how long the policy took, how old measurements were: over time, into a PNG at `path`."""
    ages = {f"age of {port.name} [ms]": port.name for port in contract.inputs}
    panels = {
        "Ticks began late (ms)": {"late [ms]": "late"},
        "The policy took (ms)": {"policy [ms]": "policy"},
        "Measurements were old (ms)": {name: label for name, label in ages.items() if name in log.numbers},
    }
    figure = Figure(figsize=(8.0, 5.2), dpi=_DPI, layout="constrained")
    time = log.numbers["time [s]"]
    axes: Axes | None = None
    for index, (title, columns) in enumerate(panels.items()):
        axes = figure.add_subplot(3, 1, index + 1, sharex=axes)
        style(axes, title)
        _shade(axes, log, time, labelled=index == 0)
        for name, label in columns.items():
            axes.plot(time, log.numbers[name], linewidth=0.9, label=label)
        period = 1e3 * contract.control_period
        axes.axhline(period, color=palette.MUTED, linewidth=0.7, linestyle=(0, (4, 3)))
        axes.set_ylim(bottom=0.0)
        if len(columns) > 1:
            axes.legend(fontsize=7, frameon=False, ncols=6, loc="upper right")
    _finish(figure, axes)
    figure.savefig(path, format="png", facecolor="white")
    return path


def _shade(axes: Axes, log: Log, time: np.ndarray, *, labelled: bool) -> None:
    """Who flew when, as bands behind the curves."""
    states = log.texts["state"]
    for state, rows in groupby(range(len(states)), key=states.__getitem__):
        found = list(rows)
        start, end = time[found[0]], time[min(found[-1] + 1, len(time) - 1)]
        axes.axvspan(start, end, color=_SHADES.get(state, "white"), linewidth=0)
        if labelled and state in _SHADES and end - start > 0.05 * (time[-1] - time[0]):
            at = axes.get_xaxis_transform()
            axes.text(start, 0.93, f" {state.lower()}", transform=at, fontsize=7, color=palette.INK, va="top")


def _finish(figure: Figure, axes: Axes | None) -> None:
    if axes is not None:
        axes.set_xlabel("time (s)", fontsize=8, color=palette.MUTED)
        axes.set_xlim(left=0.0)
