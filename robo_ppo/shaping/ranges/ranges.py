"""Ranges of physical parameters as a text: what one candidate of `target=randomization` is.

    ranges = ranges_of(config.randomization)
    config = applied(config, ranges)                                  # train with them
    again = parse_ranges(ranges.text, "best_randomization.yaml")

The text is the YAML of a file in `conf/randomization/`. So a person can read each candidate, and train on it:
`python train.py task=uav_nav randomization=my_ranges.yaml`.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from robo_ppo.config import RandomizationConfig, RunConfig, parse


@dataclass(frozen=True)
class Ranges:
    """Lowest and highest value of each parameter that is randomized, and the factor on all sensor errors."""

    parameters: Mapping[str, tuple[float, float]]
    measurement_errors: float
    reason: str = ""  # a comment above them

    @property
    def text(self) -> str:
        """The YAML of a choice of `conf/randomization/`."""
        comment = "".join(f"# {line}\n" for line in self.reason.splitlines() if line.strip())
        lines = [f"  {name}: [{_number(low)}, {_number(high)}]\n" for name, (low, high) in self.parameters.items()]
        listed = f"parameters:\n{''.join(lines)}" if lines else "parameters: {}\n"
        return f"{comment}{listed}measurement_errors: {_number(self.measurement_errors)}\n"

    @property
    def settings(self) -> str:
        """The text without the reason: equal where the ranges are."""
        return dataclasses.replace(self, reason="").text

    @property
    def config(self) -> RandomizationConfig:
        """The same for a run's configuration, to as many digits as the text has."""
        return parse(self.text, "the ranges", RandomizationConfig)


def ranges_of(config: RandomizationConfig, reason: str = "") -> Ranges:
    """The ranges of a configuration."""
    pairs = {name: (float(limits[0]), float(limits[1])) for name, limits in config.parameters.items()}
    return Ranges(pairs, float(config.measurement_errors), reason)


def parse_ranges(text: str, where: str) -> Ranges:
    """Ranges from their text; a `UserError` where it is not one."""
    comment = [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]
    return ranges_of(parse(text, where, RandomizationConfig), "\n".join(comment))


def applied(config: RunConfig, ranges: Ranges) -> RunConfig:
    """The same run with these ranges."""
    return dataclasses.replace(config, randomization=ranges.config)


def _number(value: float) -> str:
    """Six digits, and a point: a whole number would be of another type."""
    return repr(float(f"{value:.6g}"))
