"""What a flight must not leave, and how long the safety net waits: from the bundle, narrowed by a YAML file.

    limits = Limits.of(contract, read_limits("limits.yaml"))

The bundle gives the envelope that the policy was trained in. A file of one's own may narrow it (a smaller room, a lower
speed), never widen it, and sets everything else: times, battery, the height of the launch. A file is flat:

    max_speed_m_s: 1.5
    max_z_m: 2.0
    min_battery: 0.3
    max_age_s: {default: 0.05, goal: 5.0}
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Mapping, cast

from ..contract import Contract
from ..errors import UserError, did_you_mean

DEFAULT_AGE = "default"
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Limits:
    """All numbers of the safety net; None is no limit. Angles in rad, times in s, positions in the world frame."""

    # The envelope: what the policy was trained in. A bundle gives these, a file may only narrow them.
    max_tilt_rad: float | None = None  # between body z and the vertical
    max_roll_rate_rad_s: float | None = None
    max_pitch_rate_rad_s: float | None = None
    max_yaw_rate_rad_s: float | None = None
    max_speed_m_s: float | None = None
    min_x_m: float | None = None  # the geofence
    max_x_m: float | None = None
    min_y_m: float | None = None
    max_y_m: float | None = None
    min_z_m: float | None = None
    max_z_m: float | None = None
    max_saturation_s: float | None = None  # that a command may lie at its limit without a break

    # The loop. Times in control periods, since what is late is so by the policy's clock.
    max_age_s: Mapping[str, float] = field(default_factory=dict)  # by measurement, or `default`: two control periods
    deadline: float = 0.8  # part of a control period by which the policy must have answered
    max_missed_deadlines: int = 1  # in a row
    max_overrun: float = 2.5  # control periods from one tick to the next
    max_silence_s: float = 2.5  # of the vehicle

    # The flight.
    min_battery: float = 0.2  # part of full; below it the vehicle comes down
    min_launch_battery: float = 0.4
    max_launch_tilt_rad: float = 0.35  # of the vehicle on the ground
    launch_height_m: float = 1.0
    launch_speed_m_s: float = 0.4
    max_launch_s: float = 15.0
    ramp_s: float = 0.5  # from nothing to all of the policy's command
    max_engage_s: float = 3.0  # that the vehicle may take to follow
    hover_s: float = 2.0  # of the fallback, before it goes down
    descend_speed_m_s: float = 0.4
    touchdown_height_m: float = 0.08
    max_blind_descend_s: float = 8.0  # without knowing the height, before the motors stop

    def __post_init__(self) -> None:
        """Refuse what cannot be kept."""
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            numbers = value.values() if isinstance(value, Mapping) else [value]
            for number in numbers:
                if number is None:
                    continue
                if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
                    raise ValueError(f"{item.name} must be a number, not {number!r}")
                if not item.name.endswith("_m") and number < 0.0:
                    raise ValueError(f"{item.name} must not be negative, as {number} is")
        for axis in AXES:
            low, high = getattr(self, f"min_{axis}_m"), getattr(self, f"max_{axis}_m")
            if low is not None and high is not None and not low < high:
                raise ValueError(f"min_{axis}_m={low} is not below max_{axis}_m={high}")
        if not 0.0 < self.deadline <= 1.0:
            raise ValueError(f"deadline={self.deadline} must be a part of the control period, from 0 to 1")

    @staticmethod
    def of(contract: Contract, given: Mapping[str, Any] | None = None) -> Limits:
        """The limits of a bundle, narrowed by those `given`; UserError for what is unknown, wrong or wider."""
        try:
            own = Limits(**_known(contract.limits, "the bundle's limits"))
            limits = dataclasses.replace(own, **_known(given or {}, "limits"))
        except ValueError as error:
            raise UserError(f"limits: {error}") from error
        measured = {port.name for port in contract.inputs} | {DEFAULT_AGE}
        for name in limits.max_age_s:
            if name not in measured:
                hint = did_you_mean(name, measured)
                raise UserError(f"limits: max_age_s has '{name}', which is not measured; {hint}")
        for name in ENVELOPE:
            before, now = getattr(own, name), getattr(limits, name)
            if before is None:
                continue
            if now is None or (now > before if name.startswith("max_") else now < before):
                raise UserError(
                    f"limits: {name}={now} is wider than the {before:g} that the policy was trained in; a file can "
                    "only narrow what the bundle says"
                )
        return limits

    def watched(self) -> dict[str, list[str]]:
        """Measurements that must be known to keep these limits, with the limits that need each."""
        needs: dict[str, list[str]] = {}
        for name in ENVELOPE:
            if getattr(self, name) is not None and name in WATCHES:
                needs.setdefault(WATCHES[name], []).append(name)
        return needs

    def age_of(self, measurement: str, period: float) -> float:
        """How old (s) a measurement may be."""
        return self.max_age_s.get(measurement, self.max_age_s.get(DEFAULT_AGE, 2.0 * period))

    @property
    def fence(self) -> tuple[tuple[int, float, float, str], ...]:
        """The geofence: axis, lowest, highest, and the axis' name, for every axis that has a limit."""
        sides = [(getattr(self, f"min_{axis}_m"), getattr(self, f"max_{axis}_m")) for axis in AXES]
        return tuple(
            (number, -math.inf if low is None else low, math.inf if high is None else high, AXES[number])
            for number, (low, high) in enumerate(sides)
            if low is not None or high is not None
        )


WATCHES: dict[str, str] = {
    "max_tilt_rad": "attitude",
    "max_roll_rate_rad_s": "gyro",
    "max_pitch_rate_rad_s": "gyro",
    "max_yaw_rate_rad_s": "gyro",
    "max_speed_m_s": "velocity",
    **{f"{side}_{axis}_m": "position" for axis in AXES for side in ("min", "max")},
}
"""The measurement that each limit is about."""

ENVELOPE: tuple[str, ...] = (*WATCHES, "max_saturation_s")
"""Limits that a bundle gives and a file may only narrow."""


def read_limits(path: str | Path) -> dict[str, Any]:
    """The content of a YAML file of limits; UserError where it cannot be read or is no map."""
    import yaml  # a run without a file need not wait for it

    try:
        content: object = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the limits in {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is no YAML file: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path} must be a map of limits, as 'max_speed_m_s: 1.5'")
    return cast(Dict[str, Any], content)


def _known(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    names = [item.name for item in dataclasses.fields(Limits)]
    for name in given:
        if name not in names:
            raise UserError(f"{where}: there is no '{name}'; {did_you_mean(str(name), names)}")
    if not isinstance(given.get("max_age_s", {}), Mapping):
        return {**given, "max_age_s": {DEFAULT_AGE: given["max_age_s"]}}
    return dict(given)
