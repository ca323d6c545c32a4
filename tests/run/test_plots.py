"""Figures: they hold what they are given, and nothing breaks on what is missing."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robo_ppo.env.shapes import Shape
from robo_ppo.run import palette, plots
from robo_ppo.run.trace import EpisodeTrace

MakeTrace = Callable[..., EpisodeTrace]


def size_of(path: Path) -> tuple[int, int]:
    """A picture's width and height in pixels."""
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return picture.size


def pixels_of(path: Path) -> np.ndarray:
    """A picture's pixels, (height, width, 3) as integers that may be subtracted."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def share(path: Path, colour: str) -> float:
    """How much of a picture has a colour, from 0 to 1."""
    return float((np.abs(pixels_of(path) - palette.rgb(colour)).max(axis=2) < 12).mean())


def metrics(count: int) -> list[dict[str, float]]:
    """Lines as metrics.jsonl has them: validation on every tenth only."""
    rows = []
    for index in range(count):
        row = {"step": 1000.0 * index, "train/success": index / count, "ppo/kl": 0.016, "steps_per_second": 9e4}
        if index % 10 == 9:
            row["validation/success"] = index / count
        rows.append(row)
    return rows


def test_learning_curves(tmp_path: Path) -> None:
    path = plots.learning_curves(metrics(50), tmp_path / "curves.png")
    with Image.open(path) as picture:
        assert round(picture.info["dpi"][0]) == 150
    assert share(path, palette.PATH) > 0.0005
    assert share(path, palette.VEHICLE) > 0.0005


def test_each_recorded_quantity_has_its_panel(tmp_path: Path) -> None:
    full = metrics(20)
    for row in full:
        row |= {"train/return": 1.0, "ppo/std": 0.3, "ppo/entropy": 1.0, "ppo/learning_rate": 1e-3}
        row |= {"ppo/explained_variance": 0.5}
    _, few = size_of(plots.learning_curves(metrics(20), tmp_path / "few.png"))
    _, all_of_them = size_of(plots.learning_curves(full, tmp_path / "all.png"))
    assert few < all_of_them  # three panels fit into one line, eight need two


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"step": 0.0}],
        [{"train/success": 0.5}],
        [{"step": 0.0, "ppo/kl": float("nan"), "train/success": 0.0}],
        [{"step": 0.0, "ppo/kl": 0.0, "ppo/learning_rate": 0.0}],
    ],
)
def test_learning_curves_without_much(tmp_path: Path, rows: list[dict[str, float]]) -> None:
    assert size_of(plots.learning_curves(rows, tmp_path / "curves.png"))[0] > 300


def test_values_that_are_not_finite_are_left_out() -> None:
    rows = [{"step": 1.0, "a": 2.0}, {"step": 2.0, "a": float("inf")}, {"step": 3.0}, {"step": 4.0, "a": 5.0}]
    steps, values = plots._series(rows, "a")
    np.testing.assert_array_equal(steps, [1.0, 4.0])
    np.testing.assert_array_equal(values, [2.0, 5.0])


def test_trajectories_show_outcomes_in_their_colours(tmp_path: Path, make_trace: MakeTrace) -> None:
    outcomes = ["success", "obstacle", "timeout"]
    traces = [make_trace(episode=index, outcome=outcome) for index, outcome in enumerate(outcomes)]
    path = plots.trajectories(traces, tmp_path / "trajectories.png")
    for outcome in outcomes:
        assert share(path, palette.outcome_colour(outcome)) > 0.0005
    only_success = plots.trajectories(traces[:1], tmp_path / "one.png")
    assert share(only_success, palette.outcome_colour("obstacle")) == 0.0


def test_obstacles_are_drawn_to_scale(tmp_path: Path, make_trace: MakeTrace) -> None:
    """Within the same bounds, a block of 4 x 4 m is drawn twice as wide and high as one of 2 x 2 m."""
    trace = make_trace()

    def drawn(half: float) -> np.ndarray:
        bounds = Shape("box", (0.0, 0.0, 1.5), (4.0, 4.0, 1.5), "bounds")
        block = Shape("box", (1.5, -1.5, 1.0), (half, half, 1.0), "obstacle")
        path = plots.trajectories([replace(trace, shapes=[[bounds, block]] * len(trace.shapes))], tmp_path / "plan.png")
        found = np.abs(pixels_of(path) - palette.rgb(palette.OBSTACLE)).max(axis=2) < 12
        return np.array([found.sum(axis=0).max(), found.sum(axis=1).max()])

    large, small = drawn(2.0), drawn(1.0)
    assert large[0] == pytest.approx(large[1], abs=3)
    np.testing.assert_allclose(large / small, 2.0, rtol=0.03)


def test_no_more_than_twelve_scenes_a_third_of_them_failures(make_trace: MakeTrace) -> None:
    one = make_trace(seconds=0.1)
    outcomes = ["success"] * 20 + ["obstacle"] * 10
    chosen = plots._choose([replace(one, episode=i, outcome=outcome) for i, outcome in enumerate(outcomes)])
    assert [trace.episode for trace in chosen] == [*range(8), *range(20, 24)]
    few = plots._choose([replace(one, episode=i, outcome=outcome) for i, outcome in enumerate(["success"] * 3)])
    assert len(few) == 3
    failures = plots._choose([replace(one, episode=i, outcome="ground") for i in range(15)])
    assert len(failures) == 12


def test_trajectories_without_shapes_or_episodes(tmp_path: Path, make_trace: MakeTrace) -> None:
    trace = make_trace(seconds=0.2)
    bare = replace(trace, shapes=[[] for _ in trace.shapes])
    bare.position[5:] = np.nan
    assert size_of(plots.trajectories([bare], tmp_path / "bare.png"))[0] > 300
    assert size_of(plots.trajectories([], tmp_path / "none.png"))[0] > 300
