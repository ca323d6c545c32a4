"""What is wrong with what arrives: the newest sample of every measurement, and the vehicle's own state.

    inbox = Inbox(contract, limits)
    inbox.take(samples, now)
    fault = inbox.fault(now) or envelope.fault(inbox.body(now))     # Fault("stale", "position is 65 ms old, …") or None

A sample counts only if its time stamp is newer than the last one's; what comes twice or out of order ages like silence,
and so does a stamp from the future. After a silence everything begins anew: a sender may have started again, with its
clock. A sender that falls behind is found by its stamps, though it sends at every tick.
"""

from __future__ import annotations

import math
from typing import Iterable, NamedTuple, Sequence

from ..contract import Contract, Port
from ..vehicle import Body, Sample
from .limits import Limits

BODY = {"position": 3, "velocity": 3, "attitude": 4, "gyro": 3}
"""Measurements of a body's motion, and how many numbers they have."""

LAST_KNOWN = 0.25  # s: as long as the fallback goes by a measurement that it had
UNIT = 0.05  # that the length of a quaternion may be off 1
SLACK = 1e-6  # s: time stamps are rounded
LEAP = 1.0  # s that a stamp may be ahead of the time that has passed
BACKLOG = 0.1  # s, beyond the age that is allowed, that a stamp may fall behind
DRIFT = 1e-3  # s/s that two clocks may drift apart


class Fault(NamedTuple):
    """Why the policy may not fly: a word for programs, a sentence for people."""

    code: str
    text: str


class Entry(NamedTuple):
    """A measurement's numbers, the sender's time, and when they arrived."""

    values: tuple[float, ...]
    stamp: float
    received: float


class Inbox:
    """The newest sample of every measurement that the policy or the safety net needs."""

    def __init__(self, contract: Contract, limits: Limits) -> None:
        self._ports: dict[str, Port] = {port.name: port for port in contract.inputs}
        self.needed: tuple[str, ...] = (*self._ports, *(n for n in limits.watched() if n not in self._ports))
        self._sizes = {**BODY, **{name: port.size for name, port in self._ports.items()}}
        self._rotations = {"attitude"} | {n for n, port in self._ports.items() if port.quaternion_order is not None}
        self._edges = {name: edges for name, edges in ((n, _edges(p)) for n, p in self._ports.items()) if edges}
        self._ages = {name: limits.age_of(name, contract.control_period) + SLACK for name in self.needed}
        self.newest: dict[str, Entry] = {}
        self._last_valid: dict[str, Entry] = {}
        self._problems: dict[str, Fault] = {}
        self._offsets: dict[str, float] = {}  # smallest difference between arrival and stamp
        self.repeated = 0  # samples that came twice, out of order or from the future

    def take(self, samples: Iterable[Sample], now: float) -> None:
        """Take in what arrived; what nobody needs is passed over."""
        newest = self.newest
        for name, values, stamp in samples:
            if name not in self._sizes:
                continue
            if not math.isfinite(stamp):
                self._problems[name] = Fault("not_finite", f"the time stamp of {name} is not finite")
                continue
            before, offset = newest.get(name), now - stamp
            if before is not None and now - before.received <= LAST_KNOWN:
                passed = stamp - before.stamp
                if not 0.0 < passed <= now - before.received + LEAP:
                    self.repeated += 1
                    continue
                offset = min(offset, self._offsets[name] + DRIFT * (now - before.received))
            self._offsets[name] = offset
            entry = Entry(values, stamp, now)
            newest[name] = entry
            problem = self._problem(name, values)
            if problem is None:
                self._last_valid[name] = entry
                if self._problems:
                    self._problems.pop(name, None)
            else:
                self._problems[name] = problem

    def fault(self, now: float) -> Fault | None:
        """The first thing that is wrong with a measurement now."""
        if self._problems:
            for name in self.needed:
                if name in self._problems:
                    return self._problems[name]
        for name, most in self._ages.items():
            entry = self.newest.get(name)
            if entry is None:
                return Fault("missing", f"{name} has never arrived")
            if now - entry.received > most:
                age = math.ceil(1e3 * (now - entry.received) - 0.01)
                return Fault("stale", f"{name} is {age} ms old; {1e3 * most:.0f} ms are allowed")
            behind = now - entry.stamp - self._offsets[name]
            if behind > most + BACKLOG:
                return Fault("stale", f"the stamps of {name} have fallen {1e3 * behind:.0f} ms behind")
        return None

    def body(self, now: float) -> Body:
        """The vehicle's motion, as far as valid and recent measurements tell."""
        found = self._last_valid
        recent = {name: e.values for name, e in found.items() if name in BODY and now - e.received <= LAST_KNOWN}
        return Body(recent.get("position"), recent.get("velocity"), recent.get("attitude"), recent.get("gyro"))

    def measured(self) -> dict[str, tuple[float, ...]]:
        """What the policy is to be given: the newest numbers of each of its inputs."""
        return {name: self.newest[name].values for name in self._ports}

    def _problem(self, name: str, values: Sequence[float]) -> Fault | None:
        if len(values) != self._sizes[name]:
            return Fault("misshapen", f"{name} has {len(values)} numbers, not {self._sizes[name]}")
        # The sum of finite numbers is finite; only where it is not, they are looked at one by one: it may overflow.
        if not (math.isfinite(sum(values)) or all(map(math.isfinite, values))):
            return Fault("not_finite", f"{name} is not finite")
        if name in self._rotations and abs(math.sqrt(sum(value * value for value in values)) - 1.0) > UNIT:
            return Fault("out_of_range", f"{name} is no rotation: its length is not 1")
        if name in self._edges:
            for low, high, part in self._edges[name]:
                least, most = min(values[part]), max(values[part])
                if least < low or most > high:
                    wrong, unit = least if least < low else most, self._ports[name].unit
                    return Fault("out_of_range", f"{name} is {wrong:.3g} {unit}; it can be {low:.3g} to {high:.3g}")
        return None


def _edges(port: Port) -> tuple[tuple[float, float, slice], ...]:
    """What the numbers of a measurement can be: lowest, highest, and which numbers; one entry where all are alike."""
    low, high = port.lower or (-math.inf,) * port.size, port.upper or (math.inf,) * port.size
    if port.lower is None and port.upper is None:
        return ()
    if len(set(low)) == len(set(high)) == 1:
        return ((low[0], high[0], slice(None)),)
    return tuple((low[i], high[i], slice(i, i + 1)) for i in range(port.size))


class Envelope:
    """The limits of a body's motion."""

    def __init__(self, limits: Limits) -> None:
        self._fence = limits.fence
        self._least_upright = None if limits.max_tilt_rad is None else math.cos(min(limits.max_tilt_rad, math.pi))
        self._max_tilt, self._max_speed = limits.max_tilt_rad, limits.max_speed_m_s
        rates: list[tuple[int, str, float | None]] = [
            (0, "roll", limits.max_roll_rate_rad_s),
            (1, "pitch", limits.max_pitch_rate_rad_s),
            (2, "yaw", limits.max_yaw_rate_rad_s),
        ]
        self._rates = tuple((axis, name, most) for axis, name, most in rates if most is not None)

    def fault(self, body: Body, *, on_the_ground: bool = False) -> Fault | None:
        """The first limit that is left; what is not known is not judged (its age is).

        A vehicle `on_the_ground` may be as low as it likes.
        """
        if body.attitude is not None and self._least_upright is not None:
            upright = upright_of(body.attitude)
            if upright < self._least_upright:
                tilt, most = math.degrees(math.acos(max(-1.0, upright))), math.degrees(self._max_tilt or 0.0)
                return Fault("tilt", f"the vehicle is tilted by {tilt:.0f}°; {most:.0f}° are allowed")
        if body.gyro is not None:
            for axis, name, most in self._rates:
                if abs(body.gyro[axis]) > most:
                    return Fault("rate", f"the {name} rate is {body.gyro[axis]:.2f} rad/s; {most:.2f} are allowed")
        if body.velocity is not None and self._max_speed is not None:
            speed = math.sqrt(sum(value * value for value in body.velocity))
            if speed > self._max_speed:
                return Fault("speed", f"the speed is {speed:.2f} m/s; {self._max_speed:.2f} are allowed")
        return self.outside(body, on_the_ground=on_the_ground)

    def outside(self, body: Body, *, on_the_ground: bool = False) -> Fault | None:
        """Whether the vehicle left the geofence."""
        if body.position is not None:
            for axis, low, high, name in self._fence:
                if on_the_ground and axis == 2 and body.position[2] < low:
                    continue
                if not low <= body.position[axis] <= high:
                    place = body.position[axis]
                    return Fault("geofence", f"{name} is {place:.2f} m; the geofence is from {low:.2f} to {high:.2f} m")
        return None


class Saturation:
    """Whether a command lies at one of its limits for too long."""

    def __init__(self, ports: Iterable[Port], longest: float | None) -> None:
        self._longest = longest
        self._edges: list[tuple[str, float, float]] = []
        for port in ports if longest is not None else ():
            if port.lower is not None and port.upper is not None:
                slack = 1e-3 * (port.upper[0] - port.lower[0])
                self._edges.append((port.name, port.lower[0] + slack, port.upper[0] - slack))
        self._since: dict[str, float] = {}

    def reset(self) -> None:
        """Forget: the policy begins."""
        self._since.clear()

    def fault(self, commands: dict[str, float], now: float) -> Fault | None:
        """Look at the policy's commands of this tick."""
        for name, low, high in self._edges:
            if low < commands[name] < high:
                if self._since:
                    self._since.pop(name, None)
            elif now - self._since.setdefault(name, now) > (self._longest or 0.0):
                return Fault("saturated", f"{name} has been at its limit for more than {self._longest:g} s")
        return None


def upright_of(attitude: Sequence[float]) -> float:
    """Cosine of the tilt: the z component of body z in the world frame."""
    return 1.0 - 2.0 * (attitude[1] * attitude[1] + attitude[2] * attitude[2])
