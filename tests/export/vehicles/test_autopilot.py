"""A simulated flight controller alone: its rules, and its own way of flying in the physics of a task."""

import dataclasses

import numpy as np
import pytest

from robo_ppo.errors import UserError
from robo_ppo.export.vehicles.autopilot import ACCEPTED, DENIED, NOT_NOW, Autopilot, Position, Rates, Velocity
from robo_ppo.export.vehicles.cascade import Cascade
from robo_ppo.export.vehicles.faults import Faults
from robo_ppo.export.vehicles.flight import Flight, RigidBody
from robo_ppo.export.vehicles.mavlink import Settings, autopilot_of
from robo_ppo.export.vehicles.settings import parse_settings
from robo_ppo_onboard.bundle import read_bundle

IN_THE_AIR = RigidBody(np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(3), np.zeros(3))
NONE = (0.0, 0.0, 0.0)


@pytest.fixture
def autopilot() -> Autopilot:
    return Autopilot(Cascade(0.04, (0.08, 0.8), (6.0, 6.0, 3.0), 0.01), idle=(0.08, NONE))


def test_offboard_needs_setpoints_and_is_left_without_them(autopilot: Autopilot) -> None:
    assert autopilot.arm() == ACCEPTED
    assert autopilot.set_mode("offboard", 1.0) == NOT_NOW
    autopilot.take(Rates(0.5, (1.0, 2.0, 3.0)), 1.0)
    assert autopilot.set_mode("offboard", 1.1) == ACCEPTED
    assert autopilot.tick(IN_THE_AIR, False, 1.2) == (0.5, (1.0, 2.0, 3.0))
    autopilot.tick(IN_THE_AIR, False, 1.9)
    assert autopilot.mode == "offboard"
    autopilot.parameters["COM_OBL_RC_ACT"] = 4
    autopilot.tick(IN_THE_AIR, False, 2.1)
    assert autopilot.mode == "land" and autopilot.armed


def test_a_lost_ground_station_matters_where_the_parameter_says_so(autopilot: Autopilot) -> None:
    autopilot.arm()
    autopilot.ground_station = 0.0
    autopilot.tick(IN_THE_AIR, False, 20.0)
    assert autopilot.mode == "hold"
    autopilot.parameters["NAV_DLL_ACT"] = 3
    autopilot.tick(IN_THE_AIR, False, 20.0)
    assert autopilot.mode == "land"


def test_motors_stop_in_the_air_only_by_force(autopilot: Autopilot) -> None:
    autopilot.arm()
    assert autopilot.disarm(on_ground=False) == DENIED and autopilot.armed
    assert autopilot.disarm(on_ground=False, by_force=True) == ACCEPTED and not autopilot.armed
    assert autopilot.tick(IN_THE_AIR, False, 1.0) == (0.08, NONE)
    assert autopilot.set_mode("acro", 1.0) == DENIED


def test_it_disarms_some_time_after_a_landing(autopilot: Autopilot) -> None:
    autopilot.arm()
    autopilot.set_mode("land", 0.0)
    autopilot.tick(IN_THE_AIR, True, 1.0)
    autopilot.tick(IN_THE_AIR, True, 2.9)
    assert autopilot.armed
    autopilot.tick(IN_THE_AIR, True, 3.0)
    assert not autopilot.armed and autopilot.arm() == DENIED  # not in this mode


@pytest.fixture(scope="module")
def flight() -> Flight:
    return Flight(read_bundle("policies/uav_hover.onnx"), episodes=3, period=0.01)


def fly(flight: Flight, autopilot: Autopilot, seconds: float, start: float = 0.0, renew: bool = False) -> None:
    for step in range(round(seconds / flight.period)):
        now = start + step * flight.period
        if renew and autopilot._setpoint is not None:
            autopilot.take(autopilot._setpoint, now)
        flight.step(*autopilot.tick(flight.state, flight.on_ground, now))


def test_it_takes_off_holds_obeys_and_lands(flight: Flight) -> None:
    flight.begin(1, in_the_air=False)
    autopilot = autopilot_of(flight)
    autopilot.begin(0.0, in_the_air=False)
    start = flight.state.position
    fly(flight, autopilot, 0.5)
    assert flight.on_ground and flight.state.position == pytest.approx(start)

    autopilot.arm()
    autopilot.set_mode("takeoff", 0.5)
    fly(flight, autopilot, 5.0, 0.5)
    assert autopilot.mode == "hold" and not flight.on_ground
    assert flight.state.position == pytest.approx([*start[:2], 1.2], abs=0.05)

    autopilot.take(Velocity(np.array([0.3, 0.0, 0.0]), 0.0), 5.5)
    autopilot.set_mode("offboard", 5.5)
    fly(flight, autopilot, 1.5, 5.5, renew=True)
    assert flight.state.velocity == pytest.approx([0.3, 0.0, 0.0], abs=0.1)
    place = np.array([*start[:2], 1.6])
    autopilot.take(Position(place, 1.0), 7.0)
    fly(flight, autopilot, 5.0, 7.0, renew=True)
    assert flight.state.position == pytest.approx(place, abs=0.07) and flight.state.yaw == pytest.approx(1.0, abs=0.05)

    fly(flight, autopilot, 12.0, 12.0)  # nothing is told any more: hold, by COM_OBL_RC_ACT = 0
    assert autopilot.mode == "hold"
    autopilot.set_mode("land", 24.0)
    fly(flight, autopilot, 9.0, 24.0)
    assert flight.on_ground and not autopilot.armed


def test_an_episode_begins_as_an_evaluation_begins_it(flight: Flight) -> None:
    flight.begin(2, in_the_air=True)
    columns = flight.environment.bank.episodes(flight.environment.episode_ids())
    assert flight.environment.episode_ids().tolist() == [2]
    assert flight.state.position == pytest.approx(columns["qpos"][0, :3].numpy())
    assert flight.outcome is None
    for _ in range(120):  # with the motors at their lowest it falls
        flight.step(flight.thrust_limits[0], NONE)
    assert flight.outcome == "ground"


def test_faults_begin_and_end() -> None:
    faults = Faults("drop", 0.25, begins=1.0, ends=2.0)
    assert not any(faults.loses(0.5) for _ in range(100)) and not any(faults.loses(2.0) for _ in range(100))
    assert sum(faults.loses(1.5) for _ in range(4000)) == pytest.approx(1000, abs=100)
    assert all(Faults("cut", begins=1.0).loses(t) for t in (1.0, 9.0))
    assert Faults("stall", begins=1.0, ends=1.2).holds_back(1.1)
    with pytest.raises(UserError, match="did you mean stall"):
        Faults("stal")


def test_settings_of_the_command_line() -> None:
    found = parse_settings(Settings, ["task=uav_nav", "episode=3", "lockstep=true", "fault_amount=0.2"])
    assert found == dataclasses.replace(Settings(), task="uav_nav", episode=3, lockstep=True, fault_amount=0.2)
    for word, message in (
        ("episod=3", "did you mean episode"),
        ("episode=x", "a whole number"),
        ("lockstep=1", "true or"),
    ):
        with pytest.raises(UserError, match=message):
            parse_settings(Settings, [word])
