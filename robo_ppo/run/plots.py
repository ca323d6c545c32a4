"""Figures of a run: how it learned, and where its vehicle flew.

    learning_curves(rows, run_dir / "evaluation" / "learning_curves.png")
    trajectories(traces, run_dir / "evaluation" / "trajectories.png")

Figures are made without pyplot, so nothing global is touched and no window opens.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from robo_ppo.run import palette
from robo_ppo.run.overlay import plan_extent, plan_outline
from robo_ppo.run.trace import EpisodeTrace

_DPI = 150
_COLUMNS = 4
_MAX_SCENES = 12

# Panel title, the keys of metrics.jsonl that it shows with their labels, and whether its axis is logarithmic.
_PANELS: tuple[tuple[str, dict[str, str], bool], ...] = (
    ("Success", {"train/success": "training", "validation/success": "validation"}, False),
    ("Return per episode", {"train/return": "training", "validation/return": "validation"}, False),
    ("Explained variance", {"ppo/explained_variance": "critic"}, False),
    ("KL divergence per update", {"ppo/kl": "KL"}, True),
    ("Learning rate", {"ppo/learning_rate": "learning rate"}, True),
    ("Standard deviation of actions", {"ppo/std": "std"}, False),
    ("Entropy (nat)", {"ppo/entropy": "entropy"}, False),
    ("Speed (steps/s)", {"steps_per_second": "steps/s"}, False),
)


def learning_curves(rows: Sequence[Mapping[str, float]], path: Path) -> Path:
    """Draw the lines of metrics.jsonl over environment steps into a PNG at `path`, and return it.

    A quantity that no row has leaves its panel out; so do values that are not finite.
    """
    panels = [panel for panel in _PANELS if any(_series(rows, key)[0].size for key in panel[1])]
    columns = min(_COLUMNS, max(1, len(panels)))
    lines = max(1, -(-len(panels) // columns))
    figure = Figure(figsize=(3.3 * columns, 2.5 * lines + 0.4), dpi=_DPI, layout="constrained")
    if not panels:
        figure.text(0.5, 0.5, "no metrics were recorded", ha="center", color=palette.MUTED)
    for index, (title, keys, logarithmic) in enumerate(panels):
        axes = figure.add_subplot(lines, columns, index + 1)
        style(axes, title)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("environment steps", fontsize=8, color=palette.MUTED)
        for key, label in keys.items():
            _draw_curve(axes, *_series(rows, key), label, validated=key if key.startswith("validation/") else None)
        if logarithmic and any((_series(rows, key)[1] > 0.0).any() for key in keys):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        if title == "Success":
            axes.set_ylim(0.0, 1.02)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        if sum(_series(rows, key)[0].size > 0 for key in keys) > 1:
            axes.legend(fontsize=8, frameon=False, loc="lower right")
        if title.startswith("Speed"):
            axes.set_ylim(bottom=0.0)
            axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    return _save(figure, path)


def trajectories(traces: Sequence[EpisodeTrace], path: Path) -> Path:
    """Draw episodes from above and their altitude over time into a PNG at `path`, and return it.

    Each episode has its own scene, so each gets its own pair of panels. Of more than twelve, twelve are chosen: the
    first successes, and up to a third failures.
    """
    shown = _choose(traces)
    columns = min(_COLUMNS, max(1, len(shown)))
    lines = max(1, -(-len(shown) // columns))
    figure = Figure(figsize=(2.9 * columns, 4.1 * lines + 0.5), dpi=_DPI, layout="constrained")
    if not shown:
        figure.text(0.5, 0.5, "no episodes were recorded", ha="center", color=palette.MUTED)
        return _save(figure, path)
    grid = figure.add_gridspec(2 * lines, columns, height_ratios=[2.9, 1.0] * lines)
    for index, trace in enumerate(shown):
        line, column = divmod(index, columns)
        _draw_plan(figure.add_subplot(grid[2 * line, column]), trace)
        _draw_altitude(figure.add_subplot(grid[2 * line + 1, column]), trace)
    figure.legend(
        handles=[
            Line2D([], [], color=palette.START, marker="o", linestyle="", markersize=5, label="start"),
            Line2D([], [], color=palette.GOAL, marker="*", linestyle="", markersize=9, label="goal"),
            *(_outcome_handle(outcome) for outcome in dict.fromkeys(trace.outcome for trace in shown)),
        ],
        loc="outside upper center",
        ncols=8,
        fontsize=9,
        frameon=False,
    )
    return _save(figure, path)


def returns(values: np.ndarray, outcome: np.ndarray, path: Path) -> Path:
    """Draw how the returns (episodes,) of an evaluation are spread, by outcome, into a PNG at `path`, and return it."""
    figure = Figure(figsize=(6.6, 3.0), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    style(axes, "Return per episode")
    names = sorted(set(outcome.tolist()))
    axes.hist(
        [values[outcome == name] for name in names],
        bins=max(5, min(30, len(values) // 2)),
        stacked=True,
        color=[palette.outcome_colour(name) for name in names],
        label=[palette.outcome_label(name).lower() for name in names],
    )
    axes.set_xlabel("return", fontsize=8, color=palette.MUTED)
    axes.set_ylabel("episodes", fontsize=8, color=palette.MUTED)
    axes.legend(fontsize=8, frameon=False)
    return _save(figure, path)


def _series(rows: Sequence[Mapping[str, float]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a quantity, where it was recorded and is finite."""
    pairs = [(row["step"], row[key]) for row in rows if "step" in row and row.get(key) is not None]
    table = np.array(pairs, float).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    return table[:, 0], table[:, 1]


def _draw_curve(axes: Axes, steps: np.ndarray, values: np.ndarray, label: str, *, validated: str | None) -> None:
    """A measured quantity as a line; validation, which is rare, also as points with its last value written out."""
    if not steps.size:
        return
    if validated is None:
        axes.plot(steps, values, color=palette.PATH, linewidth=1.1, label=label)
        return
    axes.plot(steps, values, color=palette.VEHICLE, linewidth=1.2, marker="o", markersize=3, label=label)
    axes.annotate(
        f"{values[-1]:.1%}" if validated == "validation/success" else f"{values[-1]:,.0f}",
        (steps[-1], values[-1]),
        xytext=(0, -12),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=palette.VEHICLE,
        bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
    )


def _choose(traces: Sequence[EpisodeTrace]) -> list[EpisodeTrace]:
    """At most twelve episodes in their order, of which failures make up to a third."""
    failures = [index for index, trace in enumerate(traces) if trace.outcome != "success"]
    successes = [index for index, trace in enumerate(traces) if trace.outcome == "success"]
    room = max(_MAX_SCENES // 3, _MAX_SCENES - len(successes))
    failures = failures[:room]
    return [traces[index] for index in sorted(failures + successes[: _MAX_SCENES - len(failures)])]


def _draw_plan(axes: Axes, trace: EpisodeTrace) -> None:
    """The scene of the last row from above, to scale, with the path."""
    shapes = trace.shapes[-1]
    for shape in shapes:
        if shape.role == "goal":
            axes.plot(*shape.position[:2], color=palette.GOAL, marker="*", markersize=11, zorder=4)
            axes.add_patch(Polygon(plan_outline(shape), color=palette.GOAL, alpha=0.25, linewidth=0))
        elif shape.role == "bounds":
            axes.add_patch(Polygon(plan_outline(shape), fill=False, edgecolor=palette.MUTED, linewidth=0.8))
        else:
            axes.add_patch(Polygon(plan_outline(shape), color=palette.OBSTACLE, linewidth=0))
    colour = palette.outcome_colour(trace.outcome)
    axes.plot(*trace.position[:, :2].T, color=colour, linewidth=1.6, zorder=3)
    axes.plot(*trace.position[0, :2], color=palette.START, marker="o", markersize=5, zorder=5)
    if trace.outcome != "success":
        axes.plot(*trace.position[-1, :2], color=colour, marker="x", markersize=7, markeredgewidth=2, zorder=6)
    low, high = plan_extent(trace.position[np.isfinite(trace.position).all(axis=1)], shapes)
    # Panels stand side by side: a square of the same size for each scene.
    centre, half = (low + high) / 2, (high - low).max() / 2
    axes.set(xlim=(centre[0] - half, centre[0] + half), ylim=(centre[1] - half, centre[1] + half), aspect="equal")
    style(axes, f"Episode {trace.episode}: {palette.outcome_label(trace.outcome).lower()}")
    axes.set_xlabel("x (m)", fontsize=8, color=palette.MUTED, labelpad=1)
    axes.set_ylabel("y (m)", fontsize=8, color=palette.MUTED, labelpad=1)
    axes.grid(visible=False)


def _draw_altitude(axes: Axes, trace: EpisodeTrace) -> None:
    """Altitude over time, with the goal's altitude and the floor and ceiling."""
    time = np.arange(len(trace.position)) * trace.control_period
    style(axes, "")
    for shape in trace.shapes[-1]:
        if shape.role == "bounds" and shape.kind == "box":
            for side in (-1.0, 1.0):
                axes.axhline(shape.position[2] + side * shape.size[2], color=palette.MUTED, linewidth=0.8)
    goals = [[shape.position[2] for shape in shapes if shape.role == "goal"][:1] for shapes in trace.shapes]
    goal = np.array([heights[0] if heights else np.nan for heights in goals])
    axes.plot(time, goal, color=palette.GOAL, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.plot(time, trace.position[:, 2], color=palette.outcome_colour(trace.outcome), linewidth=1.6)
    axes.set_xlim(0.0, max(time[-1], trace.control_period))
    axes.set_xlabel("time (s)", fontsize=8, color=palette.MUTED, labelpad=1)
    axes.set_ylabel("z (m)", fontsize=8, color=palette.MUTED, labelpad=1)


def _outcome_handle(outcome: str) -> Line2D:
    """A line of an outcome's colour for the legend."""
    label = palette.outcome_label(outcome).lower()
    marker = "" if outcome == "success" else "x"
    return Line2D([], [], color=palette.outcome_colour(outcome), linewidth=1.6, marker=marker, label=label)


def style(axes: Axes, title: str) -> None:
    """Give a panel the look that all figures of runs and benchmarks share."""
    axes.set_title(title, fontsize=9.5, color=palette.INK, loc="left")
    axes.tick_params(labelsize=7.5, colors=palette.MUTED, length=2.5)
    axes.grid(visible=True, color="#e3e7ec", linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#c3cad3")


def _save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG."""
    figure.savefig(path, format="png", facecolor="white")
    return path
