"""Efficiency over the number of GPUs, weak and strong, for every card and link."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.scaling.assumed import CLUSTERS
from benchmarks.scaling.model import Card
from benchmarks.scaling.tables import SCALINGS
from robo_ppo.run import palette
from robo_ppo.run.plots import style

_LINES = ((palette.PATH, "-"), (palette.VEHICLE, "-"), (palette.GOAL, ":"))  # the last two nearly coincide
_TITLES = {"weak": "weak scaling", "strong": "strong scaling"}


def draw(cards: Sequence[Card], path: Path) -> None:
    """A row of panels for each card."""
    counts = [2**power for power in range(11)]
    figure = Figure(figsize=(8.2, 3.1 * len(cards)), dpi=150, layout="constrained")
    panels = figure.subplots(len(cards), 2, squeeze=False, sharex=True, sharey=True)
    for row, card in zip(panels, cards, strict=True):
        for axes, (kind, efficiency) in zip(row, SCALINGS.items(), strict=True):
            style(axes, f"{card.name}: {_TITLES[kind]}")
            for (name, cluster), (colour, dashes) in zip(CLUSTERS.items(), _LINES, strict=True):
                shares = [100 * efficiency(card, n, cluster) for n in counts]
                label = name if axes is panels[0][0] else None
                axes.plot(counts, shares, dashes, color=colour, marker="o", markersize=3, label=label)
            for bar in (80, 50):
                axes.axhline(bar, color=palette.MUTED, linewidth=0.8, linestyle=":")
            axes.axvline(8, color=palette.MUTED, linewidth=0.8, linestyle=":")
            axes.set_xscale("log", base=2)
            axes.set_xticks(counts[::2], [f"{n:,}" for n in counts[::2]])
            axes.set_ylim(0, 108)
    for axes in panels[-1]:
        axes.set_xlabel("GPUs (eight a machine)", fontsize=8.5, color=palette.MUTED)
    for axes in panels[:, 0]:
        axes.set_ylabel("efficiency, %, assumed figures", fontsize=8.5, color=palette.MUTED)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, facecolor="white")
