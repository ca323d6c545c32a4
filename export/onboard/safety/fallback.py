"""What flies when the policy may not: laws of a few lines that share nothing with the policy but the commands' names.

    law = fallback_of(contract)
    commands = law.commands(body, climb=-0.4)    # level, sinking at 0.4 m/s

`level_rates` and `level_motors` hold a multirotor level, at a vertical speed, and brake what it drifts; without a valid
attitude they ask for no rotation and a little less thrust than hovering takes. `constant` is for whatever stays safe by
itself: it always gives the same numbers.

The laws keep no state, so nothing can be wrong in them that was wrong a tick ago.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Mapping, Sequence

from ..contract import Contract, Fallback, Port
from ..errors import UserError, did_you_mean
from ..vehicle import Body

GRAVITY = 9.81  # m/s²
BRAKING = 1.0  # 1/s: acceleration against a drift, for each m/s of it
MOST_BRAKING = 1.7  # m/s²: no more than 10° of tilt
CLIMBING = 5.0  # 1/s: vertical acceleration for each m/s that the vertical speed is off
SINKING = 0.93  # of the hover thrust, when nothing is known: the vehicle sinks, slowly
YAWING = 0.02  # of the total thrust, at most, to stop a turn: it is what rotors are weakest in
LEAST_UPRIGHT = 0.5  # cosine of the tilt up to which thrust makes up for it

Vector = Sequence[float]


class Law(ABC):
    """Commands that keep a vehicle safe."""

    def __init__(self, ports: Sequence[Port], numbers: Mapping[str, float]) -> None:
        self._ports = {port.name: port for port in ports}
        missing = [name for name in self.needs() if name not in numbers]
        if missing:
            raise UserError(f"the bundle's fallback lacks {', '.join(missing)}")
        self._numbers = dict(numbers)

    def needs(self) -> tuple[str, ...]:
        """Numbers that the law takes from the contract."""
        return ()

    @abstractmethod
    def commands(self, body: Body, climb: float = 0.0) -> dict[str, float]:
        """A number for each command, finite and within its limits, to go up at `climb` (m/s), 0 to stay."""

    def within(self, values: Mapping[str, float]) -> dict[str, float]:
        """The values, moved into the limits of their commands."""
        return {name: within(port, values[name]) for name, port in self._ports.items()}


class Constant(Law):
    """Always the same numbers: those of the contract, by the names of the commands."""

    def needs(self) -> tuple[str, ...]:
        """One number for each command."""
        return tuple(self._ports)

    def commands(self, body: Body, climb: float = 0.0) -> dict[str, float]:
        """The contract's numbers, whatever happens."""
        return self.within(self._numbers)


class LevelRates(Law):
    """A multirotor that takes collective thrust (N) and body rates (rad/s)."""

    outputs: tuple[str, ...] = ("collective_thrust", "roll_rate", "pitch_rate", "yaw_rate")

    def __init__(self, ports: Sequence[Port], numbers: Mapping[str, float]) -> None:
        super().__init__(ports, numbers)
        missing = [name for name in self.outputs if name not in self._ports]
        if missing:
            hint = did_you_mean(missing[0], self._ports)
            raise UserError(f"the bundle's fallback needs the command {missing[0]}; {hint}")
        for name in self.needs():
            if not name.startswith("yaw_sign") and not numbers[name] > 0.0:
                raise UserError(f"the bundle's fallback has {name}={numbers[name]:g}, which must be greater than 0")

    def needs(self) -> tuple[str, ...]:
        """Mass (kg), and the time (s) in which a tilt is taken back."""
        return ("mass", "tilt_time")

    def commands(self, body: Body, climb: float = 0.0) -> dict[str, float]:
        """Thrust and rates."""
        thrust, rates = self.thrust_and_rates(body, climb)
        return self.within(dict(zip(self.outputs, (thrust, *rates))))

    def thrust_and_rates(self, body: Body, climb: float) -> tuple[float, tuple[float, float, float]]:
        """Collective thrust (N) and body rates (rad/s) towards level flight.

        The wanted direction of body z is straight up, leaning against the drift; the rates turn body z there on the
        shortest way (the cross product of the two, in the body frame), in about `tilt_time`.
        """
        weight = self._numbers["mass"] * GRAVITY
        if body.attitude is None:
            return SINKING * weight, (0.0, 0.0, 0.0)
        rows = rotation(body.attitude)
        upright = rows[2][2]
        wanted = _leaning(body.velocity)
        # World vectors in the body frame: multiply by the transposed rotation.
        x = rows[0][0] * wanted[0] + rows[1][0] * wanted[1] + rows[2][0] * wanted[2]
        y = rows[0][1] * wanted[0] + rows[1][1] * wanted[1] + rows[2][1] * wanted[2]
        rates = (-y / self._numbers["tilt_time"], x / self._numbers["tilt_time"], 0.0)
        if body.velocity is None:
            lift = 1.0 if climb >= 0.0 else SINKING
        else:
            lift = 1.0 + CLIMBING * (climb - body.velocity[2]) / GRAVITY
        return (max(0.0, lift) * weight / max(upright, LEAST_UPRIGHT) if upright > 0.0 else 0.0), rates


class LevelMotors(LevelRates):
    """A quadrotor whose rotors are told their thrust (N), with a rate loop and the inverse of its mixer."""

    outputs = ("thrust_front_left", "thrust_front_right", "thrust_back_left", "thrust_back_right")
    signs = ((1.0, -1.0), (-1.0, -1.0), (1.0, 1.0), (-1.0, 1.0))  # of roll and pitch torque for each rotor's thrust

    def needs(self) -> tuple[str, ...]:
        """Besides: inertias (kg·m²), the rate loop's time (s), arms along x and y (m), torque per thrust (m), signs."""
        yaw = tuple(f"yaw_sign_{name.partition('_')[2]}" for name in self.outputs)
        inertia = ("inertia_x", "inertia_y", "inertia_z")
        return (*super().needs(), *inertia, "rate_time", "rotor_offset", "torque_per_thrust", *yaw)

    def commands(self, body: Body, climb: float = 0.0) -> dict[str, float]:
        """The thrust of every rotor: torque = inertia · (wanted - rate) / time, shared among the four."""
        numbers = self._numbers
        total, rates = self.thrust_and_rates(body, climb)
        gyro = body.gyro or rates
        torque = [
            numbers[f"inertia_{axis}"] * (rate - now) / numbers["rate_time"]
            for axis, rate, now in zip("xyz", rates, gyro)
        ]
        arm, reaction = 4.0 * numbers["rotor_offset"], 4.0 * numbers["torque_per_thrust"]
        most = YAWING * numbers["mass"] * GRAVITY
        turn = max(-most, min(most, torque[2] / reaction))
        shares = {
            name: roll * torque[0] / arm
            + pitch * torque[1] / arm
            + numbers[f"yaw_sign_{name.partition('_')[2]}"] * turn
            for name, (roll, pitch) in zip(self.outputs, self.signs)
        }
        return self.within(self._together(total / len(shares), shares))

    def _together(self, mean: float, shares: Mapping[str, float]) -> dict[str, float]:
        """Rotors' thrusts around a mean, which gives way where a rotor would leave its limits: level comes first."""
        edges = [(port.lower or (0.0,), port.upper or (math.inf,)) for port in self._ports.values()]
        low, high = max(low[0] for low, _ in edges), min(high[0] for _, high in edges)
        mean = max(min(mean, high - max(shares.values())), low - min(shares.values()))
        return {name: mean + share for name, share in shares.items()}


KINDS: dict[str, type[Law]] = {"constant": Constant, "level_rates": LevelRates, "level_motors": LevelMotors}


def fallback_of(contract: Contract) -> Law:
    """The law of a bundle; UserError where it is unknown here or does not fit the commands."""
    fallback: Fallback = contract.fallback
    if fallback.kind not in KINDS:
        raise UserError(f"the bundle's fallback is '{fallback.kind}'; {did_you_mean(fallback.kind, KINDS)}")
    return KINDS[fallback.kind](contract.outputs, fallback.numbers)


def within(port: Port, value: float) -> float:
    """A command moved into its limits; what is not a number becomes the middle of them, or 0."""
    low = -math.inf if port.lower is None else port.lower[0]
    high = math.inf if port.upper is None else port.upper[0]
    if math.isnan(value):
        middle = 0.5 * (low + high)
        return middle if math.isfinite(middle) else min(max(0.0, low), high)
    return min(max(value, low), high)


def rotation(attitude: Vector) -> tuple[tuple[float, float, float], ...]:
    """The rotation matrix (rows) of a unit quaternion wxyz, from body to world."""
    w, x, y, z = attitude
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )


def _leaning(velocity: Vector | None) -> tuple[float, float, float]:
    """The unit vector straight up, leaning against a drift (m/s)."""
    if velocity is None:
        return 0.0, 0.0, 1.0
    x, y = -BRAKING * velocity[0], -BRAKING * velocity[1]
    scale = min(1.0, MOST_BRAKING / max(math.hypot(x, y), 1e-9))
    x, y = x * scale, y * scale
    length = math.sqrt(x * x + y * y + GRAVITY * GRAVITY)
    return x / length, y / length, GRAVITY / length
