"""Films: what is asked for is what the file holds."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import mujoco
import numpy as np
import pytest

from robo_ppo.env.shapes import Shape
from robo_ppo.errors import UserError
from robo_ppo.run import video
from robo_ppo.run.overlay import plan_outline, reading_text
from robo_ppo.run.rendering import RenderingUnavailable, Studio
from robo_ppo.run.stage import signed_distance
from robo_ppo.run.trace import EpisodeTrace
from tests.run.decoding import decode

SIZE = (320, 240)
ROBOT = Path(__file__).parents[2] / "robots" / "crazyflie" / "crazyflie.xml"
MakeTrace = Callable[..., EpisodeTrace]


@pytest.fixture(scope="module")
def spec() -> mujoco.MjSpec:
    """The vehicle that is filmed, on a machine that can."""
    spec = mujoco.MjSpec.from_file(str(ROBOT))
    try:
        with Studio(spec.compile(), SIZE):
            return spec
    except RenderingUnavailable:
        pytest.skip("no OpenGL library works on this machine")


def test_film_holds_every_frame(tmp_path: Path, spec: mujoco.MjSpec, make_trace: MakeTrace) -> None:
    path = video.film(tmp_path / "film.mp4", spec, [make_trace(seconds=1.0)], size=SIZE)
    stream, pictures = decode(path)
    assert all(word in stream for word in ("h264", "yuv420p", "320x240", "25 fps"))
    assert len(pictures) == 26 + 15  # one second from its first state to its last, then 0.6 s of hold
    assert np.abs(pictures[0].astype(int) - pictures[20]).mean() > 2.0
    assert [file.name for file in tmp_path.iterdir()] == ["film.mp4"]


def test_film_can_start_before_it_is_loaded(tmp_path: Path, spec: mujoco.MjSpec, make_trace: MakeTrace) -> None:
    """The index lies in front of the pictures, so that a browser shows the first of them at once."""
    content = video.film(tmp_path / "film.mp4", spec, [make_trace(seconds=0.2)], size=SIZE).read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_picture_shows_vehicle_goal_and_outcome(spec: mujoco.MjSpec, make_trace: MakeTrace) -> None:
    trace = make_trace(seconds=1.0, outcome="obstacle")
    without = replace(trace, shapes=[[] for _ in trace.shapes])
    full = list(video.frames(spec, [trace], size=SIZE))
    bare = list(video.frames(spec, [without], size=SIZE))

    def count(picture: np.ndarray, colour: tuple[int, int, int]) -> int:
        return int((np.abs(picture.astype(int) - colour).max(axis=2) < 40).sum())

    orange, red = (242, 112, 12), (200, 50, 43)
    assert count(full[0], orange) > 20  # the front propellers, and the vehicle's dot on the map
    assert np.abs(full[0].astype(int) - bare[0]).mean() > 5.0  # columns and bounds
    assert count(full[-1], red) > 200 > count(full[0], red)  # the outcome's label


def test_whole_episodes_up_to_the_limit(spec: mujoco.MjSpec, make_trace: MakeTrace) -> None:
    traces = [make_trace(seconds=0.6), make_trace(seconds=3.0), make_trace(seconds=0.4)]
    count = sum(1 for _ in video.frames(spec, traces, size=SIZE, max_seconds=3.0))
    assert count == (16 + 15) + (11 + 15)  # the second does not fit, the third does
    assert sum(1 for _ in video.frames(spec, traces[1:2], size=SIZE, max_seconds=1.0)) == 25


def test_other_rates_keep_the_time(spec: mujoco.MjSpec, make_trace: MakeTrace) -> None:
    assert sum(1 for _ in video.frames(spec, [make_trace(seconds=1.0)], fps=10, size=SIZE)) == 11 + 6


def test_a_broken_state_ends_the_picture_not_the_film(
    tmp_path: Path, spec: mujoco.MjSpec, make_trace: MakeTrace
) -> None:
    trace = make_trace(seconds=1.0, outcome="non_finite")
    trace.qpos[26:] = np.nan
    assert sum(1 for _ in video.frames(spec, [trace], size=SIZE)) == 13 + 15
    trace.qpos[:] = np.nan
    with pytest.raises(RenderingUnavailable, match="nothing to film"):
        video.film(tmp_path / "film.mp4", spec, [trace], size=SIZE)
    assert list(tmp_path.iterdir()) == []


def test_the_robot_is_not_changed(spec: mujoco.MjSpec, make_trace: MakeTrace) -> None:
    before = spec.to_xml()
    next(video.frames(spec, [make_trace(seconds=0.1)], size=SIZE))
    assert spec.to_xml() == before


def test_camera_is_steady(make_trace: MakeTrace) -> None:
    """Near the goal, where its direction turns fast, the camera still turns by less than 60 deg/s."""
    trace = make_trace(seconds=4.0)
    noise = np.random.default_rng(0).normal(0.0, 0.05, trace.position.shape)
    path = video._camera_path(replace(trace, position=trace.position + noise))
    assert np.abs(np.diff(path.azimuth)).max() / trace.control_period < 60.0
    assert np.linalg.norm(path.target - trace.position, axis=1).max() < 0.3


def test_a_film_of_nothing_is_refused(tmp_path: Path, spec: mujoco.MjSpec) -> None:
    with pytest.raises(ValueError, match="at least one episode"):
        video.film(tmp_path / "film.mp4", spec, [])


def test_pictures_with_odd_sides_lose_a_row_and_a_column(tmp_path: Path) -> None:
    """H.264 takes even numbers of pixels alone."""
    pictures = iter([np.full((241, 321, 3), 90, np.uint8)] * 4)
    stream, decoded = decode(video.write_film(tmp_path / "film.mp4", pictures, fps=12.5))
    assert "320x240" in stream and "12.50 fps" in stream
    assert decoded.shape == (4, 240, 320, 3)


def test_without_opengl_the_message_names_the_package() -> None:
    """In a process of its own, where no library is found."""
    script = (
        "import ctypes.util; ctypes.util.find_library = lambda name: None\n"
        "from robo_ppo.run.video import choose_gl, RenderingUnavailable\n"
        "try:\n    choose_gl()\nexcept RenderingUnavailable as error:\n    print(error)\n"
    )
    hidden = {"MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert "libegl1" in run.stdout and "libosmesa6" in run.stdout and "MUJOCO_GL" in run.stdout


def test_rendering_that_is_switched_off_is_a_users_choice() -> None:
    script = "from robo_ppo.run.video import choose_gl; choose_gl()"
    environment = os.environ | {"MUJOCO_GL": "off"}
    run = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert "RenderingUnavailable: rendering is switched off by MUJOCO_GL=off" in run.stderr
    assert issubclass(RenderingUnavailable, UserError)


def test_there_is_no_minus_before_zero() -> None:
    assert reading_text("clearance (m)", -0.0004) == ("clearance", "0.00 m")
    assert reading_text("clearance (m)", -0.0051) == ("clearance", "-0.01 m")


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("distance to goal (m)", ("distance to goal", "1.23 m")),
        ("battery", ("battery", "1.23")),
        ("speed (max) (m/s)", ("speed (max)", "1.23 m/s")),
    ],
)
def test_reading_text(label: str, expected: tuple[str, str]) -> None:
    assert reading_text(label, 1.234) == expected


def test_signed_distance_against_closed_forms() -> None:
    points = np.array([(0.0, 0.0, 0.0), (2.0, 0.0, 0.0), (0.0, 0.0, 3.0)])
    centre = (0.0, 0.0, 0.0)
    turned = (np.cos(np.pi / 4), 0.0, 0.0, np.sin(np.pi / 4))  # 90 degrees about z
    expected = {
        Shape("sphere", centre, (0.5,), "obstacle"): (-0.5, 1.5, 2.5),
        Shape("capsule", centre, (0.5, 1.0), "obstacle"): (-0.5, 1.5, 1.5),
        Shape("cylinder", centre, (0.5, 1.0), "obstacle"): (-0.5, 1.5, 2.0),
        Shape("box", centre, (0.5, 1.0, 2.0), "obstacle", turned): (-0.5, 1.0, 1.0),
    }
    for shape, distances in expected.items():
        np.testing.assert_allclose(signed_distance(shape, points), distances, atol=1e-12)


def test_plan_outline_turns_boxes() -> None:
    turned = (np.cos(np.pi / 4), 0.0, 0.0, np.sin(np.pi / 4))
    outline = plan_outline(Shape("box", (1.0, 0.0, 0.0), (0.5, 1.0, 2.0), "obstacle", turned))
    np.testing.assert_allclose(outline.max(axis=0), (2.0, 0.5), atol=1e-12)
