"""The controller's loop: real time, a policy that hangs, raises, is late or answers nonsense, and what is written."""

import csv
import dataclasses
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robo_ppo.run.folder import find_bundle
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.clock import Clock, WallClock
from robo_ppo_onboard.controller import Controller, Tick
from robo_ppo_onboard.errors import UserError
from robo_ppo_onboard.flight_log import FlightLog, StatusLine
from robo_ppo_onboard.links.simulated import Fleet, SimulatedLink
from robo_ppo_onboard.operator import Plan
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.safety.limits import Limits
from robo_ppo_onboard.safety.table import State
from robo_ppo_onboard.sources.constant import ConstantSource
from robo_ppo_onboard.vehicle import Order, Sample, Setpoint, Status

from .flights import CALM

PERIOD, SLOW = 0.02, 0.2
MEASURED = CALM | {"ranges": (3.0,) * 24}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy(read_bundle(find_bundle("uav_nav")))


@pytest.fixture(scope="module")
def slow(policy: Policy) -> Policy:
    """The same at 5 Hz: the host of a shared machine takes its processors away for up to 0.15 s."""
    bundle = read_bundle(find_bundle("uav_nav"))
    return Policy(dataclasses.replace(bundle, contract=dataclasses.replace(bundle.contract, control_period=SLOW)))


class Vehicle(SimulatedLink):
    """Hovers, whatever it is told; remembers when it was told what."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock_ = clock
        self.told: list[tuple[float, Setpoint]] = []

    def poll(self) -> list[Sample]:
        now = self.clock_.now()
        return [Sample(name, values, now) for name, values in MEASURED.items()]

    def status(self, now: float) -> Status:
        return Status(heard=now, armed=True, flying=True)

    def send(self, setpoint: Setpoint, now: float) -> None:
        self.told.append((self.clock_.now(), setpoint))


class Steps(Clock):
    """Time that stands still until somebody sleeps, as a vehicle in lockstep has it."""

    waits_for_the_policy = True

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def sleep_until(self, moment: float) -> None:
        self.time = max(self.time, moment)


def fly(policy: Policy, infer: Any = None, ticks: int = 25, clock: Clock | None = None, **arguments: Any) -> Any:
    """A flight that begins with the policy; gives the vehicle, the controller and its ticks."""
    clock = clock or WallClock()
    vehicle = Vehicle(clock)
    vehicle.open(policy.contract)
    seen: list[Tick] = []
    controller = Controller(
        policy,
        vehicle,
        [vehicle],
        operator=Plan(launch=False),
        clock=clock,
        watchers=[seen.append, *arguments.pop("watchers", [])],
        start=State.POLICY,
        infer=infer,
        **arguments,
    )
    controller.warm_up()
    controller.run(lambda tick: len(seen) >= ticks)
    return vehicle, controller, seen


def spoilt(policy: Policy, when: int, how: Callable[[], Any]) -> Any:
    """The policy's inference, which in one of its steps does something else."""
    steps = 0

    def infer(measured: Any, state: Any) -> Any:
        nonlocal steps
        steps += 1
        answer = policy(measured, state)
        return answer if steps < when else (how() or answer)

    return infer


def test_a_setpoint_leaves_at_every_period(policy: Policy) -> None:
    # A machine that is busy with other tests is late at times.
    forgiving = {"max_overrun": 50.0, "max_age_s": {"default": 1.0}, "max_missed_deadlines": 25}
    vehicle, _, seen = fly(policy, ticks=30, limits=Limits.of(policy.contract, forgiving))
    times = np.diff([moment for moment, _ in vehicle.told])
    assert len(vehicle.told) == 30
    # Not a bar for the machine that runs the tests, only that time is the contract's.
    assert np.median(times) == pytest.approx(PERIOD, rel=0.2)
    assert {tick.state for tick in seen} == {State.POLICY}
    assert {setpoint.order for _, setpoint in vehicle.told} == {Order.COMMAND}


def test_in_lockstep_it_is_what_a_fleet_flies(policy: Policy) -> None:
    vehicle, _, _ = fly(policy, clock=Steps(), ticks=20)
    fleet = Fleet(policy, 2)
    arrays = {
        port.name: np.tile(np.array(MEASURED[port.name], np.float32), (2, 1)).reshape(2, *port.shape)
        for port in policy.contract.inputs
    }
    names = [port.name for port in policy.contract.outputs]
    for _, setpoint in vehicle.told:
        np.testing.assert_allclose(fleet.fly(arrays)[1], [setpoint.commands[name] for name in names], rtol=1e-6)
    assert fleet.interventions() == {}


def test_a_policy_that_hangs_is_left_within_two_control_periods(slow: Policy) -> None:
    release = threading.Event()
    try:
        vehicle, controller, seen = fly(slow, spoilt(slow, 5, release.wait), ticks=12)
    finally:
        release.set()
    change = controller.supervisor.changes[0]
    assert (change.code, change.after) == ("deadline", State.HOVER)
    first = next(number for number, tick in enumerate(seen) if tick.answer is None)
    assert [tick.state for tick in seen[first : first + 2]] == [State.POLICY, State.HOVER]
    assert vehicle.told[first][1] == vehicle.told[first - 1][1], "for one period, the last command"
    # The vehicle was told something in every period, all the same.
    assert np.median(np.diff([moment for moment, _ in vehicle.told])) == pytest.approx(SLOW, rel=0.2)


def raise_an_error() -> None:
    raise ValueError("broken")


def sleep_too_long() -> None:
    time.sleep(1.5 * SLOW)


@pytest.mark.parametrize(("how", "code"), [(raise_an_error, "policy_failed"), (sleep_too_long, "deadline")])
def test_a_policy_that_raises_or_is_late_is_left(slow: Policy, how: Callable[[], Any], code: str) -> None:
    _, controller, _ = fly(slow, spoilt(slow, 3, how), ticks=10)
    assert controller.supervisor.changes[0].code == code


def answer_of(policy: Policy, value: float) -> Callable[[], Any]:
    commands = {port.name: np.full((1,), value, np.float32) for port in policy.contract.outputs}
    return lambda: (commands, policy.initial_state())


@pytest.mark.parametrize(("value", "code"), [(float("nan"), "command_not_finite"), (99.0, "command_out_of_range")])
def test_a_policy_that_answers_nonsense_is_left_at_once(policy: Policy, value: float, code: str) -> None:
    vehicle, controller, seen = fly(policy, spoilt(policy, 5, answer_of(policy, value)), clock=Steps(), ticks=10)
    assert [tick.state for tick in seen[3:5]] == [State.POLICY, State.HOVER]
    assert controller.supervisor.changes[0].code == code
    assert vehicle.told[4][1].order is Order.LEVEL


def test_a_controller_that_stands_still_notices(policy: Policy) -> None:
    def stall(tick: Tick) -> None:
        if len(stalls) == 9:
            time.sleep(0.2)
        stalls.append(tick)

    stalls: list[Tick] = []
    _, controller, _ = fly(policy, watchers=[stall])
    assert controller.supervisor.changes[0].code == "overrun"


class Broken(Vehicle):
    """Whose connection is gone from a moment on: everything raises."""

    def _check(self) -> None:
        if self.clock_.now() > 0.1:
            raise OSError("no route to host")

    def poll(self) -> list[Sample]:
        self._check()
        return super().poll()

    def status(self, now: float) -> Status:
        self._check()
        return super().status(now)

    def send(self, setpoint: Setpoint, now: float) -> None:
        super().send(setpoint, now)
        self._check()


def test_a_connection_that_raises_is_silence_and_does_not_end_the_loop(policy: Policy) -> None:
    vehicle = Broken(clock := Steps())
    vehicle.open(policy.contract)
    seen: list[Tick] = []
    controller = Controller(
        policy, vehicle, [vehicle], operator=Plan(), clock=clock, watchers=[seen.append], start=State.POLICY
    )
    controller.run(lambda tick: len(seen) >= 20)
    controller.close()
    assert {tick.trouble for tick in seen} == {"", "OSError: no route to host"}
    change = controller.supervisor.changes[0]
    assert (change.code, change.after) == ("stale", State.HOVER)
    assert change.time <= 0.1 + 3 * PERIOD + 1e-6
    assert len(vehicle.told) == 20


def test_starting_without_a_source_is_refused_by_name(policy: Policy) -> None:
    vehicle = Vehicle(WallClock())
    vehicle.open(policy.contract)
    vehicle.provides = tuple(name for name in vehicle.provides if name != "ranges")
    with pytest.raises(
        UserError, match=r"no source provides 'ranges' \(24 numbers, in m, heading\), which the policy needs"
    ):
        Controller(policy, vehicle, [vehicle], operator=Plan())


def test_a_limit_of_ones_own_needs_its_measurement_too(policy: Policy) -> None:
    limits = Limits.of(policy.contract, {"max_speed_m_s": 2.0})
    link = SimulatedLink()
    link.open(policy.contract)
    Controller(policy, link, [link], operator=Plan(), limits=limits)
    link.provides = tuple(name for name in link.provides if name not in ("gyro", "velocity"))
    source = ConstantSource(gyro=(0.0, 0.0, 0.0))
    with pytest.raises(UserError, match="no source provides 'velocity'"):
        Controller(policy, link, [link, source], operator=Plan(), limits=limits)


def test_the_flight_log_holds_every_tick_with_units(policy: Policy, tmp_path: Path) -> None:
    log = FlightLog(tmp_path / "flights" / "one.csv", policy.contract)
    _, _, seen = fly(
        policy, spoilt(policy, 8, answer_of(policy, float("nan"))), clock=Steps(), ticks=12, watchers=[log]
    )
    log.close()
    rows = list(csv.DictReader(log.path.read_text().splitlines()))
    assert len(rows) == len(seen) == 12
    assert [row["state"] for row in rows] == ["POLICY"] * 7 + ["HOVER"] * 5
    assert rows[7]["fault"] == "the policy's collective_thrust is not finite"
    names = ["time [s]", "position.x [m]", "attitude.w [1]", "ranges.23 [m]", "age of goal [ms]", "policy [ms]"]
    names += ["policy's roll_rate [rad/s]", "collective_thrust [N]"]
    assert all(name in rows[0] for name in names), list(rows[0])
    assert float(rows[3]["time [s]"]) == pytest.approx(0.06)
    assert float(rows[3]["position.z [m]"]) == 1.5
    told = float(rows[3]["collective_thrust [N]"])
    assert told == pytest.approx(float(rows[3]["policy's collective_thrust [N]"]), rel=1e-5)


def test_the_status_line_tells_every_change(policy: Policy, capsys: pytest.CaptureFixture[str]) -> None:
    lines = StatusLine()
    fly(policy, spoilt(policy, 4, answer_of(policy, float("nan"))), clock=Steps(), ticks=6, watchers=[lines])
    lines.close()
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "policy" in said[0] and said[1].endswith("(the policy's collective_thrust is not finite)")


def test_a_source_of_constants_refuses_what_the_policy_does_not_take(policy: Policy) -> None:
    with pytest.raises(UserError, match="did you mean goal"):
        ConstantSource(gaol=(1.0, 2.0, 3.0)).open(policy.contract)
    with pytest.raises(UserError, match=r"source.constant.goal has 2 numbers; the policy takes 3"):
        ConstantSource(goal=(1.0, 2.0)).open(policy.contract)
