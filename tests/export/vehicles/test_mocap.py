"""Measurements over UDP: what arrives is what was sent, in order, once; damaged datagrams are dropped and counted."""

import json
import math
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robo_ppo_onboard.contract import Port
from robo_ppo_onboard.errors import UserError
from robo_ppo_onboard.sources.mocap import MocapSender, MocapSource, parse
from robo_ppo_onboard.vehicle import Sample
from tests.export.onboard.flights import contract

SIZES = {"position": 3, "attitude": 4}


class Clock:
    """A clock that stands until it is moved."""

    now = 5.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source(free_port: int, clock: Clock) -> Iterator[MocapSource]:
    made = MocapSource(clock, port=free_port, measures="position,attitude,ranges")
    made.open(contract())
    yield made
    made.close()


@pytest.fixture
def sender(free_port: int) -> Iterator[MocapSender]:
    made = MocapSender(port=free_port)
    yield made
    made.close()


def test_what_is_sent_arrives_in_order_with_the_senders_time(source: MocapSource, sender: MocapSender) -> None:
    for i in range(3):
        sender.send(0.5 + i, {"position": (i, 2.0, -1.25), "unknown": (1.0,)})
    assert source.poll() == [Sample("position", (float(i), 2.0, -1.25), 0.5 + i) for i in range(3)]
    assert source.poll() == [] and source.dropped == 0
    assert source.provides == ("position", "attitude", "ranges")


def test_doubled_old_and_damaged_datagrams_are_dropped_and_counted(source: MocapSource, free_port: int) -> None:
    def datagram(sequence: object, time: object = 1.0, position: object = (1, 2, 3)) -> bytes:
        return json.dumps({"sequence": sequence, "time": time, "position": position}).encode()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        good, bad = [datagram(4), datagram(7)], [b"", b"\xff", b"[]", b"{}", datagram(4), datagram(3), datagram("8")]
        bad += [b"[" * 8000, b'{"sequence": 8, "time": 1' + b"0" * 400 + b"}"]
        worse = [
            datagram(8, None),
            datagram(8, math.inf),
            datagram(8, math.nan),
            datagram(8, True),
            datagram(8, 1.0, [1, 2]),
            datagram(8, 1.0, ["1", 2, 3]),
        ]
        for data in [*good, *bad, *worse]:
            wire.sendto(data, ("127.0.0.1", free_port))
    assert [sample.values for sample in source.poll()] == [(1.0, 2.0, 3.0)] * 2
    assert source.dropped == len(bad) + len(worse)


def numbered(source: MocapSource, port: int, *sequences: int) -> list[float]:
    """The numbers of those datagrams that are taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        for sequence in sequences:
            document = {"sequence": sequence, "time": 1.0, "position": (sequence, 0, 0)}
            wire.sendto(json.dumps(document).encode(), ("127.0.0.1", port))
    return [sample.values[0] for sample in source.poll()]


def test_one_number_far_ahead_does_not_blind_it(source: MocapSource, free_port: int) -> None:
    assert numbered(source, free_port, 2, 10**15, 3, 4, 4, 3, 5) == [2, 10**15, 3, 4, 5]
    assert source.dropped == 2


def test_a_sender_that_was_started_again_is_heard(source: MocapSource, free_port: int, clock: Clock) -> None:
    assert numbered(source, free_port, 500, 0, 1) == [500, 0, 1]
    assert numbered(source, free_port, 3, 0, 1) == [3]  # a little late, or again from 0: silence tells
    clock.now += 0.2
    assert numbered(source, free_port, 2, 3) == []
    clock.now += 0.1
    assert numbered(source, free_port, 0, 1, 0) == [0, 1]


def test_what_only_the_limits_need_is_taken_too(free_port: int, sender: MocapSender) -> None:
    source = MocapSource(port=free_port, measures="velocity,gyro,attitude,position")
    source.open(contract(inputs=(Port(name="attitude", shape=(9,), unit="1"),)))
    numbers = {"position": (1.0, 2.0, 3.0), "velocity": (4.0,) * 3, "gyro": (5.0,) * 3, "attitude": (6.0,) * 9}
    sender.send(1.0, {**numbers, "ranges": (7.0,)})
    assert {sample.name: sample.values for sample in source.poll()} == numbers
    source.close()


def test_numbers_that_are_not_finite_pass_for_the_safety_net_to_see(source: MocapSource, sender: MocapSender) -> None:
    sender.send(1.0, {"position": (math.nan, math.inf, 0.0)})
    (sample,) = source.poll()
    assert math.isnan(sample.values[0]) and sample.values[1] == math.inf


def test_a_port_that_is_taken_is_said(source: MocapSource, free_port: int) -> None:
    with pytest.raises(UserError, match=f"cannot listen for measurements on 127.0.0.1:{free_port}"):
        MocapSource(port=free_port).open(contract())


def test_a_closed_source_gives_nothing(free_port: int) -> None:
    source = MocapSource(port=free_port)
    assert source.poll() == []
    source.close()


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(lambda x: json.dumps(x).encode())
)
def test_no_datagram_breaks_it(data: bytes) -> None:
    try:
        parse(data, SIZES)
    except ValueError:
        return
    raise AssertionError("taken, without a sequence number")
