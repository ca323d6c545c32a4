"""The PNGs of a diagnosis: how it learned and what paid, where it flew, and what its failures looked like."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import mujoco
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, PercentFormatter

from robo_ppo.env.task import SUCCESS
from robo_ppo.run import palette
from robo_ppo.run.plots import style, trajectories
from robo_ppo.run.rendering import RenderingUnavailable
from robo_ppo.run.strip import strips
from robo_ppo.run.trace import EpisodeTrace
from robo_ppo.shaping.packets.packet import Curve, PictureFile, Term

_LARGEST = 7  # terms that are drawn in colours of their own
_COLOURS = ("#2176c7", "#f2700c", "#1f9d55", "#8e44ad", "#c8322b", "#d08700", "#0f8b8d")


def draw(
    folder: Path,
    spec: mujoco.MjSpec,
    curves: Mapping[str, Curve],
    terms: Sequence[Term],
    traces: Sequence[EpisodeTrace],
    story_of: Callable[[EpisodeTrace], str],
) -> tuple[list[PictureFile], list[str]]:
    """Draw what there is to see of a candidate; returns the pictures, and notes on what could not be drawn."""
    files: list[PictureFile] = []
    notes: list[str] = []
    if curves or any(term.curve is not None for term in terms):
        _learning(folder / "learning.png", curves, terms)
        files.append(PictureFile("learning", "learning.png", "success, return and reward terms over the training"))
    if traces:
        trajectories(traces, folder / "flights.png")
        failed = sum(trace.outcome != SUCCESS for trace in traces)
        what = "typical failures" if failed else "typical successes, since nothing failed"
        files.append(PictureFile("flights", "flights.png", f"{what}: from above, and the height over time"))
    failures = [trace for trace in traces if trace.outcome != SUCCESS]
    try:
        strips(spec, failures, lambda trace: folder / _strip_of(trace), story_of=story_of)
    except RenderingUnavailable as error:
        notes.append(f"no pictures of the failures: {error}")
    files += [
        PictureFile(_strip_of(trace).removesuffix(".png"), _strip_of(trace), f"a failure, {story_of(trace)}")
        for trace in failures
        if (folder / _strip_of(trace)).exists()
    ]
    return files, notes


def _strip_of(trace: EpisodeTrace) -> str:
    return f"failure_{trace.episode}.png"


def _learning(path: Path, curves: Mapping[str, Curve], terms: Sequence[Term]) -> None:
    figure = Figure(figsize=(10.5, 2.9), dpi=110, layout="constrained")
    success, total, each = figure.subplots(1, 3)
    for axes, title in ((success, "Success"), (total, "Return per episode"), (each, "Reward terms per episode")):
        style(axes, title)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("environment steps", fontsize=8, color=palette.MUTED)
    for name, colour in (("success", palette.PATH), ("validation", palette.VEHICLE)):
        if name in curves:
            _line(success, curves[name], colour, {"success": "training", "validation": "validation"}[name])
    success.set_ylim(0.0, 1.02)
    success.yaxis.set_major_formatter(PercentFormatter(1.0))
    if "return" in curves:
        _line(total, curves["return"], palette.PATH, "training")
    drawn = sorted((term for term in terms if term.curve is not None), key=lambda term: -_size(term))
    for index, term in enumerate(drawn):
        colour = _COLOURS[index] if index < _LARGEST else palette.OBSTACLE
        if term.curve is not None:
            _line(each, term.curve, colour, term.name if index < _LARGEST else "")
    for axes in (success, each):
        if axes.get_lines():
            axes.legend(fontsize=7, frameon=False, loc="best")
    figure.savefig(path, format="png", facecolor="white")


def _size(term: Term) -> float:
    return 0.0 if term.curve is None else max(abs(term.curve.maximum), abs(term.curve.minimum))


def _line(axes: Axes, curve: Curve, colour: str, label: str) -> None:
    axes.plot(curve.steps, curve.values, color=colour, linewidth=1.3, marker="o", markersize=2.5, label=label or "_")
