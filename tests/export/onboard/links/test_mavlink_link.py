"""The MAVLink link against a flight controller of a few lines: what it asks for, what it sends, what it refuses."""

import dataclasses
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.contract import Contract, Port
from robo_ppo_onboard.errors import UserError
from robo_ppo_onboard.links.mavlink import POSITION, RATES, VELOCITY, MavlinkLink
from robo_ppo_onboard.links.mavlink_autopilots import ARDUPILOT, PX4
from robo_ppo_onboard.vehicle import Order, Setpoint, Status
from tests.export.onboard.links.peer import Peer, free_port

LEVEL: dict[str, float] = dict(zip(RATES, (0.4, 0.1, 0.2, 0.3), strict=True))
PX4_FAILSAFE = {name: 0.0 for parameter in PX4.failsafe for name in parameter.names} | {"MIS_TAKEOFF_ALT": 2.5}
ARDUPILOT_FAILSAFE = {parameter.names[-1]: 0.0 for parameter in ARDUPILOT.failsafe} | {"GUID_OPTIONS": 5.0}


@pytest.fixture(scope="module")
def contract() -> Contract:
    return read_bundle("policies/uav_nav.onnx").contract


def commanding(contract: Contract, names: tuple[str, ...]) -> Contract:
    """The same contract with other outputs."""
    changed = object.__new__(Contract)
    changed.__dict__.update(vars(contract) | {"outputs": tuple(Port(name, (), "1") for name in names)})
    return changed


@contextmanager
def linked(peer: Peer, contract: Contract, **settings: Any) -> Generator[MavlinkLink]:
    link = MavlinkLink(address=f"udpin:127.0.0.1:{peer.port}", **settings)
    with closing(link):
        link.open(contract)
        yield link


def until(
    link: MavlinkLink, order: Order, done: Callable[[Status], bool], commands: dict[str, float] | None = None
) -> Status:
    """Tick until something holds after the order was given; the status then."""
    end = time.monotonic() + 20.0
    while True:
        now = time.monotonic()
        link.send(Setpoint(order, commands or LEVEL), now)
        time.sleep(0.01)
        status = link.status(time.monotonic())
        if done(status):
            return status
        assert now < end, status


def for_a_while(link: MavlinkLink, order: Order, seconds: float = 0.6) -> Status:
    end = time.monotonic() + seconds
    return until(link, order, lambda status: time.monotonic() > end)


def in_the_air(link: MavlinkLink, peer: Peer) -> None:
    """It holds its place, and then takes commands."""
    peer.armed, peer.landed, peer.mode = True, 2, "hold"
    until(link, Order.OWN, lambda status: status.mode == "hold" and status.armed)
    until(link, Order.COMMAND, lambda status: status.in_control)


def test_px4_takes_off_obeys_hands_back_and_lands(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        assert not until(link, Order.OWN, lambda status: status.battery is not None).armed
        assert not for_a_while(link, Order.LAUNCH, 0.1).in_control
        until(link, Order.LAUNCH, lambda status: status.armed and status.mode == "takeoff")
        peer.landed = 2
        until(link, Order.LAUNCH, lambda status: status.in_control)
        peer.mode = "hold"  # the take-off is over
        status = until(link, Order.LAUNCH, lambda status: status.mode == "hold")
        assert status.in_control and not status.pilot and status.flying
        until(link, Order.COMMAND, lambda status: status.in_control and status.mode == "offboard")
        until(link, Order.OWN, lambda status: status.mode == "hold" and status.in_control)
        until(link, Order.COMMAND, lambda status: status.in_control)
        until(link, Order.LEVEL, lambda status: status.in_control and status.mode == "hold")
        until(link, Order.LAND, lambda status: status.in_control and status.mode == "land")
        status = until(link, Order.STOP, lambda status: not status.armed)
        assert status.battery == pytest.approx(0.55) and status.ready and not status.pilot


def test_ardupilot_is_told_nothing_while_it_takes_off(contract: Contract) -> None:
    with Peer(autopilot=3) as peer, linked(peer, contract) as link:
        until(link, Order.LAUNCH, lambda status: bool(peer.commands(22)))
        assert peer.commands(22)[-1].param7 == pytest.approx(1.2)
        assert peer.armed and peer.mode == "guided" and not peer.setpoints()
        peer.landed = 2
        until(link, Order.LAUNCH, lambda status: status.in_control)
        until(link, Order.COMMAND, lambda status: status.in_control and bool(peer.setpoints()))
        until(link, Order.LEVEL, lambda status: status.mode == "brake")
        until(link, Order.LAND, lambda status: status.mode == "land")


def test_what_a_pilot_takes_is_left_to_the_pilot(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        peer.armed, peer.landed = True, 2
        until(link, Order.COMMAND, lambda status: status.in_control)
        peer.mode = "position"
        status = until(link, Order.COMMAND, lambda status: status.pilot)
        assert not status.in_control
        asked = len(peer.commands(176))
        for order in (Order.COMMAND, Order.LEVEL, Order.LAND):
            assert for_a_while(link, order).pilot
        assert peer.mode == "position" and len(peer.commands(176)) == asked
        assert not for_a_while(link, Order.OWN, 0.1).pilot
        until(link, Order.COMMAND, lambda status: status.mode == "offboard")  # a new flight, asked for by a person


def test_heartbeats_are_asked_for_ten_times_a_second(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract):
        intervals = {m.param1: m.param2 for m in peer.commands(511)}
        assert intervals[0] <= 100_000


def test_no_mode_is_asked_for_before_a_heartbeat_has_shown_that_no_pilot_has_it(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        in_the_air(link, peer)
        peer.beat = 0.7
        until_now = len(peer.imposed)
        time.sleep(0.05)
        peer.mode = "position"  # a pilot, of whom the next heartbeat tells
        until(link, Order.LEVEL, lambda status: status.pilot)
        assert peer.mode == "position" and len(peer.imposed) == until_now


def test_without_a_heartbeat_no_mode_is_asked_for_and_the_vehicle_was_not_heard(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        until(link, Order.OWN, lambda status: status.battery is not None)
        peer.armed, peer.landed, peer.obeys, peer.beat = True, 2, False, 5.0
        time.sleep(0.05)
        heard = for_a_while(link, Order.OWN, 0.1).heard
        assert for_a_while(link, Order.COMMAND, 1.0).heard == heard and not peer.commands(176)


@pytest.mark.parametrize("mode", ["hold", "offboard"])
def test_a_pilot_who_stops_a_landing_has_the_vehicle(contract: Contract, mode: str) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        in_the_air(link, peer)
        for_a_while(link, Order.COMMAND)
        until(link, Order.LAND, lambda status: status.mode == "land")
        peer.mode = mode
        status = until(link, Order.LAND, lambda status: status.pilot)
        assert not status.in_control and for_a_while(link, Order.LAND).mode == mode


def test_a_pilot_who_holds_before_the_landing_is_known_has_it_too(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        in_the_air(link, peer)
        peer.obeys = False
        for_a_while(link, Order.LAND, 0.1)
        peer.mode = "hold"  # which was not asked for
        until(link, Order.LAND, lambda status: status.pilot)


def test_on_the_way_from_hold_to_land_the_vehicle_is_ours(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        in_the_air(link, peer)
        until(link, Order.LEVEL, lambda status: status.mode == "hold")
        peer.obeys = False
        assert not for_a_while(link, Order.LAND).pilot
        peer.obeys = True
        assert not until(link, Order.LAND, lambda status: status.mode == "land").pilot


def test_who_disarms_in_a_launch_is_not_armed_again(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        until(link, Order.LAUNCH, lambda status: status.armed)
        peer.armed = False
        assert until(link, Order.LAUNCH, lambda status: status.pilot).ready is False
        asked = len(peer.commands(400))
        for order in (Order.OWN, Order.LAUNCH) * 3:
            assert for_a_while(link, order, 0.2).ready is False
        link.forget()
        for_a_while(link, Order.LAUNCH)
        assert not peer.armed and len(peer.commands(400)) == asked


def test_who_disarms_before_a_heartbeat_says_armed_is_not_armed_again_either(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        until(link, Order.OWN, lambda status: status.battery is not None)
        peer.beat = 0.5
        until(link, Order.LAUNCH, lambda status: peer.armed)
        peer.armed = False
        for_a_while(link, Order.LAUNCH, 1.5)
        assert not peer.armed


def test_a_disarm_that_is_lost_is_repeated_without_a_heartbeat(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        peer.armed = True
        until(link, Order.OWN, lambda status: status.armed)
        peer.lost, peer.beat = 2, 60.0
        until(link, Order.STOP, lambda status: not peer.armed)


def test_stop_disarms_a_vehicle_that_is_not_known_to_be_armed_yet(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        until(link, Order.OWN, lambda status: status.battery is not None)
        peer.beat = 0.5
        until(link, Order.LAUNCH, lambda status: peer.armed)
        until(link, Order.STOP, lambda status: not peer.armed)


def test_a_vehicle_that_is_not_heard_is_left_to_its_own_failsafe(
    contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robo_ppo_onboard.links.mavlink.SILENT", 0.3)
    with Peer() as peer, linked(peer, contract) as link:
        peer.armed, peer.landed = True, 2
        until(link, Order.COMMAND, lambda status: status.in_control)
        peer.beat = 60.0
        for_a_while(link, Order.LEVEL, 0.5)
        before = len(peer.setpoints())
        for_a_while(link, Order.LEVEL, 0.3)
        assert len(peer.setpoints()) == before


def test_a_failsafe_of_the_vehicles_own_is_not_fought_either(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        peer.armed, peer.landed = True, 2
        until(link, Order.COMMAND, lambda status: status.in_control)
        peer.mode = "return"
        until(link, Order.COMMAND, lambda status: status.pilot)
        assert for_a_while(link, Order.LEVEL).mode == "return"


def test_numbers_level_a_vehicle_that_cannot_hold_by_itself(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract) as link:
        peer.armed, peer.landed = True, 2
        until(link, Order.COMMAND, lambda status: status.in_control)
        peer.obeys = False
        before = len(peer.setpoints())
        status = for_a_while(link, Order.LEVEL, 1.0)
        assert status.in_control and status.mode == "offboard" and not status.pilot
        assert len(peer.commands(176)) >= 2 and len(peer.setpoints()) > before + 20


def test_rates_and_thrust_on_the_wire(contract: Contract) -> None:
    with Peer() as peer, linked(peer, contract, throttle=(0.0, 0.1, 0.4, 0.5, 0.8, 0.9)) as link:
        until(link, Order.COMMAND, lambda status: len(peer.setpoints()) > 1)
        sent = peer.setpoints()[-1]
        assert sent.get_type() == "SET_ATTITUDE_TARGET" and sent.type_mask == 128
        assert (sent.body_roll_rate, sent.body_pitch_rate, sent.body_yaw_rate) == pytest.approx((0.1, -0.2, -0.3))
        assert sent.thrust == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("names", "values", "mask", "expected"),
    [
        (VELOCITY, (1.0, 2.0, 3.0, 0.5), 0b010111000111, {"vx": 2.0, "vy": 1.0, "vz": -3.0, "yaw_rate": -0.5}),
        (POSITION, (1.0, 2.0, 3.0, 0.0), 0b100111111000, {"x": 2.0, "y": 1.0, "z": -3.0, "yaw": 1.5707964}),
    ],
)
def test_velocity_and_position_on_the_wire(
    contract: Contract, names: tuple[str, ...], values: tuple[float, ...], mask: int, expected: dict[str, float]
) -> None:
    commands = dict(zip(names, values, strict=True))
    with Peer() as peer, linked(peer, commanding(contract, names)) as link:
        until(link, Order.COMMAND, lambda status: len(peer.setpoints()) > 1, commands)
        sent = peer.setpoints()[-1]
        assert sent.get_type() == "SET_POSITION_TARGET_LOCAL_NED" and sent.coordinate_frame == 1
        assert sent.type_mask == mask
        assert {name: getattr(sent, name) for name in expected} == pytest.approx(expected)


def test_px4s_failsafe_is_set_and_read_back(contract: Contract) -> None:
    with Peer(parameters=PX4_FAILSAFE) as peer, linked(peer, contract, parameters="COM_OBL_RC_ACT=5") as link:
        said = link.prepare()
        assert peer.parameters == pytest.approx(
            {"COM_OF_LOSS_T": 0.5, "COM_OBL_RC_ACT": 5, "NAV_DLL_ACT": 3, "NAV_RCL_ACT": 3, "MIS_TAKEOFF_ALT": 1.2}
        )
        assert len(said) == 5 and said[0].startswith("COM_OF_LOSS_T = 0.5: without setpoints")


def test_ardupilots_failsafe_is_set_by_older_names_too(contract: Contract) -> None:
    with Peer(autopilot=3, parameters=ARDUPILOT_FAILSAFE) as peer, linked(peer, contract) as link:
        link.prepare()
        found = peer.parameters
    assert found["FS_OPTIONS"] == 16  # continue in the modes in which a pilot flies by hand
    assert found["SYSID_MYGCS"] == 245 and found["FS_GCS_ENABLE"] == 5 and found["GUID_TIMEOUT"] == 0.5
    assert found["GUID_OPTIONS"] == 5 + 8  # the other bits stay


def test_a_vehicle_that_does_not_take_its_failsafe_is_refused(contract: Contract) -> None:
    with Peer(parameters=PX4_FAILSAFE) as peer, linked(peer, contract) as link:
        peer.stubborn = {"COM_OBL_RC_ACT"}
        with pytest.raises(UserError, match="does not take COM_OBL_RC_ACT = 4"):
            link.prepare()


def test_mistakes_are_told(contract: Contract) -> None:
    with pytest.raises(UserError, match=r"no autopilot was heard at udpin:127.0.0.1:\d+ within 0.1 s"):
        MavlinkLink(address=f"udpin:127.0.0.1:{free_port()}", wait=0.1).open(contract)
    with pytest.raises(UserError, match="cannot be told thrust_front_left"):
        MavlinkLink().open(commanding(contract, ("thrust_front_left",)))
    without = dataclasses.replace(contract.outputs[0], throttle=None)
    blind = object.__new__(Contract)
    blind.__dict__.update(vars(contract) | {"outputs": (without, *contract.outputs[1:])})
    with pytest.raises(UserError, match="the bundle does not say which part of full throttle"):
        MavlinkLink().open(blind)
    with pytest.raises(UserError, match="must rise from point to point"):
        MavlinkLink(throttle=(0.0, 0.5, 1.0, 0.2)).open(contract)
    with pytest.raises(UserError, match="write NAME=number"):
        MavlinkLink(parameters="COM_OBL_RC_ACT")
    with pytest.raises(UserError, match="has no gyro"):
        MavlinkLink(gyro="LOCAL_POSITION_NED")
    with Peer(autopilot=4) as peer, pytest.raises(UserError, match="MAV_AUTOPILOT 4"), linked(peer, contract):
        pass
    with Peer(parameters=PX4_FAILSAFE) as peer, linked(peer, contract, parameters="COM_OF_LOSS=1") as link:
        with pytest.raises(UserError, match="did you mean COM_OF_LOSS_T"):
            link.prepare()
