"""The link and the firmware's settings on a bench: sticks, throttle and switches against the firmware's own mixer."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from robo_ppo.export.vehicles.betaflight.process import Firmware, Motion
from robo_ppo.export.vehicles.betaflight.settings import COMMAND_LINE, thrust, thrust_map
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.links.betaflight import BetaflightLink
from robo_ppo_onboard.vehicle import Order, Setpoint
from tests.export.vehicles.aloft import POLICIES, opened_link

MOST = 0.2  # N of a rotor
LEVEL = (1.0, 0.0, 0.0, 0.0)
NOTHING: Mapping[str, float] = {}
FRONT_LEFT, FRONT_RIGHT, BACK_LEFT, BACK_RIGHT = range(4)
STAYS = 50  # outputs in a row

Outputs = np.ndarray[Any, np.dtype[np.float64]]


class Bench:
    """The firmware on a bench, armed: nothing moves, whatever its motors do."""

    def __init__(self, running: Firmware, link: BetaflightLink) -> None:
        self.running, self.link = running, link
        self.said = link.prepare()
        self.comes_to(lambda _: self.link.status(time.monotonic()).armed, Order.LAUNCH, within=10.0)

    def comes_to(
        self,
        wanted: Callable[[Outputs], bool],
        order: Order = Order.COMMAND,
        attitude: tuple[float, ...] = LEVEL,
        *,
        commands: Mapping[str, float] = NOTHING,
        within: float = 5.0,
    ) -> None:
        """Command until the motor outputs are as wanted, and stay so; the other commands hover without rotation.

        The firmware runs in real time, and reads its commands when its host has time for it.
        """
        hover = {"collective_thrust": 0.42, "roll_rate": 0.0, "pitch_rate": 0.0, "yaw_rate": 0.0}
        rest = Motion(attitude, (0, 0, 0), (0, 0, 9.81), (0, 0, 0), (0, 0, 0))
        newest, fits, step, until = np.zeros(4), 0, 0, time.monotonic() + within
        while fits < STAYS:
            now = time.monotonic()
            assert now < until, f"the motors stay at {newest}"
            if step % 20 == 0:
                self.link.status(now)
                self.link.send(Setpoint(order, hover | dict(commands)), now)
            step += 1
            self.running.send(rest)
            time.sleep(0.001)
            if (heard := self.running.motors()) is not None:
                newest, fits = heard, fits + 1 if wanted(heard) else 0


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    contract = read_bundle(POLICIES / "uav_hover.onnx").contract
    with Firmware(COMMAND_LINE) as running, opened_link(contract, thrust_map(MOST)) as link:
        yield Bench(running, link)


def test_it_arms_when_told_to_launch_and_says_what_its_failsafe_is(bench: Bench) -> None:
    bench.comes_to(lambda _: bench.link.status(time.monotonic()).in_control)  # no failsafe of a firmware that waited
    status = bench.link.status(time.monotonic())
    assert status.armed and not status.pilot
    assert status.battery is None  # the simulated board measures none
    assert "0.2 s without a command" in bench.said[0]


@pytest.mark.parametrize("wanted", [0.05, 0.2, 0.4, 0.75])
def test_the_throttle_gives_the_thrust_that_was_asked_for(bench: Bench, wanted: float) -> None:
    # The map is straight between its points (0.0018 N off at most); the firmware cuts everything to thousandths.
    bench.comes_to(
        lambda outputs: abs(thrust(outputs, MOST).sum() - wanted) < 0.008, commands={"collective_thrust": wanted}
    )


@pytest.mark.parametrize(
    ("axis", "faster"),
    [
        ("roll_rate", (FRONT_LEFT, BACK_LEFT)),  # forward-left-up: + rolls to the right, so the left side rises
        ("pitch_rate", (BACK_LEFT, BACK_RIGHT)),  # + lowers the nose
        ("yaw_rate", (FRONT_LEFT, BACK_RIGHT)),  # + turns left: the rotors that turn clockwise push it
    ],
)
def test_a_body_rate_turns_the_right_way_about_its_axis_alone(bench: Bench, axis: str, faster: tuple[int, int]) -> None:
    bench.comes_to(lambda outputs: turns(outputs, faster, by=0.05), commands={axis: 1.0})


@pytest.mark.parametrize(
    ("attitude", "faster"),
    [
        ((math.cos(0.2), math.sin(0.2), 0.0, 0.0), (FRONT_RIGHT, BACK_RIGHT)),
        ((math.cos(0.2), 0.0, math.sin(0.2), 0.0), (FRONT_LEFT, FRONT_RIGHT)),
    ],
    ids=["rolled to the right", "nose down"],
)
def test_in_a_fallback_it_levels_itself_whatever_rates_are_asked_for(
    bench: Bench, attitude: tuple[float, ...], faster: tuple[int, int]
) -> None:
    rates = {"roll_rate": 5.0, "pitch_rate": 5.0}
    bench.comes_to(lambda outputs: turns(outputs, faster, by=0.1), Order.LEVEL, attitude, commands=rates)
    bench.comes_to(lambda outputs: bool(np.ptp(outputs) < 0.01), Order.LAND)


def turns(outputs: Outputs, faster: tuple[int, int], *, by: float) -> bool:
    """Whether these two motors alike are faster than the other two, which are alike."""
    one, other = outputs[list(faster)], np.delete(outputs, faster)
    return bool(one.min() > other.max() + by and np.ptp(one) < 0.01 and np.ptp(other) < 0.01)


def test_stop_stops_the_motors(bench: Bench) -> None:
    bench.comes_to(lambda outputs: outputs.max() == 0.0, Order.STOP)
    bench.comes_to(lambda _: not bench.link.status(time.monotonic()).armed, Order.STOP)
