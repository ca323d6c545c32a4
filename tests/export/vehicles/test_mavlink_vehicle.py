"""The MAVLink vehicle as a process: in lockstep with the onboard controller, and in real time with MAVSDK."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.mavlink_loop import BAR, measure, table
from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.lockstep import MODULE, Fault, LockstepFlights, free_port
from robo_ppo.export.vehicles.mavlink import main
from robo_ppo.export.vehicles.process import VehicleProcess
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.runtime import Policy

NAV, HOVER = "policies/uav_nav.onnx", "policies/uav_hover.onnx"


def test_the_shipped_policy_flies_through_the_protocol() -> None:
    policy = Policy(read_bundle(NAV))
    with LockstepFlights(NAV, episodes=3) as flights:
        flown = [flights.fly(policy, episode) for episode in (2, 0)]
        cut = flights.fly(policy, 1, fault=Fault("cut", delay=1.0))
        held = flights.fly(policy, 1, fault=Fault("stall", delay=1.0, seconds=0.2))
    assert [flight.outcome for flight in flown] == ["success", "success"]
    assert [flight.taken_over for flight in flown] == ["", ""]
    assert all(100 < flight.steps < 400 for flight in flown)
    # Nothing gets through any more: the net takes over, and the vehicle's own failsafe holds it where it is.
    assert cut.outcome == "timeout" and "old" in cut.taken_over
    assert held.outcome != "success" and "old" in held.taken_over


def test_mavsdk_flies_the_vehicle() -> None:
    port = free_port()
    client = Path(__file__).with_name("mavsdk_client.py")
    with VehicleProcess(MODULE, f"bundle={HOVER}", "episode=3", f"address=udpout:127.0.0.1:{port}") as vehicle:
        vehicle.wait_for("ready")
        command = [sys.executable, str(client), f"udpin://127.0.0.1:{port}"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    seen = json.loads(next(line for line in run.stdout.splitlines() if line.startswith("{")))
    assert seen["connected"] and seen["in_air"] and seen["landed"] == "ON_GROUND"
    assert (seen["parameter"], seen["set_parameter"], seen["offboard_without_setpoints"]) == (1.0, 4, "OffboardError")
    assert seen["height"] == pytest.approx(1.2, abs=0.15) and seen["battery"] == pytest.approx(90.0)
    assert seen["climbing"] == pytest.approx(0.3, abs=0.1)
    assert seen["turning"] == pytest.approx(0.785, abs=0.2)  # 45 °/s clockwise


def test_it_says_what_it_cannot_fly(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["task=uav_nav", f"bundle={NAV}"]) == 2
    assert "say which policy's task to fly in" in capsys.readouterr().err
    assert main([f"bundle={NAV}", "rate=70"]) == 2
    assert "is not a multiple of the physics' 0.005 s" in capsys.readouterr().err
    with (
        VehicleProcess(MODULE, "epsode=3") as vehicle,
        pytest.raises(UserError, match=r"ended: .*did you mean episode"),
    ):
        vehicle.wait_for("ready")


@pytest.mark.slow
def test_the_protocol_costs_the_policy_next_to_nothing() -> None:
    results = measure(Path(NAV), 200)
    assert results["ratio"] >= BAR, table(results)
