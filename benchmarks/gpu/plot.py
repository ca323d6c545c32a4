"""Steps per second over the number of worlds, both on logarithmic scales."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, NullFormatter

from robo_ppo.run import palette
from robo_ppo.run.plots import style

_PARTS = {
    "physics": ("physics alone", palette.PATH, "o"),
    "environment": ("environment, random actions", palette.GOAL, "s"),
    "training": ("training", palette.VEHICLE, "D"),
}
_RIVALS = {
    "rsl_rl": ("rsl_rl on our environment", "^"),
    "rsl_rl_on_our_graph": ("rsl_rl on our environment as a graph", "v"),
}


def draw(task: str, found: dict[str, Any], where: str, path: Path) -> bool:
    """Draw what was measured of a task into a PNG; returns whether there was anything."""
    worlds = sorted(found.get("worlds", {}), key=int)
    lines = {part: _line(found["worlds"], worlds, part) for part in _PARTS} if worlds else {}
    lines = {part: line for part, line in lines.items() if line}
    if not lines:
        return False
    figure = Figure(figsize=(6.0, 4.4), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    style(axes, f"{task}, {where}")
    for part, line in lines.items():
        label, colour, marker = _PARTS[part]
        counts, rates = zip(*line, strict=True)
        axes.plot(counts, rates, color=colour, marker=marker, markersize=5, label=label)
    for name, (label, marker) in _RIVALS.items():
        rival = found.get("peers", {}).get(name)
        if isinstance(rival, dict):
            at = rival["num_envs"], rival["steps_per_second"]
            axes.plot(*at, color=palette.MUTED, marker=marker, markersize=6, linestyle="", label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([int(count) for count in worlds], [f"{int(count):,}" for count in worlds])
    axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("worlds", fontsize=8.5, color=palette.MUTED)
    axes.set_ylabel("environment steps per second", fontsize=8.5, color=palette.MUTED)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.savefig(path, facecolor="white")
    return True


def _line(found: dict[str, Any], worlds: list[str], part: str) -> list[tuple[int, float]]:
    return [(int(count), found[count][part]["steps_per_second"]) for count in worlds if part in found[count]]
