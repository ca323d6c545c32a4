"""The safety supervisor: every transition of the table, every fault, and what leaves whatever comes in."""

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robo_ppo_onboard.errors import UserError
from robo_ppo_onboard.safety.limits import Limits
from robo_ppo_onboard.safety.supervisor import Supervisor
from robo_ppo_onboard.safety.table import ORDERS, ROWS, TRANSITIONS, Event, State
from robo_ppo_onboard.vehicle import Order, Requests, Sample, Status

from .flights import CALM, HOVER, OUTPUTS, PERIOD, STEADY, Flight, contract, tilted

DOCS = Path(__file__).parents[3] / "docs" / "safety.md"
ON_THE_GROUND: dict[str, Any] = {"measured": {"position": (0.0, 0.0, 0.05)}, "flying": False}
NAN = float("nan")


def in_state(state: State, *, flies_itself: bool = False, armed: bool = True, **limits: Any) -> Flight:
    """A flight that came into a state by the table's own ways."""
    if state in (State.POLICY, State.STANDBY):
        return Flight(state, flies_itself=flies_itself, **limits)
    if state is State.LAUNCH:
        flight = Flight(State.STANDBY, flies_itself=flies_itself, **limits)
        flight.tick(requests=Requests(launch=True), armed=armed, **ON_THE_GROUND)
    elif state is State.READY:
        flight = Flight(State.STANDBY, flies_itself=flies_itself, **limits)
        flight.tick()
    elif state is State.RAMP:
        flight = in_state(State.READY, flies_itself=flies_itself, **limits)
        flight.tick(requests=Requests(engage=True), in_control=False)
    elif state is State.HOVER:
        flight = Flight(State.POLICY, flies_itself=flies_itself, **limits)
        flight.tick()
        flight.tick({"gyro": (NAN, 0.0, 0.0)})
    elif state is State.DESCEND:
        flight = Flight(State.POLICY, flies_itself=flies_itself, **limits)
        flight.tick()
        flight.tick(requests=Requests(land=True))
    else:
        flight = in_state(State.DESCEND, flies_itself=flies_itself, **limits)
        flight.ticks(20, **ON_THE_GROUND)
    assert flight.state is state
    return flight


def fault(flight: Flight) -> None:
    flight.tick({"attitude": (NAN, 0.0, 0.0, 0.0)})


def blind(flight: Flight) -> None:
    for _ in range(int(10.0 / PERIOD)):
        if flight.state is State.DESCEND:
            flight.tick(silent=("position",))


# What makes each event happen, in a state that has it in its rows.
HAPPENS: dict[Event, Callable[[Flight], object]] = {
    Event.PILOT: lambda flight: flight.tick(pilot=True, in_control=False),
    Event.DISARMED: lambda flight: flight.tick(armed=False),
    Event.FAULT: fault,
    Event.FAULT_BESIDE: fault,
    Event.FAULT_UNARMED: lambda flight: flight.tick({"gyro": (NAN, 0.0, 0.0)}, armed=False, flying=False),
    Event.STRANDED: lambda flight: flight.ticks(30, requests=Requests(land=True), **ON_THE_GROUND),
    Event.LAUNCH: lambda flight: flight.tick(requests=Requests(launch=True), **ON_THE_GROUND),
    Event.AIRBORNE: lambda flight: flight.tick(),
    Event.AT_HEIGHT: lambda flight: flight.tick({"position": (0.0, 0.0, 1.0)}),
    Event.ENGAGE: lambda flight: flight.tick(requests=Requests(engage=True), in_control=False),
    Event.RELEASE: lambda flight: flight.tick(requests=Requests(release=True)),
    Event.LAND: lambda flight: flight.tick(requests=Requests(land=True)),
    Event.TOO_LATE: lambda flight: flight.ticks(60, measured={"position": (0.0, 0.0, 0.1)}, in_control=False),
    Event.RAMPED: lambda flight: flight.ticks(7),
    Event.HOVERED: lambda flight: flight.ticks(12),
    Event.TOUCHDOWN: lambda flight: flight.ticks(20, **ON_THE_GROUND),
    Event.BLIND: blind,
}


@pytest.mark.parametrize("row", TRANSITIONS, ids=lambda row: f"{row.state.name}-{row.event.name}")
def test_every_transition_of_the_table_happens(row: Any) -> None:
    itself = row.event is Event.FAULT_BESIDE
    limits = {"hover_s": 2.0} if row.event is Event.TOUCHDOWN else {}
    flight = in_state(row.state, flies_itself=itself, armed=row.event is not Event.FAULT_UNARMED, **limits)
    before = len(flight.supervisor.changes)
    HAPPENS[row.event](flight)
    change = flight.supervisor.changes[before]
    assert (change.before, change.after) == (row.state, row.to), flight.supervisor.changes
    assert change.why


def test_the_table_is_whole() -> None:
    assert len({(row.state, row.event) for row in TRANSITIONS}) == len(TRANSITIONS)
    assert ROWS[State.LANDED] == (), "the end is the end"
    for state in State:
        assert state is State.LANDED or any(row.state is state for row in TRANSITIONS)
        assert state is State.STANDBY or any(row.to is state for row in TRANSITIONS), f"{state} cannot be reached"
    for state in (State.RAMP, State.POLICY):
        exits = {row.event: row.to for row in ROWS[state]}
        assert exits[Event.FAULT] is State.HOVER
    assert set(ORDERS) == set(State)


def test_the_page_shows_the_table() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for row in TRANSITIONS:
        assert f"| {row.state.name} | {row.event.name} | {row.to.name} |" in text
    rows = [
        line for line in text.splitlines() if line.count("|") == 4 and line.split("|")[1].strip() in State.__members__
    ]
    assert len([line for line in rows if line.split("|")[2].strip() in Event.__members__]) == len(TRANSITIONS)
    for state in State:
        assert state.value in text


FAULTS: dict[str, dict[str, Any]] = {
    "not_finite": {"measured": {"gyro": (0.0, math.inf, 0.0)}},
    "misshapen": {"measured": {"goal": (0.0, 0.0)}},
    "out_of_range": {"measured": {"ranges": (3.0, -0.5, 3.0, 3.0)}},
    "out_of_range ": {"measured": {"attitude": (0.5, 0.0, 0.0, 0.0)}},
    "tilt": {"measured": {"attitude": tilted(120.0)}},
    "rate": {"measured": {"gyro": (0.0, 0.0, -7.0)}},
    "speed": {"measured": {"velocity": (4.0, 4.0, 0.0)}},
    "geofence": {"measured": {"position": (0.0, -4.1, 1.0)}},
    "geofence ": {"measured": {"position": (0.0, 0.0, 3.01)}},
    "battery": {"battery": 0.1},
    "silence": {"heard": 0.0},
    "command_not_finite": {"answer": STEADY | {"roll_rate": NAN}},
    "command_not_finite ": {"answer": {"collective_thrust": 0.4}},
    "command_out_of_range": {"answer": STEADY | {"collective_thrust": 0.9}},
    "overrun": {"wait": 0.2},
}


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_takes_the_vehicle_from_the_policy_in_the_same_tick(code: str) -> None:
    flight = Flight()
    assert flight.ticks(5).order is Order.COMMAND
    setpoint = flight.tick(**FAULTS[code])
    assert flight.state is State.HOVER
    assert setpoint.order is Order.LEVEL
    change = flight.supervisor.changes[-1]
    assert change.code == code.strip()
    assert not flight.asked or "command" in code


@pytest.mark.parametrize("name", CALM)
def test_a_measurement_that_stops_is_a_fault_within_two_control_periods(name: str) -> None:
    flight = Flight()
    flight.ticks(5)
    flight.tick(silent=(name,))
    flight.tick(silent=(name,))
    assert flight.state is State.POLICY
    flight.tick(silent=(name,))
    assert flight.state is State.HOVER
    assert flight.supervisor.changes[-1].why == f"{name} is 60 ms old; 40 ms are allowed"


def test_what_comes_twice_or_out_of_order_counts_as_silence() -> None:
    flight = Flight()
    flight.ticks(3)
    for step in range(3):
        now = flight.now + PERIOD
        fresh = [Sample(name, CALM[name], now) for name in CALM if name != "position"]
        old = [Sample("position", CALM["position"], flight.now - 0.1 * step)]
        flight.supervisor.begin_tick(now, fresh + old, Status(heard=now, armed=True))
        flight.supervisor.end_tick(now, STEADY)
        flight.now = now
    assert flight.state is State.HOVER
    assert flight.supervisor.changes[-1].code == "stale"
    assert flight.supervisor.inbox.repeated == 3


def test_a_wrong_height_for_a_moment_does_not_stop_the_motors() -> None:
    flight = Flight()
    flight.ticks(5)
    flight.ticks(2, measured={"position": (0.0, 0.0, -0.2)})
    assert flight.state is State.HOVER
    flight.ticks(100)
    assert flight.state is State.DESCEND
    flight.tick({"position": (0.0, 0.0, 0.0)})
    flight.ticks(5)
    assert flight.state is State.DESCEND


def test_a_vehicle_that_stands_higher_than_the_floor_has_landed_all_the_same() -> None:
    flight = in_state(State.DESCEND)
    flight.ticks(260, measured={"position": (0.0, 0.0, 0.15)})
    assert flight.state is State.LANDED


def test_blindness_counts_from_when_it_began() -> None:
    flight = in_state(State.DESCEND)
    sinking = {"velocity": (0.0, 0.0, -0.4)}
    flight.ticks(450, measured=sinking | {"position": (0.0, 0.0, 2.5)})
    flight.ticks(50, measured=sinking, silent=("position",))
    assert flight.state is State.DESCEND


def test_the_hover_keeps_the_last_height_that_was_right() -> None:
    flight = Flight()
    flight.ticks(5, measured={"position": (0.0, 0.0, 2.5)})
    flight.tick({"position": (0.0, 0.0, 30.0)})
    assert flight.state is State.HOVER
    law = flight.tick({"position": (0.0, 0.0, 2.5)}).commands["collective_thrust"]
    assert law == pytest.approx(HOVER, rel=0.02), "it neither climbs nor sinks"


def test_who_is_heavier_than_thought_is_asked_for_more() -> None:
    flight = in_state(State.LAUNCH)
    first = flight.tick(**ON_THE_GROUND).commands["collective_thrust"]
    later = flight.ticks(40, **ON_THE_GROUND).commands["collective_thrust"]
    assert later > 1.1 * first


@pytest.mark.parametrize("measured", [{"attitude": tilted(120.0)}, {"position": (9.0, 0.0, 0.3)}])
def test_the_launch_is_watched(measured: Any) -> None:
    flight = in_state(State.LAUNCH)
    flight.tick({"position": (0.0, 0.0, 0.3)} | measured)
    assert flight.state is State.DESCEND


def test_no_policy_on_the_ground() -> None:
    flight = in_state(State.LAUNCH)
    flight.tick({"position": (0.0, 0.0, 1.2)}, flying=False)
    assert flight.state is State.LAUNCH, "on a table, it has not taken off"


def stamped(flight: Flight, stamp: float) -> None:
    flight.now += PERIOD
    samples = [Sample(name, values, stamp) for name, values in CALM.items()]
    flight.supervisor.begin_tick(flight.now, samples, Status(heard=flight.now, armed=True))
    flight.supervisor.end_tick(flight.now, STEADY)


def test_a_stamp_from_the_future_is_passed_over() -> None:
    flight = Flight()
    flight.ticks(5)
    stamped(flight, flight.now + 1e6)
    flight.ticks(5)
    assert flight.state is State.POLICY


def test_a_sender_that_starts_again_is_heard_again() -> None:
    flight = Flight()
    flight.ticks(5)
    for step in range(30):
        stamped(flight, 0.02 * step)
    assert flight.supervisor.changes[0].code == "stale", "for a moment nothing newer came"
    assert flight.supervisor.fault is None


def test_a_sender_that_falls_behind_is_stale() -> None:
    flight = Flight()
    start = flight.now
    for step in range(1, 60):
        stamped(flight, start + 0.5 * PERIOD * step)
    assert flight.supervisor.changes[0].code == "stale"
    assert "have fallen" in flight.supervisor.changes[0].why


def test_one_missed_deadline_repeats_the_last_command_and_two_are_a_fault() -> None:
    flight = Flight()
    flight.ticks(3)
    last = flight.tick(answer=STEADY | {"roll_rate": 1.5})
    assert flight.tick(answer=None) == last
    flight.tick()
    assert flight.state is State.POLICY, "one that is made up for is forgiven"
    flight.tick(answer=None)
    assert flight.tick(answer=None).order is Order.LEVEL
    assert flight.supervisor.changes[-1].code == "deadline"


def test_a_command_may_lie_at_its_limit_for_a_while_only() -> None:
    flight = Flight()
    flight.ticks(20, answer=STEADY | {"collective_thrust": 0.8})
    flight.tick()
    flight.ticks(25, answer=STEADY | {"collective_thrust": 0.8})
    assert flight.state is State.POLICY
    flight.ticks(3, answer=STEADY | {"collective_thrust": 0.8})
    assert flight.supervisor.changes[-1].code == "saturated"


def test_the_ramp_goes_from_the_hover_to_the_policy() -> None:
    flight = in_state(State.RAMP, ramp_s=0.2)
    answer = STEADY | {"roll_rate": 4.0}
    assert flight.ticks(3, answer=answer, in_control=False).commands["roll_rate"] == 0.0, (
        "the vehicle does not follow yet"
    )
    shares = [flight.tick(answer=answer).commands["roll_rate"] / 4.0 for _ in range(12)]
    assert shares == pytest.approx([min(1.0, 0.1 * step) for step in range(12)])
    assert flight.state is State.POLICY


def test_a_policy_that_takes_over_forgets_what_was() -> None:
    flight = in_state(State.RAMP)
    assert flight.supervisor.policy_begins
    flight.supervisor.policy_begins = False
    flight.tick(requests=Requests(release=True))
    flight.tick(requests=Requests(engage=True))
    assert flight.supervisor.policy_begins


@pytest.mark.parametrize(
    ("measured", "status", "why"),
    [
        ({"attitude": tilted(30.0)}, {}, "the vehicle does not stand level"),
        ({}, {"battery": 0.35}, "the battery is at 35 %; 40 % are needed"),
        ({}, {"ready": False}, "the vehicle does not let its motors be armed"),
        ({"gyro": (NAN, 0.0, 0.0)}, {}, "gyro is not finite"),
    ],
)
def test_there_is_no_launch_before_every_rule_holds(measured: Any, status: Any, why: str) -> None:
    flight = Flight(State.STANDBY)
    ground = {"position": (0.0, 0.0, 0.05)} | measured
    flight.tick(ground, flying=False, armed=False, requests=Requests(launch=True), **status)
    assert flight.state is State.STANDBY
    assert flight.supervisor.why_no_launch() == why


def test_no_launch_without_a_measurement() -> None:
    flight = Flight(State.STANDBY)
    flight.tick(silent=("goal",), requests=Requests(launch=True), **ON_THE_GROUND)
    assert flight.supervisor.why_no_launch() == "goal has never arrived"
    assert flight.state is State.STANDBY


def test_a_vehicle_that_flies_itself_is_left_to_itself_until_the_policy_is_asked_for() -> None:
    flight = in_state(State.READY, flies_itself=True)
    assert flight.tick().order is Order.OWN
    assert flight.tick(requests=Requests(engage=True)).order is Order.COMMAND
    assert in_state(State.READY).tick().order is Order.COMMAND


def test_who_has_no_single_numbers_to_command_is_refused() -> None:
    from dataclasses import replace

    wide = replace(OUTPUTS[0], shape=(2,), lower=(0.0, 0.0), upper=(1.0, 1.0))
    with pytest.raises(UserError, match="collective_thrust has 2 numbers"):
        Supervisor(contract(outputs=(wide, *OUTPUTS[1:])), Limits())


def noise(rng: random.Random) -> float:
    """A number that a broken program might send."""
    return rng.choice(
        [0.0, 1.0, -1.0, NAN, math.inf, -math.inf, 1e308, -1e308, 1e-320, rng.gauss(0, 1), rng.gauss(0, 9)]
    )


@pytest.mark.parametrize("seed", range(10))
def test_nothing_unsafe_leaves_whatever_comes_in(seed: int) -> None:
    """Ten seeds of 10,000 ticks and more: random messages, answers, requests, times and states of the vehicle."""
    rng = random.Random(seed)
    seen: set[State] = set()
    for _ in range(100):
        flies_itself = rng.random() < 0.3
        start = rng.choice([State.STANDBY, State.POLICY])
        calm = rng.random()  # flights from hopeless to nearly undisturbed
        supervisor = Supervisor(contract(), Limits.of(contract()), start=start, flies_itself=flies_itself)
        now, stamps = rng.uniform(-1e3, 1e6), 0.0
        for _ in range(100):
            now += PERIOD if rng.random() < 0.9 else abs(rng.gauss(0, 0.1))
            stamps += PERIOD if rng.random() < 0.9 else rng.gauss(0, 0.1)
            disturbed = rng.random() > calm
            samples: list[Sample] = []
            for name, values in CALM.items():
                if disturbed and rng.random() < 0.3:
                    continue
                sent = tuple(noise(rng) for _ in values) if disturbed and rng.random() < 0.1 else values
                sent = sent[: rng.randint(0, 4)] if disturbed and rng.random() < 0.02 else sent
                samples.append(Sample(name, sent, noise(rng) if disturbed and rng.random() < 0.05 else stamps))
            status = Status(
                heard=now - abs(rng.gauss(0, 0.2)) - (9.0 if disturbed and rng.random() < 0.05 else 0.0),
                armed=rng.random() < 0.98,
                in_control=rng.random() < 0.95,
                pilot=rng.random() < 0.01,
                flying=rng.choice([True, True, True, None, False]) if disturbed else True,
                battery=rng.choice([None, 1.0, 0.5, NAN, 0.1]) if disturbed else 0.9,
            )
            ask = rng.choice(["launch", "engage", "release", "land", ""]) if rng.random() < 0.3 else "engage"
            requests = Requests(**{ask: True}) if ask else Requests()
            before = supervisor.state
            asked = supervisor.begin_tick(now, samples, status, requests)
            answer = {port.name: noise(rng) for port in OUTPUTS} if disturbed and rng.random() < 0.2 else STEADY
            given = None if not asked or (disturbed and rng.random() < 0.1) else answer
            setpoint = supervisor.end_tick(now, given)
            seen.add(supervisor.state)

            assert list(setpoint.commands) == [port.name for port in OUTPUTS]
            for port in OUTPUTS:
                assert port.lower is not None and port.upper is not None
                assert port.lower[0] <= setpoint.commands[port.name] <= port.upper[0]
            if supervisor.state in (State.RAMP, State.POLICY):
                assert supervisor.fault is None
                assert setpoint.order is Order.COMMAND
            else:
                # Nothing that the policy says reaches the vehicle.
                own = Order.OWN if flies_itself and supervisor.state is State.READY else ORDERS[supervisor.state]
                assert setpoint.order is own
                assert setpoint.commands["yaw_rate"] == 0.0
            if before is State.LANDED:
                assert setpoint.order is Order.STOP
            legal = {row.to for row in ROWS[before]} | {before}
            legal |= {after.to for row in ROWS[before] for after in ROWS[row.to]}
            assert supervisor.state in legal
    assert seen >= {State.READY, State.RAMP, State.POLICY, State.HOVER, State.DESCEND, State.LANDED}
