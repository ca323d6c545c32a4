"""From what is true to what the vehicle measures: noise, bias, dropout and delay, per measurement.

    sensors = Sensors(layout, config, control_period, num_envs, device)
    measured = sensors.read(true, generator)             # once in every control step
    measured = sensors.begin(rows, true, draws, generator)  # when episodes begin

A sample is first disturbed (bias, constant in an episode; noise, new in every sample), then it takes its way to the
controller (delay, between two control steps by linear interpolation), and it may get lost there (dropout: the
controller sees the last sample again). Rotations are disturbed by a rotation vector in rad and stay unit quaternions.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from robo_ppo.config import MeasurementConfig
from robo_ppo.env.rotations import perturb
from robo_ppo.env.scenes import Columns
from robo_ppo.env.signals import Quantity
from robo_ppo.errors import UserError
from robo_ppo.sim.rows import Rows


@dataclass(frozen=True)
class Measured:
    """A measurement's place in the layout."""

    name: str
    shape: tuple[int, ...]
    quantity: Quantity
    errors: MeasurementConfig

    @property
    def is_rotation(self) -> bool:
        """Whether it is a unit quaternion."""
        return self.quantity.unit == "quaternion"

    @property
    def error_size(self) -> int:
        """Length of its error: a rotation has three degrees of freedom in four numbers."""
        return 3 if self.is_rotation else math.prod(self.shape)


class DelayLine:
    """Samples (num_envs, d) of the last control steps, read at a delay (num_envs,) in control steps."""

    def __init__(self, num_envs: int, size: int, longest: float, device: torch.device) -> None:
        self.samples = torch.zeros(math.ceil(longest) + 1, num_envs, size, device=device)
        self.delay = torch.zeros(num_envs, device=device)
        self._rows = torch.arange(num_envs, device=device)

    def push(self, sample: Tensor) -> Tensor:
        """Add the newest sample and return the delayed one."""
        self.samples = torch.cat((sample.unsqueeze(0), self.samples[:-1]))
        newer = self.delay.long()
        older = (newer + 1).clamp_max(len(self.samples) - 1)
        fraction = (self.delay - newer).unsqueeze(1)
        return torch.lerp(self.samples[newer, self._rows], self.samples[older, self._rows], fraction)

    def begin(self, rows: Rows, sample: Tensor, delay: Tensor) -> None:
        """Fill the past of some environments with their first sample (len(rows), d)."""
        rows.write(self.samples, sample.expand(len(self.samples), *sample.shape), dim=1)
        rows.write(self.delay, delay)

    def carried(self) -> dict[str, Tensor]:
        """What one step hands to the next."""
        return {"samples": self.samples, "delay": self.delay}

    def carry(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from these tensors, themselves."""
        self.samples, self.delay = tensors["samples"], tensors["delay"]


class Sensors:
    """All measurements of a task, for every environment."""

    def __init__(self, layout: Sequence[Measured], control_period: float, num_envs: int, device: torch.device) -> None:
        # Only what is disturbed costs anything.
        self.layout = tuple(layout)
        self._disturbed = [m for m in layout if m.errors.noise > 0 or m.errors.bias > 0]
        sizes = [m.error_size for m in self._disturbed]
        self._error_slices = dict(zip([m.name for m in self._disturbed], _slices(sizes), strict=True))
        self._noise = _per_number([m.errors.noise for m in self._disturbed], sizes, device)
        self._bias_std = _per_number([m.errors.bias for m in self._disturbed], sizes, device)
        self.bias = torch.zeros(num_envs, sum(sizes), device=device)
        self.lines = {
            m.name: DelayLine(num_envs, math.prod(m.shape), m.errors.delay[1] / control_period, device)
            for m in layout
            if m.errors.delay[1] > 0
        }
        self.held = {
            m.name: torch.zeros(num_envs, math.prod(m.shape), device=device) for m in layout if m.errors.dropout > 0
        }
        self._control_period = control_period

    def draws(self) -> dict[str, Callable[[np.random.Generator, int], Columns]]:
        """Columns for the scene bank: what is constant through an episode."""

        def bias(rng: np.random.Generator, count: int) -> Columns:
            return {"sensors.bias": rng.standard_normal((count, self.bias.shape[1]), dtype=np.float32)}

        def delay_of(name: str) -> Callable[[np.random.Generator, int], Columns]:
            return lambda rng, count: {f"sensors.delay.{name}": rng.random(count, dtype=np.float32)}

        return {"sensors.bias": bias, **{f"sensors.delay.{name}": delay_of(name) for name in self.lines}}

    def read(self, true: Mapping[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """One sample of each measurement, by name, from true values (num_envs, *shape)."""
        disturbed = self._disturb(true, self.bias, generator)
        measured: dict[str, Tensor] = {}
        for m in self.layout:
            sample = _flat(disturbed[m.name])
            if m.name in self.lines:
                sample = self.lines[m.name].push(sample)
                if m.is_rotation:
                    sample = sample / sample.norm(dim=1, keepdim=True)
            if m.name in self.held:
                lost = torch.rand(len(sample), 1, generator=generator, device=sample.device) < m.errors.dropout
                sample = torch.where(lost, self.held[m.name], sample)
                self.held[m.name] = sample
            measured[m.name] = sample.reshape(-1, *m.shape)
        return measured

    def begin(
        self, rows: Rows, true: Mapping[str, Tensor], draws: Mapping[str, Tensor], generator: torch.Generator
    ) -> dict[str, Tensor]:
        """First samples of some environments' new episodes, from true values and the bank's columns."""
        bias = draws["sensors.bias"] * self._bias_std
        rows.write(self.bias, bias)
        measured = self._disturb(true, bias, generator)
        for m in self.layout:
            sample = _flat(measured[m.name])
            if m.name in self.lines:
                low, high = (limit / self._control_period for limit in m.errors.delay)
                self.lines[m.name].begin(rows, sample, low + (high - low) * draws[f"sensors.delay.{m.name}"])
            if m.name in self.held:
                rows.write(self.held[m.name], sample)
        return measured

    def tell(self, rows: Rows, samples: Mapping[str, Tensor]) -> None:
        """Forget the past of some measurements in some environments: what the vehicle is told is new from now on."""
        for name, sample in samples.items():
            flat = _flat(sample)
            if name in self.lines:
                self.lines[name].begin(rows, flat, rows.take(self.lines[name].delay))
            if name in self.held:
                self.held[name] = rows.put(self.held[name], flat)

    def carried(self) -> dict[str, Tensor]:
        """All that the next sample depends on: the tensors themselves."""
        tensors = {"bias": self.bias} | {f"held/{name}": values for name, values in self.held.items()}
        for name, line in self.lines.items():
            tensors |= {f"{field}/{name}": values for field, values in line.carried().items()}
        return tensors

    def carry(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from these tensors, themselves."""
        self.bias = tensors["bias"]
        for name, line in self.lines.items():
            line.carry({field: tensors[f"{field}/{name}"] for field in line.carried()})
        self.held = {name: tensors[f"held/{name}"] for name in self.held}

    def _disturb(self, true: Mapping[str, Tensor], bias: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        samples = {m.name: true[m.name] for m in self.layout}
        if not self._disturbed:
            return samples
        noise = torch.randn(bias.shape, generator=generator, device=bias.device)
        error = torch.addcmul(bias, noise, self._noise)
        for m in self._disturbed:
            part = error[:, self._error_slices[m.name]]
            sample = samples[m.name]
            samples[m.name] = perturb(sample, part) if m.is_rotation else sample + part.reshape(sample.shape)
        return samples


def scaled(errors: MeasurementConfig, factor: float, name: str) -> MeasurementConfig:
    """The same errors, `factor` times as large; what makes no sense is refused."""
    low, high = errors.delay if len(errors.delay) == 2 else (1.0, 0.0)
    if not 0 <= low <= high:
        raise UserError(f"measurements.{name}.delay must be [shortest, longest] in seconds, not {list(errors.delay)}")
    if errors.noise < 0 or errors.bias < 0 or not 0 <= errors.dropout < 1:
        raise UserError(f"measurements.{name}: noise and bias must be ≥ 0, dropout in [0, 1)")
    if not errors.dropout * factor < 1:
        raise UserError(f"measurements.{name}: a dropout of {errors.dropout} times {factor} would lose every sample")
    return MeasurementConfig(
        noise=errors.noise * factor,
        bias=errors.bias * factor,
        dropout=errors.dropout * factor,
        delay=[low * factor, high * factor],
    )


def _flat(sample: Tensor) -> Tensor:
    """Numbers side by side (n, d); a measurement may also be a single number (n,)."""
    return sample.reshape(len(sample), -1)


def _slices(sizes: list[int]) -> list[slice]:
    ends = np.cumsum(sizes).tolist()
    return [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def _per_number(values: list[float], sizes: list[int], device: torch.device) -> Tensor:
    numbers = [value for value, size in zip(values, sizes, strict=True) for _ in range(size)]
    return torch.tensor(numbers, dtype=torch.float32, device=device)
