"""Measurements from MAVLink messages, made by pymavlink and packed and parsed as on the wire."""

import math
import time
from typing import Any

import pytest
from pymavlink.dialects.v20 import ardupilotmega as dialect

from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.errors import UserError
from robo_ppo_onboard.links.mavlink_connection import COMPONENT, SYSTEM, Connection
from robo_ppo_onboard.sources.mavlink import MavlinkSource, ring
from robo_ppo_onboard.vehicle import Sample

UNKNOWN = 65535


class Wire(Connection):
    """A connection into which a test puts messages."""

    def __init__(self) -> None:
        super().__init__("")
        self._vehicle: Any = dialect.MAVLink(None, srcSystem=1, srcComponent=1)
        self.arrived: list[Any] = []
        self.asked: list[tuple[float, ...]] = []

    def open(self) -> None:
        self.put("heartbeat", 2, 12, 0, 0, 4)
        self.pump()

    def ask(self, number: int, *numbers: float, seconds: float = 0.5, times: int = 4) -> int | None:
        self.asked.append((number, *numbers))
        return 0

    def put(self, kind: str, *values: Any, sender: tuple[int, int] = (1, 1)) -> None:
        self._vehicle.srcSystem, self._vehicle.srcComponent = sender
        packed = getattr(self._vehicle, f"{kind}_encode")(*values).pack(self._vehicle)
        self.arrived += dialect.MAVLink(None).parse_buffer(packed) or []

    def pump(self) -> None:
        arrived, self.arrived = self.arrived, []
        for message in arrived:
            self._take(message)


def opened(**settings: str) -> tuple[Wire, MavlinkSource]:
    wire = Wire()
    source = MavlinkSource(connection=wire, **settings)
    source.open(read_bundle("policies/uav_nav.onnx").contract)
    return wire, source


def obstacles(distances: list[int], increment: float, offset: float = 0.0, most: int = 300) -> Any:
    wire = Wire()
    padded = distances + [UNKNOWN] * (72 - len(distances))
    wire.put(
        "obstacle_distance", 7_000_000, 4, padded, 5 if math.isnan(increment) else 0, 2, most, increment, offset, 12
    )
    return wire.arrived[0]


def test_one_message_may_carry_several_measurements() -> None:
    wire, source = opened()
    wire.put("local_position_ned", 1250, 2.0, 1.0, -3.0, 0.5, 0.25, -0.125)
    wire.put("attitude_quaternion", 1260, math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5), 0.1, -0.2, -0.3)
    position, velocity, attitude, gyro = source.poll()
    assert position == Sample("position", (1.0, 2.0, 3.0), 1.25)
    assert velocity == Sample("velocity", (0.25, 0.5, 0.125), 1.25)
    assert attitude.values == pytest.approx((1.0, 0.0, 0.0, 0.0), abs=1e-7) and attitude.stamp == 1.26
    assert gyro.values == pytest.approx((0.1, 0.2, 0.3)) and source.poll() == []


def test_odometry_tells_all_of_it_with_the_velocity_in_the_body_frame() -> None:
    wire, source = opened(position="ODOMETRY", velocity="ODOMETRY", attitude="ODOMETRY", gyro="ODOMETRY")
    north = (1.0, 0.0, 0.0, 0.0)
    covariance = [math.nan] * 21
    for frames in ((1, 12), (20, 8)):  # of the second, nobody knows what is meant
        wire.put(
            "odometry", 2_000_000, *frames, 1.0, 2.0, 3.0, north, 0.5, 0.1, 0.2, 0.0, 0.0, 0.4, covariance, covariance
        )
    samples = {sample.name: sample.values for sample in source.poll()}
    assert samples["position"] == (2.0, 1.0, -3.0)
    assert samples["velocity"] == pytest.approx((0.1, 0.5, -0.2))
    assert samples["attitude"] == pytest.approx((math.sqrt(0.5), 0.0, 0.0, math.sqrt(0.5)))
    assert samples["gyro"] == pytest.approx((0.0, 0.0, -0.4))


def test_euler_angles_and_the_raw_gyro_do_too() -> None:
    wire, source = opened(attitude="ATTITUDE", gyro="HIGHRES_IMU")
    wire.put("attitude", 500, 0.0, 0.0, math.pi / 2, 9.0, 9.0, 9.0)
    wire.put("highres_imu", 510_000, 0.0, 0.0, 0.0, 0.1, 0.2, 0.3, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)
    attitude, gyro = source.poll()
    assert attitude.values == pytest.approx((1.0, 0.0, 0.0, 0.0), abs=1e-6)
    assert gyro.name == "gyro" and gyro.values == pytest.approx((0.1, -0.2, -0.3)) and gyro.stamp == 0.51


def test_the_goal_is_what_a_ground_station_tells_this_controller() -> None:
    wire, source = opened()
    none = (0.0,) * 6
    for target, sender in (((SYSTEM, COMPONENT), (255, 190)), ((1, 1), (255, 190)), ((SYSTEM, 0), (1, 1))):
        wire.put("set_position_target_local_ned", 9, *target, 1, 0, 3.0, 2.0, -1.0, *none, 0.0, 0.0, sender=sender)
    assert [sample.values for sample in source.poll()] == [(2.0, 3.0, 1.0)] * 2


@pytest.mark.parametrize(("frame", "mask"), [(1, 0b1101_1100_0111), (8, 0), (1, 0b100)])
def test_a_target_that_is_no_position_in_the_world_is_no_goal(frame: int, mask: int) -> None:
    wire, source = opened()
    numbers = (0.0,) * 11
    wire.put("set_position_target_local_ned", 9, SYSTEM, COMPONENT, frame, mask, *numbers, sender=(255, 190))
    assert source.poll() == []


def test_a_message_that_a_handler_cannot_take_is_passed_over() -> None:
    wire, source = opened()
    wire._handlers["LOCAL_POSITION_NED"].insert(0, lambda m: m.no_such_number)
    wire.put("local_position_ned", 1250, 2.0, 1.0, -3.0, 0.0, 0.0, 0.0)
    assert len(source.poll()) == 2 and wire.bad == 1


class Flood:
    """In the place of pymavlink's connection: messages of strangers, and no end of them."""

    def __init__(self) -> None:
        self.mav: Any = dialect.MAVLink(None)
        self.mav.heartbeat_send = lambda *_: None
        self.left = 1_000_000
        self.message = obstacles([], 5.0)

    def recv_msg(self) -> Any:
        self.left -= 1
        return self.message if self.left >= 0 else None

    def recv(self, most: int) -> bytes:
        self.left = 0
        return b""


def test_a_flood_ends_no_tick_and_old_news_is_dropped() -> None:
    connection, flood = Connection(""), Flood()
    connection._raw = flood
    start, calls = time.monotonic(), 0
    while flood.left > 0:
        before = time.monotonic()
        connection.pump()
        calls += 1
        assert time.monotonic() - before < 0.1  # 5 ms, and a machine that is busy
    assert 0.2 < time.monotonic() - start < 2.0 and calls > 5 and connection.dropped == 1


def test_what_another_vehicle_measures_is_not_ours() -> None:
    wire, source = opened()
    wire.put("local_position_ned", 1250, 2.0, 1.0, -3.0, 0.0, 0.0, 0.0, sender=(2, 1))
    assert source.poll() == []


def test_it_passes_on_what_came_twice_and_what_is_not_finite() -> None:
    wire, source = opened()
    for ms in (20, 20, 10):
        wire.put("local_position_ned", ms, math.nan, 1.0, -3.0, 0.0, 0.0, 0.0)
    samples = [sample for sample in source.poll() if sample.name == "position"]
    assert [sample.stamp for sample in samples] == [0.02, 0.02, 0.01]
    assert all(math.isnan(sample.values[1]) for sample in samples)


def test_messages_are_asked_for_twice_in_a_control_period() -> None:
    wire, _ = opened()
    assert sorted(wire.asked) == [(511, number, 10_000) for number in (31, 32, 330)]


def test_a_ring_runs_the_other_way_round() -> None:
    ahead_right_behind_left = obstacles([100, 200, 250, 50], 90.0)
    assert ring(ahead_right_behind_left, 4) == (1.0, 0.5, 2.5, 2.0)


def test_the_nearest_of_a_sector_counts_and_unknown_is_not_far() -> None:
    distances = [300] * 72
    distances[1], distances[-1], distances[36] = 120, 90, 301  # 5° right, 5° left; behind, nothing in reach
    for number in (8, 9, 10):
        distances[number] = UNKNOWN  # 45° right, as wide as a sector
    found = ring(obstacles(distances, 5.0), 24)
    assert found[0] == 0.9 and found[12] == 3.0 and math.isnan(found[-3])
    assert sum(math.isnan(value) for value in found) == 1


def test_a_ring_may_be_turned_or_empty() -> None:
    assert ring(obstacles([100, 200, 250, 50], 90.0, offset=-90.0), 4) == (2.0, 1.0, 0.5, 2.5)
    assert all(math.isnan(value) for value in ring(obstacles([], 0.0), 4))


@pytest.mark.parametrize(
    ("increment", "offset"), [(math.nan, 0.0), (90.0, math.nan), (math.inf, 0.0), (90.0, math.inf)]
)
def test_nothing_is_known_of_a_ring_whose_angles_are_not_finite(increment: float, offset: float) -> None:
    found = ring(obstacles([100] * 72, increment, offset=offset), 4)
    assert len(found) == 4 and all(map(math.isnan, found))


def test_messages_that_lack_the_measurement_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean LOCAL_POSITION_NED"):
        MavlinkSource(position="LOCAL_POSITON_NED")
