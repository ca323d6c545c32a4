"""What is made of a recorded flight, and (slow) a whole demonstration."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from robo_ppo.env.build import make_task
from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.flight import Flight
from robo_ppo.export.vehicles.mavlink import autopilot_of
from robo_ppo.export.vehicles.recording import Recording
from robo_ppo.run.demo import Settings, demonstrate, main
from robo_ppo.run.flight_figures import commands, latencies
from robo_ppo.run.flight_record import measures, read_log, trace_of
from robo_ppo_onboard.bundle import read_bundle

BUNDLE = read_bundle("policies/uav_hover.onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A take-off and a landing of the simulated vehicle, with a log as the controller writes it."""
    place = tmp_path_factory.mktemp("demo")
    flight = Flight(BUNDLE, episodes=1, period=0.02)
    autopilot, recording = autopilot_of(flight), Recording(flight)
    flight.begin(0, in_the_air=False)
    for step in range(200):
        now = step * flight.period
        if step == 25:
            autopilot.arm()
            autopilot.set_mode("takeoff", now)
        if step == 150:
            flight.judge()
        flight.step(*autopilot.tick(flight.state, flight.on_ground, now))
        recording.add(now + flight.period, autopilot.mode, autopilot.armed)
    recording.write(place)
    outputs = [f"{port.name} [{port.unit}]" for port in BUNDLE.contract.outputs]
    lines = [",".join(["time [s]", "late [ms]", "state", "fault", "policy [ms]", "age of position [ms]", *outputs])]
    for step in range(100):
        state = "LAUNCH" if step < 40 else "POLICY" if step < 80 else "HOVER"
        fault = "position is 60 ms old" if step >= 80 else ""
        policy = f"{0.1 * step}" if state == "POLICY" else ""
        lines.append(f"{0.02 * step},{0.01 * step},{state},{fault},{policy},{step % 2},0.4,0.1,0.2,0.3")
    (place / "flight.csv").write_text("\n".join(lines) + "\n")
    yield place


def test_figures_are_of_what_was_recorded(folder: Path) -> None:
    task = make_task(Flight(BUNDLE, episodes=1).config)
    trace, found = trace_of(folder, task), measures(folder, task, read_log(folder))
    assert len(trace.qpos) == 175 and trace.control_period == pytest.approx(0.02)  # from arming on
    assert trace.position[-1][2] > 0.8 and trace.qpos[-1][:3] == pytest.approx(trace.position[-1])
    assert any(shape.role == "goal" for shape in trace.shapes[0])
    assert found["outcome"] == "undecided" and found["seconds"] == pytest.approx(49 * 0.02)
    assert found["states"] == ["LAUNCH", "POLICY", "HOVER"] and found["taken_over"] == ["position is 60 ms old"]
    assert found["latency_ms"]["policy"]["max"] == pytest.approx(7.9)
    assert found["latency_ms"]["age of position"]["p50"] == pytest.approx(0.5)
    record = np.load(folder / "flight.npz")
    assert found["metrics"]["top_speed"]["value"] == pytest.approx(record["signal/speed"][150:].max())


def test_figures_are_drawn(folder: Path, tmp_path: Path) -> None:
    log = read_log(folder)
    for path in (
        commands(log, BUNDLE.contract, tmp_path / "c.png"),
        latencies(log, BUNDLE.contract, tmp_path / "l.png"),
    ):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["link=mavlnk"]) == 2
    assert "did you mean mavlink?" in capsys.readouterr().err
    assert main(["bundle=uav_nov"]) == 2
    assert "no shipped policy 'uav_nov'" in capsys.readouterr().err
    with pytest.raises(UserError, match="has no flight log"):
        read_log(tmp_path)


@pytest.mark.slow
def test_a_whole_demonstration(tmp_path: Path) -> None:
    folder = demonstrate(Settings(bundle="uav_nav", episode=5, seconds=6.0, runs=str(tmp_path), video_seconds=2.0))
    found = json.loads((folder / "metrics.json").read_text())
    assert found["states"][-1] == "LANDED" and found["outcome"] in ("success", "ground")
    for name in ("trajectories.png", "commands.png", "latencies.png", "video.mp4", "flight.npz"):
        assert (folder / name).stat().st_size > 1000
