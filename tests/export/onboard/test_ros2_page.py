"""`docs/ros2.md` is right: its code flies against stand-ins for ROS 2, in the units and frames that it says."""

import dataclasses
import math
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robo_ppo_onboard.operator import Plan
from robo_ppo_onboard.safety.supervisor import Supervisor
from robo_ppo_onboard.safety.table import State
from robo_ppo_onboard.vehicle import Requests
from tests.export.onboard import ros2
from tests.run.following import blocks

ROOT = Path(__file__).parents[3]
LIMITS = """
max_age_s: {default: 1.0}
max_missed_deadlines: 50
max_overrun: 50.0
ramp_s: 0.1
"""  # a shared machine is late at times


class Vehicle:
    """PX4 behind MAVROS: does what it is asked for, hangs in the air where it was put, and can have a pilot."""

    def __init__(self, graph: ros2.Graph) -> None:
        self._graph = graph
        self.state = ros2.State(connected=True, armed=True, mode="AUTO.LOITER")
        self.targets: list[Any] = []
        self.calls: list[tuple[str, Any]] = []
        self.height, self.yaw = 1.0, math.pi / 2
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._tell)
        graph.published, graph.called = self._hear, self._serve

    def __enter__(self) -> "Vehicle":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()

    def pitch_rates(self) -> set[float]:
        """All that it was told so far."""
        return {target.body_rate.y for target in self.targets}

    def odometry(self, seconds: float) -> ros2.Message:
        def vector(x: float, y: float, z: float) -> ros2.Message:
            return ros2.Message(x=x, y=y, z=z)

        turned = ros2.Message(x=0.0, y=0.0, z=math.sin(self.yaw / 2), w=math.cos(self.yaw / 2))
        pose = ros2.Message(position=vector(0.1, 0.2, self.height), orientation=turned)
        twist = ros2.Message(linear=vector(0.3, 0.0, 0.05), angular=vector(0.01, 0.02, 0.03))
        stamp = ros2.Message(sec=int(seconds), nanosec=round(1e9 * (seconds % 1.0)))
        return ros2.Message(
            header=ros2.Message(stamp=stamp), pose=ros2.Message(pose=pose), twist=ros2.Message(twist=twist)
        )

    def _tell(self) -> None:
        start = time.monotonic()
        while not self._ends.wait(0.01):
            self._graph.deliver("/mavros/local_position/odom", self.odometry(time.monotonic() - start))
            self._graph.deliver("/mavros/state", ros2.State(**vars(self.state)))

    def _hear(self, topic: str, message: Any) -> None:
        assert topic == "/mavros/setpoint_raw/attitude"
        self.targets.append(message)

    def _serve(self, service: str, request: Any) -> None:
        self.calls.append((service, request))
        if service == "/mavros/set_mode":
            self.state.mode = request.custom_mode
        else:
            self.state.armed = request.value


class LandOnceFlown(Plan):
    """Lands as soon as the policy has told the vehicle a few different things."""

    def __init__(self, vehicle: Vehicle) -> None:
        super().__init__(launch=False)
        self._vehicle = vehicle

    def requests(self, now: float, supervisor: Supervisor) -> Requests:
        asked = super().requests(now, supervisor)
        return dataclasses.replace(asked, land=len(self._vehicle.pitch_rates()) > 5)


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch) -> ros2.Graph:
    graph = ros2.Graph()
    for name, module in graph.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return graph


@pytest.fixture
def page(graph: ros2.Graph) -> SimpleNamespace:
    """The names of the page's program."""
    (code,) = [block.body for block in blocks((ROOT / "docs/ros2.md").read_text()) if block.language == "python"]
    names: dict[str, Any] = {"__name__": "fly_ros2"}
    exec(compile(code, "docs/ros2.md", "exec"), names)
    return SimpleNamespace(**names)


def test_it_flies(page: SimpleNamespace, graph: ros2.Graph, tmp_path: Path) -> None:
    (tmp_path / "limits.yaml").write_text(LIMITS)
    end = time.monotonic() + 20.0
    with Vehicle(graph) as vehicle:

        def landed(tick: Any) -> bool:
            if tick.state is State.DESCEND:
                vehicle.height = 0.0
            return tick.state is State.LANDED or time.monotonic() > end

        bundle = ROOT / "policies/uav_hover.onnx"
        last = page.main(bundle, tmp_path / "limits.yaml", LandOnceFlown(vehicle), landed)
    assert last.state is State.LANDED
    assert ("/mavros/set_mode", "OFFBOARD") in [(service, request.custom_mode) for service, request in vehicle.calls]
    assert graph.subscribed["/mavros/local_position/odom"][2] == "best effort"
    assert {target.type_mask for target in vehicle.targets} == {ros2.AttitudeTarget.IGNORE_ATTITUDE}
    assert all(0.0 <= target.thrust <= 1.0 for target in vehicle.targets)
    assert len(vehicle.pitch_rates()) > 5
    assert not graph.spins


def test_units_and_frames(page: SimpleNamespace, graph: ros2.Graph) -> None:
    source = page.OdometrySource(ros2.Node(graph, "node"))
    vehicle = Vehicle(graph)
    graph.subscribed["/mavros/local_position/odom"][1](vehicle.odometry(12.25))
    found = {sample.name: sample for sample in source.poll()}
    assert set(found) == set(source.provides)
    assert found["position"].values == (0.1, 0.2, 1.0)
    assert found["velocity"].values == pytest.approx((0.0, 0.3, 0.05))  # ahead is north
    assert found["attitude"].values == pytest.approx((math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)))
    assert found["gyro"].values == (0.01, 0.02, 0.03)
    assert {sample.stamp for sample in found.values()} == {12.25}
    assert source.poll() == []


def test_a_pilot_who_changes_the_mode_has_it(page: SimpleNamespace, graph: ros2.Graph) -> None:
    link = page.MavrosLink(ros2.Node(graph, "node"))
    link.open(page.read_bundle(ROOT / "policies/uav_hover.onnx").contract)
    vehicle = Vehicle(graph)
    on_state = graph.subscribed["/mavros/state"][1]
    numbers = {"collective_thrust": 0.4, "roll_rate": 1.0, "pitch_rate": -2.0, "yaw_rate": 0.5}
    on_state(vehicle.state)
    for now, order in ((1.0, page.Order.OWN), (2.0, page.Order.COMMAND)):
        link.send(SimpleNamespace(order=order, commands=numbers), now)
    target = vehicle.targets[-1]
    assert (target.body_rate.x, target.body_rate.y, target.body_rate.z) == (1.0, -2.0, 0.5)
    assert target.thrust == pytest.approx(0.5)
    assert [request.custom_mode for _, request in vehicle.calls] == ["OFFBOARD"]  # on COMMAND, not on OWN
    status = link.status(2.1)
    assert (status.armed, status.in_control, status.pilot) == (True, True, False)
    vehicle.state.mode = "POSCTL"
    status = link.status(2.2)
    assert (status.in_control, status.pilot) == (False, True)
    link.send(SimpleNamespace(order=page.Order.OWN, commands=numbers), 3.0)
    assert not link.status(3.1).pilot
    assert len(vehicle.calls) == 1  # the pilot keeps it
    link.send(SimpleNamespace(order=page.Order.STOP, commands=numbers), 4.0)
    assert vehicle.calls[-1][0] == "/mavros/cmd/arming"
    assert vehicle.state.armed is False
