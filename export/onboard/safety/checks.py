"""What is wrong with what arrives: the newest sample of every measurement, and the vehicle's own state.

    inbox = Inbox(contract, limits)
    inbox.take(samples, now)
    fault = inbox.fault(now) or envelope.fault(inbox.body(now))     # Fault("stale", "position is 65 ms old, …") or None

A sample counts only if its time stamp is newer than the last one's; what comes twice or out of order ages like silence.
"""

from __future__ import annotations

import math
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

from ..contract import Contract, Port
from ..vehicle import Body, Sample
from .limits import Limits

BODY = {"position": 3, "velocity": 3, "attitude": 4, "gyro": 3}
"""Measurements of a body's motion, and how many numbers they have."""

LAST_KNOWN = 0.25  # s: as long as the fallback goes by a measurement that it had
UNIT = 0.05  # that the length of a quaternion may be off 1
SLACK = 1e-6  # s: time stamps are rounded


class Fault(NamedTuple):
    """Why the policy may not fly: a word for programs, a sentence for people."""

    code: str
    text: str


class Entry(NamedTuple):
    """A measurement's numbers, the sender's time, and when they arrived."""

    values: Tuple[float, ...]
    stamp: float
    received: float


class Inbox:
    """The newest sample of every measurement that the policy or the safety net needs."""

    def __init__(self, contract: Contract, limits: Limits) -> None:
        self._ports: Dict[str, Port] = {port.name: port for port in contract.inputs}
        self.needed: Tuple[str, ...] = (*self._ports, *(n for n in limits.watched() if n not in self._ports))
        self._sizes = {name: self._ports[name].size if name in self._ports else BODY[name] for name in self.needed}
        self._ages = {name: limits.age_of(name, contract.control_period) + SLACK for name in self.needed}
        self.newest: Dict[str, Entry] = {}
        self._last_valid: Dict[str, Entry] = {}
        self._problems: Dict[str, Fault] = {}
        self.repeated = 0  # samples that came twice or out of order

    def take(self, samples: Iterable[Sample], now: float) -> None:
        """Take in what arrived; what nobody needs is passed over."""
        newest = self.newest
        for name, values, stamp in samples:
            size = self._sizes.get(name)
            if size is None and name not in BODY:
                continue
            before = newest.get(name)
            if before is not None and not stamp > before.stamp:
                self.repeated += 1
                continue
            entry = Entry(values, stamp, now)
            newest[name] = entry
            problem = self._problem(name, values, BODY[name] if size is None else size, stamp)
            if problem is None:
                self._last_valid[name] = entry
                if self._problems:
                    self._problems.pop(name, None)
            else:
                self._problems[name] = problem

    def fault(self, now: float) -> Optional[Fault]:
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
                age = 1e3 * (now - entry.received)
                return Fault("stale", f"{name} is {age:.0f} ms old; {1e3 * most:.0f} ms are allowed")
        return None

    def body(self, now: float) -> Body:
        """The vehicle's motion, as far as valid and recent measurements tell."""
        found = self._last_valid
        recent = {name: e.values for name, e in found.items() if name in BODY and now - e.received <= LAST_KNOWN}
        return Body(recent.get("position"), recent.get("velocity"), recent.get("attitude"), recent.get("gyro"))

    def measured(self) -> Dict[str, Tuple[float, ...]]:
        """What the policy is to be given: the newest numbers of each of its inputs."""
        return {name: self.newest[name].values for name in self._ports}

    def _problem(self, name: str, values: Sequence[float], size: int, stamp: float) -> Optional[Fault]:
        if len(values) != size:
            return Fault("misshapen", f"{name} has {len(values)} numbers, not {size}")
        if not (math.isfinite(sum(values)) or all(map(math.isfinite, values))) or not math.isfinite(stamp):
            return Fault("not_finite", f"{name} is not finite")
        port = self._ports.get(name)
        if name == "attitude" or (port is not None and port.quaternion_order is not None):
            if abs(math.sqrt(sum(value * value for value in values)) - 1.0) > UNIT:
                return Fault("out_of_range", f"{name} is no rotation: its length is not 1")
        if port is not None:
            if port.lower is not None and any(value < low for value, low in zip(values, port.lower)):
                return Fault("out_of_range", f"{name} is below what it can be: {min(values):.3g} {port.unit}")
            if port.upper is not None and any(value > high for value, high in zip(values, port.upper)):
                return Fault("out_of_range", f"{name} is above what it can be: {max(values):.3g} {port.unit}")
        return None


class Envelope:
    """The limits of a body's motion."""

    def __init__(self, limits: Limits) -> None:
        self._fence = limits.fence
        self._least_upright = None if limits.max_tilt_rad is None else math.cos(min(limits.max_tilt_rad, math.pi))
        self._max_tilt, self._max_speed = limits.max_tilt_rad, limits.max_speed_m_s
        rates: List[Tuple[int, str, Optional[float]]] = [
            (0, "roll", limits.max_roll_rate_rad_s),
            (1, "pitch", limits.max_pitch_rate_rad_s),
            (2, "yaw", limits.max_yaw_rate_rad_s),
        ]
        self._rates = tuple((axis, name, most) for axis, name, most in rates if most is not None)

    def fault(self, body: Body) -> Optional[Fault]:
        """The first limit that is left; what is not known is not judged (its age is)."""
        if body.attitude is not None and self._least_upright is not None:
            upright = upright_of(body.attitude)
            if upright < self._least_upright:
                tilt, most = math.degrees(math.acos(max(-1.0, upright))), math.degrees(self._max_tilt or 0.0)
                return Fault("tilt", f"the vehicle is tilted by {tilt:.0f}°; {most:.0f}° are allowed")
        if body.gyro is not None:
            for axis, name, most in self._rates:
                if abs(body.gyro[axis]) > most:
                    return Fault("rate", f"the {name} rate is {body.gyro[axis]:.1f} rad/s; {most:.1f} are allowed")
        if body.velocity is not None and self._max_speed is not None:
            speed = math.sqrt(sum(value * value for value in body.velocity))
            if speed > self._max_speed:
                return Fault("speed", f"the speed is {speed:.1f} m/s; {self._max_speed:.1f} are allowed")
        return self.outside(body)

    def outside(self, body: Body) -> Optional[Fault]:
        """Whether the vehicle left the geofence."""
        if body.position is not None:
            for axis, low, high, name in self._fence:
                if not low <= body.position[axis] <= high:
                    place = body.position[axis]
                    return Fault("geofence", f"{name} is {place:.2f} m; the geofence is from {low:.2f} to {high:.2f} m")
        return None


class Saturation:
    """Whether a command lies at one of its limits for too long."""

    def __init__(self, ports: Iterable[Port], longest: Optional[float]) -> None:
        self._longest = longest
        self._edges: List[Tuple[str, float, float]] = []
        for port in ports if longest is not None else ():
            if port.lower is not None and port.upper is not None:
                slack = 1e-3 * (port.upper[0] - port.lower[0])
                self._edges.append((port.name, port.lower[0] + slack, port.upper[0] - slack))
        self._since: Dict[str, float] = {}

    def reset(self) -> None:
        """Forget: the policy begins."""
        self._since.clear()

    def fault(self, commands: Dict[str, float], now: float) -> Optional[Fault]:
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
