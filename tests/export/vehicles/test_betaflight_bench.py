"""The link and the firmware's settings on a bench: sticks, throttle and switches against the firmware's own mixer."""

import math
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from robo_ppo.export.vehicles.betaflight.process import Firmware, Motion
from robo_ppo.export.vehicles.betaflight.settings import COMMAND_LINE, thrust, thrust_map
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.errors import UserError
from robo_ppo_onboard.links.betaflight import BetaflightLink
from robo_ppo_onboard.vehicle import Order, Setpoint
from tests.export.vehicles.aloft import POLICIES

MOST = 0.2  # N of a rotor
LEVEL = (1.0, 0.0, 0.0, 0.0)
NOTHING: Mapping[str, float] = {}
FRONT_LEFT, FRONT_RIGHT, BACK_LEFT, BACK_RIGHT = range(4)


class Bench:
    """The firmware on a bench, armed: nothing moves, whatever its motors do."""

    def __init__(self, running: Firmware) -> None:
        self.running = running
        self.link = opened_link()
        self.said = self.link.prepare()
        until = time.monotonic() + 10.0
        while not self.link.status(time.monotonic()).armed and time.monotonic() < until:
            self.outputs(Order.LAUNCH, seconds=0.1)

    def outputs(
        self,
        order: Order = Order.COMMAND,
        attitude: tuple[float, ...] = LEVEL,
        seconds: float = 0.25,
        *,
        commands: Mapping[str, float] = NOTHING,
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Motor outputs after some time with these commands; the others are a hover without rotation."""
        hover = {"collective_thrust": 0.42, "roll_rate": 0.0, "pitch_rate": 0.0, "yaw_rate": 0.0}
        rest = Motion(attitude, (0, 0, 0), (0, 0, 9.81), (0, 0, 0), (0, 0, 0))
        found = np.zeros(4)
        for step in range(round(seconds / 0.001)):
            if step % 20 == 0:
                now = time.monotonic()
                self.link.status(now)
                self.link.send(Setpoint(order, hover | dict(commands)), now)
            self.running.send(rest)
            time.sleep(0.001)
            newest = self.running.motors()
            found = found if newest is None else newest
        return found


def opened_link(attempts: int = 5) -> BetaflightLink:
    """A link to the firmware, which has no time for its serial ports while its host has none for it."""
    contract = read_bundle(POLICIES / "uav_hover.onnx").contract
    link = BetaflightLink(throttle=thrust_map(MOST))
    for attempt in range(attempts):
        try:
            link.open(contract)
            break
        except UserError as error:
            link.close()
            if attempt + 1 == attempts or "did not answer" not in str(error):
                raise
    return link


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    with Firmware(COMMAND_LINE) as running:
        made = Bench(running)
        try:
            yield made
        finally:
            made.link.close()


def test_it_arms_when_told_to_launch_and_says_what_its_failsafe_is(bench: Bench) -> None:
    status = bench.link.status(time.monotonic())
    assert status.armed and status.in_control and not status.pilot
    assert status.battery is None  # the simulated board measures none
    assert "0.2 s without a command" in bench.said[0]


@pytest.mark.parametrize("wanted", [0.05, 0.2, 0.4, 0.75])
def test_the_throttle_gives_the_thrust_that_was_asked_for(bench: Bench, wanted: float) -> None:
    # The map is straight between its points (0.0018 N off at most); the firmware cuts everything to thousandths.
    assert thrust(bench.outputs(commands={"collective_thrust": wanted}), MOST).sum() == pytest.approx(wanted, abs=0.008)


@pytest.mark.parametrize(
    ("axis", "faster"),
    [
        ("roll_rate", (FRONT_LEFT, BACK_LEFT)),  # forward-left-up: + rolls to the right, so the left side rises
        ("pitch_rate", (BACK_LEFT, BACK_RIGHT)),  # + lowers the nose
        ("yaw_rate", (FRONT_LEFT, BACK_RIGHT)),  # + turns left: the rotors that turn clockwise push it
    ],
)
def test_a_body_rate_turns_the_right_way_about_its_axis_alone(bench: Bench, axis: str, faster: tuple[int, int]) -> None:
    outputs = bench.outputs(commands={axis: 1.0})
    slower = [rotor for rotor in range(4) if rotor not in faster]
    assert outputs[list(faster)].min() > outputs[slower].max() + 0.05
    assert np.ptp(outputs[list(faster)]) < 0.01 and np.ptp(outputs[slower]) < 0.01


@pytest.mark.parametrize(
    ("name", "attitude", "faster"),
    [
        ("rolled to the right", (math.cos(0.2), math.sin(0.2), 0.0, 0.0), (FRONT_RIGHT, BACK_RIGHT)),
        ("nose down", (math.cos(0.2), 0.0, math.sin(0.2), 0.0), (FRONT_LEFT, FRONT_RIGHT)),
    ],
)
def test_in_a_fallback_it_levels_itself_whatever_rates_are_asked_for(
    bench: Bench, name: str, attitude: tuple[float, ...], faster: tuple[int, int]
) -> None:
    outputs = bench.outputs(Order.LEVEL, attitude, commands={"roll_rate": 5.0, "pitch_rate": 5.0})
    slower = [rotor for rotor in range(4) if rotor not in faster]
    assert outputs[list(faster)].min() > outputs[slower].max() + 0.1, name
    assert np.ptp(bench.outputs(Order.LAND)) < 0.01


def test_stop_stops_the_motors(bench: Bench) -> None:
    assert bench.outputs(Order.STOP).max() == 0.0
    assert not bench.link.status(time.monotonic()).armed
