"""Made-up episodes for the tests of films, plots and reports: a curve among cylinders. And whole tiny trainings."""

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from robo_ppo import command_line
from robo_ppo.env.shapes import Shape
from robo_ppo.run.trace import EpisodeTrace
from tests.run.training import LONG, check_refusal, train_in

GOAL = (2.6, 2.2, 1.6)
CYLINDERS = (
    (-1.2, -1.3, 0.25),
    (0.2, 0.9, 0.28),
    (1.3, 0.4, 0.2),
    (-0.2, -2.0, 0.15),
    (2.6, 0.2, 0.3),
    (-1.0, 1.4, 0.2),
)


def scene() -> list[Shape]:
    """An arena of 8 x 8 x 3 m with six columns and a goal."""
    columns = [Shape("cylinder", (x, y, 1.5), (radius, 1.5), "obstacle") for x, y, radius in CYLINDERS]
    return [
        Shape("box", (0.0, 0.0, 1.5), (4.0, 4.0, 1.5), "bounds"),
        Shape("sphere", GOAL, (0.15,), "goal"),
        *columns,
    ]


def trace(episode: int = 7, outcome: str = "success", seconds: float = 4.0) -> EpisodeTrace:
    """A flight from one corner to the goal that bends around the columns, leaning into its turns."""
    steps = round(seconds / 0.02)
    time = np.linspace(0.0, 1.0, steps + 1)
    ease = (3 * time**2 - 2 * time**3)[:, None]
    start = np.array([-2.8, -2.4, 0.8])
    across = np.array([0.7, -0.7, 0.3])
    position = start + ease * (np.array(GOAL) - start) + 0.9 * np.sin(np.pi * ease) * across
    roll, yaw = 0.3 * np.sin(6 * time), 0.7 + 0.5 * np.sin(4 * time)
    attitude = np.stack(
        [
            np.cos(roll / 2) * np.cos(yaw / 2),
            np.sin(roll / 2) * np.cos(yaw / 2),
            np.sin(roll / 2) * np.sin(yaw / 2),
            np.cos(roll / 2) * np.sin(yaw / 2),
        ],
        axis=1,
    )
    shapes = scene()
    speed = np.linalg.norm(np.gradient(position, 0.02, axis=0), axis=1)
    return EpisodeTrace(
        episode=episode,
        outcome=outcome,
        control_period=0.02,
        qpos=np.hstack([position, attitude]),
        position=position,
        shapes=[shapes] * len(position),
        readings={
            "distance to goal (m)": np.linalg.norm(position - GOAL, axis=1),
            "speed (m/s)": speed,
            "clearance (m)": np.full(len(position), 0.4),
        },
    )


@pytest.fixture(scope="session")
def make_trace() -> Callable[..., EpisodeTrace]:
    """`trace`, for the tests of this folder."""
    return trace


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder of a training that was never stopped, by its number of ranks. Not to be written to.

    Whoever of pytest's workers needs it first makes it for all.
    """
    own = tmp_path_factory.getbasetemp()
    place = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def whole(ranks: int) -> Path:
        folder, done = place / f"unbroken_{ranks}", place / f"unbroken_{ranks}.done"
        with done.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.stat().st_size:
                train_in(folder, *LONG, f"ranks={ranks}")
                lock.write("done")
        return folder

    return whole


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., None]:
    """`python train.py …`, in a folder of its own, must say this and leave no run behind."""
    monkeypatch.chdir(tmp_path)

    def refused(*arguments: str, said: str, entry: Callable[[], None] = command_line.train) -> None:
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            entry()
        check_refusal(ended.value.code, capfd.readouterr().err, said)

    return refused
