"""What a Crazyflie's own estimator says: position, velocity, attitude and rates, a hundred times a second.

    source = CrazyflieSource(uri="radio://0/80/2M/E7E7E7E7E7", ranges=True)

It comes in the firmware's compressed form (the log group stateEstimateZ: millimetres, milliradians, a quaternion of 32
bits), so that all of it is one packet with one time stamp. A packet carries 26 bytes; uncompressed it would take three.
Positions end at 32 m, steps are 1 mm, 1 mm/s, 1 mrad/s and about 0.1°. Frames are those of the contract, but for the
rate about y, which the firmware's group has the other way round (stabilizer.c).

With `ranges` the Multi-ranger deck's four horizontal distances come as `ranges`, counter-clockwise from ahead: front,
left, back, right. What it does not see is as far away as the policy's sensors reach.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Sequence

from ..contract import Contract
from ..errors import UserError
from ..links.crtp import URI, Connection, connect
from ..vehicle import Sample
from .source import Source

GROUP = "stateEstimateZ"
POSITION, VELOCITY = ("x", "y", "z"), ("vx", "vy", "vz")
RATES = ("rateRoll", "ratePitch", "rateYaw")
SIDES = ("range.front", "range.left", "range.back", "range.right")
DECK = "deck.bcMultiranger"
NOTHING_SEEN = 8.0  # m: from here on, the deck's sensors say that they see nothing


class CrazyflieSource(Source):
    """Measurements of a vehicle that is only listened to; `CrazyflieLink` has one of its own."""

    def __init__(
        self,
        *,
        uri: str = URI,
        period: float = 0.01,
        ranges: bool = False,
        ranges_period: float = 0.05,
        cache: str = "",
        timeout: float = 30.0,
    ) -> None:
        """Periods in s, tens of ms each; the Multi-ranger measures 20 times a second."""
        self.provides: tuple[str, ...] = ("position", "velocity", "attitude", "gyro", *(("ranges",) if ranges else ()))
        self._uri, self._cache, self._timeout = uri, cache, timeout
        self._period, self._ranges_period = period, ranges_period
        self._reach: tuple[float, ...] = (math.inf,) * len(SIDES)
        self._connection: Connection | None = None
        self._arrived: deque[Sample] = deque()

    def open(self, contract: Contract) -> None:
        """Connect, and have it tell its state."""
        for port in contract.inputs:
            if port.name == "ranges" and "ranges" in self.provides:
                if port.size != len(SIDES):
                    raise UserError(f"the policy takes {port.size} ranges; the Multi-ranger has {len(SIDES)} around it")
                self._reach = port.upper or self._reach
        self._connection = connection = connect(self._uri, cache=self._cache, timeout=self._timeout)
        try:
            names = (*POSITION, *VELOCITY, "quat", *RATES)
            connection.log("state", [f"{GROUP}.{name}" for name in names], self._period, self._on_state)
            if "ranges" in self.provides:
                if not connection.has(DECK) or not connection.get(DECK):
                    raise UserError("source.crazyflie.ranges: the Crazyflie has no Multi-ranger deck")
                connection.log("ranges", SIDES, self._ranges_period, self._on_ranges)
        except BaseException:
            self.close()
            raise

    def poll(self) -> list[Sample]:
        """All samples since the last call."""
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def correct(self, position: Sequence[float], attitude: Sequence[float] | None = None) -> None:
        """Tell its estimator where it is (m, world; quaternion wxyz), as motion capture sees it; never waits."""
        if self._connection is None:
            raise RuntimeError("the source is not open")
        if attitude is None:
            self._connection.post("position", lambda cf: cf.loc.send_extpos(position))
        else:
            w, x, y, z = attitude
            self._connection.post("position", lambda cf: cf.loc.send_extpose(position, (x, y, z, w)))

    def close(self) -> None:
        """Disconnect; the link keeps the connection if it still has it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _on_state(self, stamp: float, data: dict[str, float]) -> None:
        number = {name: data[f"{GROUP}.{name}"] / 1000.0 for name in (*POSITION, *VELOCITY, *RATES)}
        roll, pitch, yaw = (number[name] for name in RATES)
        self._arrived.append(Sample("position", tuple(number[name] for name in POSITION), stamp))
        self._arrived.append(Sample("velocity", tuple(number[name] for name in VELOCITY), stamp))
        self._arrived.append(Sample("attitude", quaternion_of(int(data[f"{GROUP}.quat"])), stamp))
        self._arrived.append(Sample("gyro", (roll, -pitch, yaw), stamp))

    def _on_ranges(self, stamp: float, data: dict[str, float]) -> None:
        metres = (data[side] / 1000.0 for side in SIDES)
        seen = tuple(min(m if m < NOTHING_SEEN else math.inf, reach) for m, reach in zip(metres, self._reach))
        self._arrived.append(Sample("ranges", seen, stamp))


def quaternion_of(packed: int) -> tuple[float, float, float, float]:
    """A unit quaternion, wxyz, from the firmware's 32 bits (quatcompress.h).

    The upper two bits number the largest of x, y, z, w. The others follow in that order with ten bits each, a sign and
    511ths of √½, which none of them can exceed; the largest is positive and makes the length 1.
    """
    largest, shift = packed >> 30, 20
    parts = [0.0] * 4
    for index in range(4):
        if index != largest:
            ten = packed >> shift & 0x3FF
            parts[index] = math.copysign((ten & 0x1FF) / 511.0 * math.sqrt(0.5), -1.0 if ten & 0x200 else 1.0)
            shift -= 10
    parts[largest] = math.sqrt(max(0.0, 1.0 - math.fsum(part * part for part in parts)))
    x, y, z, w = parts
    return w, x, y, z
