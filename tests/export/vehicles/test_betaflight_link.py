"""The Betaflight link against a board made of a few answers, recorded from the firmware: what it refuses and sends."""

import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import robo_ppo_onboard.links.betaflight as betaflight
from robo_ppo_onboard.errors import UserError
from robo_ppo_onboard.links.betaflight import BetaflightLink
from robo_ppo_onboard.links.msp import LostConnection, Msp, Outbox, message, open_wire, parse
from robo_ppo_onboard.vehicle import Order, Setpoint
from tests.export.onboard.flights import OUTPUTS, contract

HOVER = {"collective_thrust": 0.4, "roll_rate": 0.0, "pitch_rate": 0.0, "yaw_rate": 0.0}
ROLL, PITCH, THROTTLE, YAW, AUX1, AUX2 = range(6)


class Board:
    """The other end of a wire: answers requests, keeps settings and the last sticks."""

    def __init__(self) -> None:
        self.answers: dict[int, bytes] = {
            betaflight.FC_VARIANT: b"BTFL",
            betaflight.FEATURES: bytes((0, 64, 64, 16)),
            betaflight.BOX_IDS: bytes((0, 1, 2, 6, 27, 7, 13, 19, 26, 30, 32, 33, 34, 36, 45, 49, 51, 52, 53)),
            betaflight.RX_MAP: bytes((0, 1, 3, 2, 4, 5, 6, 7)),
            betaflight.RX_CONFIG: struct.pack("<BHHH", 0, 1900, 1500, 1050),
            betaflight.MODE_RANGES: bytes((0, 0, 32, 48, 1, 1, 32, 48)) + bytes(72),
            betaflight.RC_TUNING: bytes(
                (35, 0, 35, 35, 18, 0, 50, 0, 0, 0, 0, 18, 35, 0, 0, 100, 206, 7, 206, 7, 206, 7, 3, 50)
            ),
            betaflight.RC_DEADBAND: bytes(5),
            betaflight.FAILSAFE: bytes((15, 60, 232, 3, 0, 100, 0, 1)),
            betaflight.RX_FAIL: bytes((0, 220, 5)) * 4 + bytes((1, 220, 5)) * 12,
        }
        self.modes, self.reasons = 0, 0
        self.sticks: tuple[int, ...] = ()
        self.saved = 0
        self.takes_settings = self.is_there = True
        self._out = b""

    def write(self, data: bytes) -> None:
        if not self.is_there:
            raise LostConnection("closed by the other end")
        for _, command, payload in parse(data)[0]:
            self._out += message(command, self._answer(command, payload), b">")

    def read(self) -> bytes:
        if not self.is_there:
            raise LostConnection("closed by the other end")
        data, self._out = self._out, b""
        return data

    def close(self) -> None:
        self.is_there = False

    def _answer(self, command: int, payload: bytes) -> bytes:
        if command == betaflight.SET_RAW_RC:
            self.sticks = struct.unpack("<18H", payload)
        if command == betaflight.STATUS:
            head = struct.pack("<HHHIBHBBB", 125, 0, 35, self.modes, 0, 0, 4, 0, 1)
            return head + bytes(1) + struct.pack("<BIBHB", 29, self.reasons, 0, 0, 4)
        if command == betaflight.BATTERY:
            return struct.pack("<BHBHHBH", 1, 500, 39, 0, 0, 0, 393)
        if command == betaflight.SET_FAILSAFE and self.takes_settings:
            self.answers[betaflight.FAILSAFE] = payload
        if command == betaflight.SAVE:
            self.saved += 1
        return self.answers.get(command, b"")


def linked(board: Board, **settings: Any) -> BetaflightLink:
    link = BetaflightLink(lambda _: board, **settings)
    link.open(contract())
    return link


def told(board: Board, link: BetaflightLink, order: Order, now: float = 0.0, **commands: float) -> tuple[int, ...]:
    """The channels that the board gets, after it was asked how it is."""
    link.status(now)
    link.status(now)
    link.send(Setpoint(order, HOVER | commands), now)
    return board.sticks[:6]


def test_it_arms_only_when_the_board_would_and_keeps_the_throttle_low_until_it_is() -> None:
    board = Board()
    link = linked(board)
    board.reasons = 1 << 12  # calibrating
    assert told(board, link, Order.LAUNCH, 1.0) == (1500, 1500, 1000, 1500, 1000, 1000)
    assert link.status(1.0).ready is False
    board.reasons = 0
    assert told(board, link, Order.LAUNCH, 2.0)[AUX1] == 1850
    assert board.sticks[THROTTLE] == 1000
    board.modes = 1
    sticks = told(board, link, Order.LAUNCH, 3.0)
    assert sticks[AUX1] == 1850 and sticks[THROTTLE] == round(1050 + 950 * 0.5)
    status = link.status(3.0)
    assert status.armed and status.in_control and status.battery == pytest.approx((3.93 - 3.3) / 0.9)


def test_sticks_follow_the_commands_and_stay_within_their_ends() -> None:
    board = Board()
    board.modes = 1
    link = linked(board)
    full = 6.108652  # 350 degrees a second
    sticks = told(board, link, Order.COMMAND, roll_rate=full / 2, pitch_rate=-full, yaw_rate=1.0)
    assert sticks[ROLL] == 1750 and sticks[PITCH] == 1000
    assert sticks[YAW] == round(1500 - 500 / 3.141593)  # to the right is +
    assert told(board, link, Order.COMMAND, 1.0, roll_rate=99.0, collective_thrust=99.0)[:3] == (2000, 1500, 2000)


@pytest.mark.parametrize("order", [Order.LEVEL, Order.LAND, Order.OWN])
def test_a_fallback_centres_the_sticks_and_switches_to_angle(order: Order) -> None:
    board = Board()
    board.modes = 1
    link = linked(board)
    told(board, link, Order.COMMAND)
    assert told(board, link, order, 1.0, roll_rate=3.0) == (1500, 1500, 1525, 1500, 1850, 1850)


@pytest.mark.parametrize("order", [Order.LEVEL, Order.LAND, Order.COMMAND, Order.OWN, Order.STOP])
def test_a_launch_that_was_given_up_before_it_armed_does_not_arm_later(order: Order) -> None:
    board = Board()
    link = linked(board)
    assert told(board, link, Order.LAUNCH)[AUX1] == 1850
    assert told(board, link, order, 1.0)[AUX1] == 1000
    board.modes = 1  # a status from before it saw that
    assert told(board, link, order, 2.0)[THROTTLE : AUX1 + 1] == (1000, 1500, 1000)
    assert told(board, link, Order.LAUNCH, 3.0)[AUX1] == 1850


def test_a_board_that_is_found_armed_with_nothing_asked_for_is_left_alone() -> None:
    board = Board()
    board.modes = 1
    link = linked(board)
    for now in range(3):
        assert told(board, link, Order.OWN, now) == ()
    board.modes = 0  # its failsafe has ended
    assert told(board, link, Order.OWN, 3.0)[THROTTLE : AUX1 + 1] == (1000, 1500, 1000)


@pytest.mark.parametrize("order", list(Order))
def test_only_stop_is_sent_before_the_board_has_said_whether_it_is_armed(order: Order) -> None:
    board = Board()
    linked(board).send(Setpoint(order, HOVER), 0.0)
    assert board.sticks[:5] == ((1500, 1500, 1000, 1500, 1000) if order is Order.STOP else ())


def test_stop_is_sent_in_every_tick() -> None:
    board = Board()
    link = linked(board)
    for now in range(5):
        board.sticks = ()
        assert told(board, link, Order.STOP, now)[AUX1] == 1000


def test_stop_disarms_and_on_the_ground_nothing_arms_by_itself() -> None:
    board = Board()
    link = linked(board)
    for order in (Order.OWN, Order.COMMAND, Order.LEVEL):
        assert told(board, link, order)[AUX1] == 1000
    board.modes = 1
    assert told(board, link, Order.STOP, 1.0)[:5] == (1500, 1500, 1000, 1500, 1000)


def test_the_boards_own_failsafe_counts_as_taken_over() -> None:
    board = Board()
    board.modes = 1 | 1 << 4  # ARM, FAILSAFE
    link = linked(board)
    told(board, link, Order.COMMAND)
    status = link.status(0.0)
    assert status.pilot and not status.in_control and status.mode == "ARM FAILSAFE"


def test_the_failsafe_is_set_saved_and_read_back_once() -> None:
    board = Board()
    link = linked(board)
    assert len(link.prepare()) == 3 and board.saved == 1
    delay, seconds, throttle, _, _, procedure = struct.unpack("<BBHBHB", board.answers[betaflight.FAILSAFE])
    assert (delay, seconds, procedure) == (2, 10, 0)
    assert throttle == round(1050 + 950 * 0.93 * 0.04338 * 9.81 / 0.8)
    link.prepare()
    assert board.saved == 1


def test_a_board_that_does_not_take_the_failsafe_must_not_be_armed() -> None:
    board = Board()
    board.takes_settings = False
    with pytest.raises(UserError, match="must not be armed"):
        linked(board).prepare()


def changed(command: int, change: Callable[[bytearray], None]) -> Board:
    board = Board()
    answer = bytearray(board.answers[command])
    change(answer)
    board.answers[command] = bytes(answer)
    return board


@pytest.mark.parametrize(
    ("command", "index", "value", "message"),
    [
        (betaflight.FC_VARIANT, 0, ord("I"), "is ITFL, not BTFL"),
        (betaflight.FEATURES, 1, 0, "feature RX_MSP"),
        (betaflight.RC_TUNING, 1, 20, "roll stick is not linear"),
        (betaflight.RC_TUNING, 22, 0, "rates_type = ACTUAL"),
        (betaflight.RC_TUNING, 12, 20, "pitch stick is not linear"),
        (betaflight.RC_DEADBAND, 0, 5, "deadband = 0"),
        (betaflight.MODE_RANGES, 3, 32, "ARM must lie on one range"),
        (betaflight.MODE_RANGES, 4, 0, "ARM must lie on one range of one channel, not on 2"),
    ],
)
def test_a_board_that_is_set_up_otherwise_is_refused(command: int, index: int, value: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        linked(changed(command, lambda answer: answer.__setitem__(index, value)))


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ((0, 0, 24, 48, 1, 0, 0, 20), "ARM and ANGLE both lie on AUX1"),
        ((0, 0, 32, 48, 1, 1, 0, 16, 2, 1, 32, 48), "HORIZON lies on AUX2 from 1700 to 2100 µs .* 2000 µs"),
        ((0, 0, 32, 48, 1, 1, 32, 48, 46, 0, 36, 44), "GPS RESCUE lies on AUX1 .* 1850 µs"),
        ((0, 0, 32, 48, 1, 1, 32, 48, 45, 1, 0, 8), "PARALYZE lies on AUX2 .* 1000 µs .* aux 2 0 0 900 900 0 0"),
        ((0, 0, 32, 48, 1, 1, 32, 48, 99, 7, 0, 48), "mode 99 lies on AUX8"),
        ((0, 0, 46, 48, 1, 1, 32, 48), "ARM is on from 2050 to 2100 µs, which leaves no place for on"),
        ((0, 0, 0, 48, 1, 1, 32, 48), "ARM is on from 900 to 2100 µs, which leaves no place"),
    ],
)
def test_switches_that_turn_on_more_than_they_should_are_refused(ranges: tuple[int, ...], message: str) -> None:
    board = Board()
    board.answers[betaflight.MODE_RANGES] = bytes(ranges) + bytes(80 - len(ranges))
    with pytest.raises(UserError, match=message):
        linked(board)


def test_modes_that_are_never_on_or_do_no_harm_are_taken() -> None:
    board = Board()
    others = (2, 2, 32, 48, 46, 0, 12, 20, 26, 3, 0, 48, 28, 1, 0, 48)  # HORIZON, GPS RESCUE; BLACKBOX, AIR MODE
    board.answers[betaflight.MODE_RANGES] = bytes((0, 0, 32, 48, 1, 1, 32, 48, *others)) + bytes(56)
    linked(board)


def test_a_vehicle_that_turns_or_pushes_less_than_the_policy_commands_is_refused() -> None:
    def slow(tuning: bytearray) -> None:
        tuning[0] = tuning[2] = 20

    with pytest.raises(UserError, match="set roll_rc_rate and roll_srate to 35"):
        linked(changed(betaflight.RC_TUNING, slow))
    with pytest.raises(UserError, match=r"full throttle gives 0\.5 N; the policy was trained with up to 0\.8 N"):
        linked(Board(), throttle=(0.0, 0.0, 0.5, 1.0))
    with pytest.raises(UserError, match="must rise from point to point, within 0 and 1"):
        linked(Board(), throttle=(0.0, 0.5, 0.8, 0.4))


def test_firmware_too_old_to_ask_is_refused_and_short_answers_tell_nothing() -> None:
    with pytest.raises(UserError, match=r"Betaflight 4\.3 or newer"):
        linked(changed(betaflight.RC_TUNING, lambda tuning: tuning.__delitem__(slice(16, None))))

    class Curt(Board):
        def _answer(self, command: int, payload: bytes) -> bytes:
            return b"" if command in (betaflight.STATUS, betaflight.BATTERY) else super()._answer(command, payload)

    board = Curt()
    link = linked(board)
    told(board, link, Order.OWN, 1.0)
    status = link.status(1.0)
    assert status.heard == 1.0 and status.ready is False and status.battery is None and not status.armed


def test_another_policy_is_refused() -> None:
    with pytest.raises(UserError, match="betaflight takes collective_thrust"):
        BetaflightLink(lambda _: Board()).open(contract(outputs=OUTPUTS[::-1]))


def test_a_lost_connection_shows_in_the_status_and_raises_nothing() -> None:
    board = Board()
    link = linked(board)
    told(board, link, Order.OWN, 5.0)
    board.is_there = False
    assert link.status(6.0).heard == 5.0
    link.send(Setpoint(Order.COMMAND, HOVER), 6.0)
    link.close()


def test_nobody_there_is_said(free_port: int) -> None:
    with pytest.raises(UserError, match=f"no flight controller answers at 127.0.0.1:{free_port}"):
        open_wire(f"tcp:127.0.0.1:{free_port}")
    with pytest.raises(UserError, match="must be tcp:<host>:<port>"):
        open_wire("tcp:nowhere")
    with pytest.raises(UserError, match=r"cannot open the serial port|needs pyserial"):
        open_wire("/dev/no_such_port")


def test_a_full_connection_drops_whole_messages_and_the_last_word_arrives(free_port: int) -> None:
    with socket.create_server(("127.0.0.1", free_port)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire = open_wire(f"tcp:127.0.0.1:{free_port}")
        board, _ = server.accept()
        with board:
            board.settimeout(0.05)
            for _ in range(60_000):  # until nothing goes any more, and on
                wire.write(message(200, bytes(251)))
            stream = b""
            for last in (1, 2, 3):
                stream += drained(board)
                wire.write(message(200, bytes((last,))))
            stream += drained(board)
        wire.close()
    stream = stream.replace(message(200, bytes(251)), b"")
    assert stream == b"".join(message(200, bytes((last,))) for last in (1, 2, 3))


def drained(board: socket.socket) -> bytes:
    data = b""
    while True:
        try:
            data += board.recv(1 << 20)
        except TimeoutError:
            return data


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.integers(0, 9))))
def test_a_message_goes_whole_or_not_at_all(tries: list[tuple[bytes, int]]) -> None:
    room, stream = 0, b""

    def put(data: bytes) -> int:
        nonlocal room, stream
        sent = data[:room]
        room -= len(sent)
        stream += sent
        return len(sent)

    outbox = Outbox(put)
    for body, room in tries:  # noqa: B007, read by put
        outbox.write(message(1, body))
    room = 99
    outbox.write(message(2))
    found, rest = parse(stream)
    assert rest == b"" and found[-1][1] == 2
    assert b"".join(message(command, body) for _, command, body in found) == stream


def test_a_refusal_and_a_silence_are_said_and_what_was_lost_is_sent_again() -> None:
    class Refuses(Board):
        def write(self, data: bytes) -> None:
            self._out += message(data[4], b"", b"!")

    class Silent(Board):
        def write(self, data: bytes) -> None:
            return

    class Lossy(Board):
        is_heard = False

        def write(self, data: bytes) -> None:
            if self.is_heard:
                super().write(data)
            self.is_heard = True

    with pytest.raises(UserError, match="refuses MSP command 2"):
        Msp(Refuses()).request(2)
    with pytest.raises(UserError, match="did not answer"):
        Msp(Silent()).request(2, timeout=0.02)
    assert Msp(Lossy()).request(betaflight.FC_VARIANT) == b"BTFL", "sent again"
    gone = Board()
    gone.is_there = False
    with pytest.raises(UserError, match=r"is gone.*closed by the other end"):
        Msp(gone).request(2)


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=60)), max_size=6), st.binary(max_size=20), st.data())
def test_whole_messages_are_found_in_any_stream(
    sent: list[tuple[int, bytes]], noise: bytes, data: st.DataObject
) -> None:
    noise = noise.replace(b"$", b"#")
    stream = noise.join([b"", *(message(command, payload, b">") for command, payload in sent)]) + noise
    cut = data.draw(st.integers(0, len(stream)))
    first, rest = parse(stream[:cut])
    second, _ = parse(rest + stream[cut:])
    assert [(command, payload) for _, command, payload in first + second] == sent


@given(st.binary(max_size=200))
def test_no_stream_breaks_the_parser(stream: bytes) -> None:
    found, rest = parse(stream)
    assert len(rest) <= len(stream) and all(kind in (b"<", b">", b"!") for kind, _, _ in found)
