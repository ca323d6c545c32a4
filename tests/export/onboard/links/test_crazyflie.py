"""The Crazyflie's link and source against a peer that speaks CRTP, through the real cflib."""

import math
import struct
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from cflib.utils.encoding import compress_quaternion

from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.clock import Clock
from robo_ppo_onboard.contract import Contract, Fallback, Golden, Port, Training
from robo_ppo_onboard.controller import Controller
from robo_ppo_onboard.errors import UserError
from robo_ppo_onboard.links import crtp
from robo_ppo_onboard.links.crazyflie import COMMANDS, UNITS, CrazyflieLink
from robo_ppo_onboard.operator import Plan
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.safety.limits import Limits
from robo_ppo_onboard.safety.table import State
from robo_ppo_onboard.settings import make_link, make_sources, parse
from robo_ppo_onboard.sources.crazyflie import CrazyflieSource, quaternion_of
from robo_ppo_onboard.vehicle import Order, Sample, Setpoint
from tests.export.onboard.links import crazyflie_peer as firmware
from tests.export.onboard.links.crazyflie_peer import ARMED, BY_ITSELF, CAN_BE_ARMED, FLYING, LOCKED, CrazyfliePeer

HOVER = Path(__file__).parents[4] / "policies/uav_hover.onnx"
THROTTLE = ((0.0, 0.0), (0.8, 1.0))
RATES = {"collective_thrust": 0.4, "roll_rate": 1.0, "pitch_rate": -0.5, "yaw_rate": 0.25}


def contract(*, commands: tuple[Port, ...] | None = None, ranges: int = 4) -> Contract:
    inputs = (
        Port("position", (3,), "m", frame="world"),
        Port("ranges", (ranges,), "m", lower=(0.0,) * ranges, upper=(3.0,) * ranges),
    )
    outputs = commands or tuple(
        Port(name, (1,), unit, lower=(-6.0,), upper=(6.0,), throttle=THROTTLE if unit == "N" else None)
        for name, unit in zip(COMMANDS, UNITS, strict=True)
    )
    golden = Golden(
        {port.name: np.zeros((1, *port.shape), np.float32) for port in inputs},
        {port.name: np.zeros((1, *port.shape), np.float32) for port in outputs},
    )
    training = Training(commit="", seed=0, steps=0, config="")
    return Contract(
        "uav_nav", "crazyflie", 0.02, inputs, outputs, (), {}, Fallback("constant", {}), {}, training, golden
    )  # fmt: skip


@pytest.fixture
def peer() -> Iterator[CrazyfliePeer]:
    with CrazyfliePeer() as peer:
        yield peer


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Shared, so that only the first test reads the tables of contents."""
    return str(tmp_path_factory.mktemp("contents"))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until(lambda: not {thread for thread in threading.enumerate() if thread.name != "policy"} - before)


@pytest.fixture
def link(peer: CrazyfliePeer, cache: str) -> Iterator[CrazyflieLink]:
    link = CrazyflieLink(uri=peer.uri, cache=cache, timeout=5.0, height=0.7, speed=0.35)
    link.open(contract())
    yield link
    link.close()


def until(happened: Callable[[], object], timeout: float = 10.0) -> None:
    end = time.monotonic() + timeout
    while not happened():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def fly(link: CrazyflieLink, order: Order, happened: Callable[[], object], timeout: float = 10.0) -> None:
    """Give an order in every tick, as the controller does, until something happened."""

    def tick() -> object:
        now = time.monotonic()
        link.status(now)
        link.send(Setpoint(order, RATES), now)
        return happened()

    until(tick, timeout)


def test_a_flight(peer: CrazyfliePeer, link: CrazyflieLink) -> None:
    told = link.prepare()
    assert "flightmode.stabModeRoll = 0: roll is a rate" in told
    values = {name: value for name, (_, value) in peer.parameters.items()}
    assert (
        values["flightmode.stabModeRoll"] == values["flightmode.stabModePitch"] == values["flightmode.stabModeYaw"] == 0
    )
    assert values["stabilizer.controller"] == values["commander.enHighLevel"] == values["supervisor.tmblChckEn"] == 1
    until(lambda: peer.on(firmware.GENERIC, 1))  # the last packet of unlocking
    assert not peer.thrust_locked
    status = link.status(5.0)
    assert (status.ready, status.armed, status.flying, status.pilot, status.heard) == (True, False, False, False, 5.0)
    assert status.battery == pytest.approx(0.75)

    fly(link, Order.OWN, lambda: True)
    fly(link, Order.LAUNCH, lambda: link.status(0.0).flying)
    assert peer.on(firmware.SUPERVISOR, 1) == [bytes([1, 1])]
    takeoff = [data for data in peer.on(firmware.HIGH_LEVEL) if data[0] == 7]
    group, height, _, keeps_yaw, duration = struct.unpack("<xBff?f", takeoff[0])
    assert (group, height, keeps_yaw, duration) == (0, pytest.approx(0.7), True, pytest.approx(2.0))
    assert link.status(0.0).mode == "high-level commander"

    peer.flown.clear()
    fly(link, Order.COMMAND, lambda: link.status(0.0).in_control)
    assert link.status(0.0).mode == "rates"
    rates = peer.flown[-1]
    assert rates[:3] == pytest.approx([math.degrees(r) for r in (1.0, -0.5, 0.25)])
    assert (rates.thrust, rates.as_rates) == (32768, True)

    # No rate is ever taken for an angle.
    peer.flown.clear()
    fly(link, Order.LEVEL, lambda: link.status(0.0).mode == "angles")
    fly(link, Order.LEVEL, lambda: not peer.flown[-1].as_rates)
    assert all(one[:3] == (0.0, 0.0, 0.0) for one in peer.flown if not one.as_rates)
    assert {one.thrust for one in peer.flown} == {32768}

    peer.flown.clear()
    fly(link, Order.COMMAND, lambda: len(peer.flown) > 20 and peer.flown[-1].x)
    assert all(one.as_rates for one in peer.flown if one.x)

    # Handed back: first where to, then who flies, or the motors would stop in between.
    peer.received.clear()
    fly(link, Order.OWN, lambda: link.status(0.0).mode == "high-level commander")
    after = [
        (port, data[0]) for port, channel, data in peer.received if port in (7, 8) and not (port == 7 and channel == 0)
    ]
    assert after[-2:] == [(firmware.HIGH_LEVEL, 12), (firmware.GENERIC, 0)]
    assert struct.unpack("<BBfffff", peer.on(firmware.HIGH_LEVEL)[-1][2:]) == (1, 0, 0, 0, 0, 0, 2.0)

    fly(link, Order.LAND, lambda: any(data[0] == 8 for data in peer.on(firmware.HIGH_LEVEL)))
    land = next(data for data in peer.on(firmware.HIGH_LEVEL) if data[0] == 8)
    assert struct.unpack("<xBff?f", land)[1::3] == (0.0, pytest.approx(2.0))
    until(lambda: link.status(0.0).mode == "high-level commander")
    fly(link, Order.LAND, lambda: link.status(0.0).flying is False)
    asked = len(peer.on(firmware.HIGH_LEVEL))
    fly(link, Order.LAND, lambda: link.status(0.0).mode == "rates")
    assert len(peer.on(firmware.HIGH_LEVEL)) == asked  # it does not spin up again
    fly(link, Order.STOP, lambda: not peer.info & ARMED)
    assert b"\0" in peer.on(firmware.GENERIC, 0)
    assert peer.info == CAN_BE_ARMED  # disarmed on the ground, not in the air

    link.close()
    assert peer.parameters["flightmode.stabModeRoll"][1] == 1
    assert peer.parameters["stabilizer.controller"][1] == 2


class PatientClock(Clock):
    """Never late: what a shared machine takes longer does not count, it has tests of its own."""

    waits_for_the_policy = True
    moment = 0.0

    def now(self) -> float:
        return self.moment

    def sleep_until(self, moment: float) -> None:
        time.sleep(max(0.0, moment - self.moment))
        self.moment = max(moment, self.moment)


def test_a_whole_flight_by_the_controller(peer: CrazyfliePeer, cache: str) -> None:
    policy = Policy(read_bundle(HOVER))
    words = f"bundle={HOVER} link=crazyflie link.uri={peer.uri} link.cache={cache} source=link,constant"
    settings = parse([*words.split(), "source.constant.goal=0,0,1"])
    link = make_link(settings)
    controller = Controller(
        policy,
        link,
        make_sources(settings, link),
        limits=Limits.of(policy.contract, {"max_age_s": {"default": 1.0}, "ramp_s": 0.1}),
        operator=Plan(land_after=0.2),
        clock=PatientClock(),
    )
    link.open(policy.contract)
    link.prepare()
    end = time.monotonic() + 10.0
    last = controller.run(lambda tick: tick.state is State.LANDED or time.monotonic() > end)
    link.close()
    after = [change.after for change in controller.supervisor.changes]
    assert after == [State.LAUNCH, State.READY, State.RAMP, State.POLICY, State.DESCEND, State.LANDED]
    assert last.status.flying is False
    assert any(rates.as_rates and rates.thrust and rates.x for rates in peer.flown)
    assert not peer.info & ARMED


def test_stopped_in_the_air_it_is_not_disarmed(peer: CrazyfliePeer, link: CrazyflieLink) -> None:
    peer.info = ARMED | FLYING
    until(lambda: link.status(0.0).flying)
    peer.received.clear()
    fly(link, Order.STOP, lambda: peer.on(firmware.GENERIC, 0) and link.status(0.0).flying is False)
    assert not peer.info & LOCKED


def test_landing_without_a_height_is_by_thrust(peer: CrazyfliePeer, link: CrazyflieLink) -> None:
    peer.info = ARMED | FLYING
    peer.told["stateEstimate.z"] = (7, math.nan)
    peer.flown.clear()
    until(lambda: math.isnan(link._height))
    fly(link, Order.LAND, lambda: peer.flown and link.status(0.0).in_control)
    assert link.status(0.0).flying is None  # the motors tell nothing while they are told to run
    assert not any(data[0] == 8 for data in peer.on(firmware.HIGH_LEVEL))


def test_state_and_ranges_in_the_contract_s_units_and_frames(peer: CrazyfliePeer, cache: str) -> None:
    attitude = w, x, y, z = 0.9, -0.1, 0.3, 0.3
    peer.tell(x=1200, y=-340, z=910, vx=-50, vy=25, vz=7, rateRoll=100, ratePitch=200, rateYaw=-300)
    peer.tell(quat=compress_quaternion([x, y, z, w]), front=1500, left=400, back=2999, right=32766)
    source = CrazyflieSource(uri=peer.uri, cache=cache, timeout=5.0, ranges=True)
    link = CrazyflieLink(uri=peer.uri, cache=cache, timeout=5.0)
    source.open(contract())
    link.open(contract())
    samples: list[Sample] = []
    until(lambda: samples.extend(source.poll()) or (samples and samples[-1].stamp - samples[0].stamp > 0.5))
    assert {sample.name for sample in link.poll()} == {"position", "velocity", "attitude", "gyro"} == set(link.provides)
    newest = {sample.name: sample.values for sample in samples}
    assert set(newest) == set(source.provides)
    assert newest["position"] == pytest.approx((1.2, -0.34, 0.91))
    assert newest["velocity"] == pytest.approx((-0.05, 0.025, 0.007))
    assert newest["attitude"] == pytest.approx(attitude, abs=2e-3)
    assert newest["gyro"] == pytest.approx((0.1, -0.2, -0.3))
    assert newest["ranges"] == pytest.approx((1.5, 0.4, 2.999, 3.0))
    stamps = [sample.stamp for sample in samples if sample.name == "position"]  # over the end of the vehicle's clock
    assert all(0.0 < b - a < 2.0 for a, b in pairwise(stamps))

    source.correct((1.0, 2.0, 0.5))
    until(lambda: peer.on(firmware.LOCALIZATION, 0))
    assert struct.unpack("<fff", peer.on(firmware.LOCALIZATION, 0)[0]) == (1.0, 2.0, 0.5)
    source.correct((1.0, 2.0, 0.5), (0.5, -0.5, 0.5, -0.5))
    until(lambda: peer.on(firmware.LOCALIZATION, 1))
    assert struct.unpack("<B7f", peer.on(firmware.LOCALIZATION, 1)[0]) == (8, 1.0, 2.0, 0.5, -0.5, 0.5, -0.5, 0.5)

    source.close()  # the link goes on with the connection that they share
    peer.received.clear()
    fly(link, Order.COMMAND, lambda: peer.on(firmware.COMMANDER))
    assert len([1 for port, *_ in peer.received if port == firmware.LINK]) == 0  # nor does cflib ping
    link.close()
    until(lambda: not peer.blocks)


def test_what_is_no_longer_heard_grows_old(peer: CrazyfliePeer, link: CrazyflieLink) -> None:
    until(lambda: link.status(time.monotonic()).ready)
    heard = link.status(time.monotonic()).heard
    until(lambda: link.status(time.monotonic()).heard > heard)
    peer.mute = True
    time.sleep(0.2)
    silent = link.status(100.0).heard
    for now in (101.0, 102.0):
        start = time.monotonic()
        link.send(Setpoint(Order.COMMAND, RATES), now)
        assert link.status(now).heard == silent
        assert time.monotonic() - start < 0.5  # nothing waits for an answer
    peer.mute = False


def test_a_vehicle_that_is_gone(cache: str) -> None:
    with CrazyfliePeer() as peer:
        link = CrazyflieLink(uri=peer.uri, cache=cache, timeout=5.0)
        link.open(contract())

    def refused() -> bool:  # its port is closed: cflib finds out, and gives the connection up
        start = time.monotonic()
        link.send(Setpoint(Order.COMMAND, RATES), start)
        mode = link.status(start).mode
        assert time.monotonic() - start < 0.5
        return "Connection refused" in mode

    until(refused)
    heard = link.status(1e6).heard
    assert link.status(2e6).heard == heard
    link.close()


def test_a_vehicle_that_flies_itself_is_not_dropped_when_the_program_ends(
    peer: CrazyfliePeer, link: CrazyflieLink
) -> None:
    link.prepare()
    until(lambda: peer.on(firmware.GENERIC, 1))
    peer.info = ARMED | FLYING | BY_ITSELF
    until(lambda: link.status(0.0).flying)
    peer.flown.clear()
    link.close()
    assert not peer.flown
    assert peer.info & BY_ITSELF
    assert peer.parameters["flightmode.stabModeRoll"][1] == 0  # nor is anything else changed in the air


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda peer: setattr(peer, "info", LOCKED), "locked: switch it off and on"),
        (lambda peer: setattr(peer, "info", ARMED | FLYING), "is in the air"),
        (lambda peer: peer.stubborn.add("stabilizer.controller"), "keeps stabilizer.controller at 2; it must be 1"),
        (lambda peer: setattr(peer, "mute", True), "did not confirm stabilizer.controller=1"),
    ],
)  # fmt: skip
def test_what_it_is_not_prepared_with(
    monkeypatch: pytest.MonkeyPatch,
    peer: CrazyfliePeer,
    link: CrazyflieLink,
    change: Callable[[CrazyfliePeer], object],
    message: str,
) -> None:
    monkeypatch.setattr(crtp, "ANSWER", 0.5)
    until(lambda: link.status(0.0).ready)
    change(peer)
    until(lambda: link._info == peer.info)
    with pytest.raises(UserError, match=message):
        link.prepare()
    peer.mute = False


def test_old_firmware_is_refused(peer: CrazyfliePeer, cache: str) -> None:
    peer.protocol = 10
    link = CrazyflieLink(uri=peer.uri, cache=cache, timeout=5.0)
    link.open(contract())
    with pytest.raises(UserError, match="speaks CRTP 10, too old"):
        link.prepare()
    link.close()


def test_a_firmware_without_what_is_needed_is_refused_by_name(peer: CrazyfliePeer, cache: str) -> None:
    del peer.told["supervisor.info"]
    link = CrazyflieLink(uri=peer.uri, cache=cache, timeout=5.0)
    with pytest.raises(UserError, match=r"does not tell supervisor\.info"):
        link.open(contract())


def test_nobody_there(cache: str) -> None:
    with CrazyfliePeer(mute=True) as peer:
        link = CrazyflieLink(uri=peer.uri, cache=cache, timeout=0.3)
        with pytest.raises(UserError, match=f"no Crazyflie at {peer.uri}: no answer within 0.3 s"):
            link.open(contract())
    with pytest.raises(UserError, match="no Crazyflie at nowhere"):
        CrazyflieLink(uri="nowhere", cache=cache).open(contract())


def test_contracts_and_settings_that_do_not_fit(peer: CrazyfliePeer, cache: str) -> None:
    link = CrazyflieLink(uri=peer.uri, cache=cache)
    thrusts = tuple(Port(f"thrust_{n}", (1,), "N") for n in range(4))
    with pytest.raises(UserError, match="the policy commands thrust_0"):
        link.open(contract(commands=thrusts))
    whole = contract().outputs
    with pytest.raises(UserError, match="does not say which part of full throttle"):
        link.open(contract(commands=(Port(COMMANDS[0], (1,), "N"), *whole[1:])))
    with pytest.raises(UserError, match="collective_thrust is in m/s²"):
        link.open(contract(commands=(Port(COMMANDS[0], (1,), "m/s²"), *whole[1:])))
    with pytest.raises(UserError, match=r"link\.height"):
        CrazyflieLink(height=0.0)
    with pytest.raises(UserError, match="16 ranges; the Multi-ranger has 4"):
        CrazyflieSource(uri=peer.uri, ranges=True).open(contract(ranges=16))
    peer.parameters["deck.bcMultiranger"] = (firmware.UINT8, 0)
    with pytest.raises(UserError, match="no Multi-ranger deck"):
        CrazyflieSource(uri=peer.uri, cache=cache, ranges=True).open(contract())


def test_quaternions_survive_the_firmware_s_compression() -> None:
    random = np.random.default_rng(3)
    for attitude in random.normal(size=(300, 4)):
        attitude /= np.linalg.norm(attitude)
        w, x, y, z = attitude
        back = np.array(quaternion_of(compress_quaternion([x, y, z, w])))
        assert np.linalg.norm(back) == pytest.approx(1.0)
        assert abs(back @ attitude) > math.cos(0.0035)  # 0.4° of rotation at most


def test_without_cflib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cflib.crtp", None)
    with pytest.raises(UserError, match=r"pip install 'robo-ppo-onboard\[crazyflie\]'"):
        CrazyflieLink(cache=str(tmp_path)).open(contract())
