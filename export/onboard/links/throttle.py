"""Thrust in newtons to a part of full throttle: by the bundle's points, or by those measured on one's own vehicle.

    throttle = Throttle.of(port, own)            # own: (N, part, N, part, …) as in link.throttle=0,0.06,0.42,0.5,0.8,1
    throttle.part(0.4)                           # → 0.48

What a flight controller makes of throttle is its own affair (mixer, thrust curve, battery): measure it as it will fly,
on a scale, or hovering with different loads. Four to ten points do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Sequence, Tuple

from ..contract import Port
from ..errors import UserError

Points = Sequence[Tuple[float, float]]


@dataclass(frozen=True)
class Throttle:
    """Points (N, part of full throttle), rising; linear between them, and level beyond."""

    points: Points

    @staticmethod
    def of(port: Port, own: Sequence[float] = ()) -> Throttle:
        """The map of a command of thrust; `own` numbers, in pairs, replace the bundle's. UserError for a bad one."""
        if len(own) % 2:
            raise UserError("link.throttle must be pairs of a thrust (N) and a part of full throttle: N,part,N,part,…")
        points = tuple(zip(own[::2], own[1::2])) or port.throttle
        if points is None:
            raise UserError(
                f"the bundle does not say which part of full throttle gives which {port.name}: measure it, and pass "
                "link.throttle=N,part,N,part,…"
            )
        try:
            replace(port, throttle=points)  # checks that they rise
        except ValueError as error:
            raise UserError(f"link.throttle: {error}") from error
        if port.upper is not None and points[-1][0] < 0.9 * port.upper[0]:
            raise UserError(
                f"full throttle gives {points[-1][0]:g} N; the policy was trained with up to {port.upper[0]:g} N"
            )
        return Throttle(points)

    def part(self, thrust: float) -> float:
        """Part of full throttle, 0 to 1, for a thrust (N)."""
        points = self.points
        if thrust <= points[0][0]:
            return points[0][1]
        for (x, y), (next_x, next_y) in zip(points, points[1:]):
            if thrust <= next_x:
                return y + (next_y - y) * (thrust - x) / (next_x - x)
        return points[-1][1]
