"""Physical parameters that differ from episode to episode.

`conf/randomization/` gives a range per parameter name; the robot says what each name means (`Robot.parameters`): a
factor on fields of the model, or a state that its signals read. Values are drawn in the scene bank and applied when an
episode begins; a parameter without a range keeps its nominal value.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from robo_ppo.config import RandomizationConfig
from robo_ppo.env.robot import Parameter
from robo_ppo.env.scenes import Columns
from robo_ppo.env.signals import State
from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.sim.rows import Rows
from robo_ppo.sim.simulation import Simulation


class Randomization:
    """Draws and applies parameters."""

    def __init__(self, config: RandomizationConfig, parameters: Mapping[str, Parameter]) -> None:
        for name, limits in config.parameters.items():
            if name not in parameters:
                raise UserError(f"the robot has no parameter '{name}' to randomize; {did_you_mean(name, parameters)}")
            if len(limits) != 2 or not limits[0] <= limits[1]:
                raise UserError(f"randomization.parameters.{name} must be [lowest, highest], not {list(limits)}")
            if parameters[name].scales and limits[0] < 0:
                raise UserError(f"randomization.parameters.{name} are factors, so they must be ≥ 0, not {list(limits)}")
        if not config.measurement_errors >= 0:
            raise UserError(f"randomization.measurement_errors must be ≥ 0, not {config.measurement_errors}")
        self.ranges = {name: (float(limits[0]), float(limits[1])) for name, limits in config.parameters.items()}
        self.parameters = dict(parameters)

    def states(self) -> dict[str, State]:
        """Parameters that signals read."""
        return {n: State(unit=p.unit, initial=p.nominal) for n, p in self.parameters.items() if not p.scales}

    def column(self, name: str) -> str:
        """The column of the scene bank that holds a parameter's values."""
        return f"model.{name}" if self.parameters[name].scales else name

    def draws(self) -> dict[str, Callable[[np.random.Generator, int], Columns]]:
        """Columns for the scene bank, each with a random stream of its own."""

        def draw(name: str, low: float, high: float) -> Callable[[np.random.Generator, int], Columns]:
            column = self.column(name)
            return lambda rng, count: {column: rng.uniform(low, high, count).astype(np.float32)}

        return {f"parameter.{name}": draw(name, *limits) for name, limits in self.ranges.items()}

    def prepare(self, sim: Simulation) -> None:
        """Give every world its own values of the fields that will be scaled."""
        self._nominal: dict[str, Tensor] = {}
        self._scaled: dict[str, list[tuple[str, Tensor]]] = {}  # field → (column of the bank, mask of what it scales)
        for name in self.ranges:
            for scale in self.parameters[name].scales:
                sim.expand(scale.field)
                nominal = torch.as_tensor(getattr(sim.model, scale.field).copy(), device=sim.device)
                if not nominal.is_floating_point():
                    raise UserError(f"the parameter '{name}' cannot scale {scale.field}: its numbers are whole")
                mask = torch.ones_like(nominal, dtype=torch.bool)
                if scale.entries is not None:
                    mask[:] = False
                    mask[list(scale.entries)] = True
                self._nominal[scale.field] = nominal
                self._scaled.setdefault(scale.field, []).append((f"model.{name}", mask))

    def apply(self, sim: Simulation, rows: Rows, columns: Mapping[str, Tensor]) -> None:
        """Scale the model of some worlds by the drawn factors."""
        for field, scaled in self._scaled.items():
            values = self._nominal[field]
            for column, mask in scaled:
                factor = columns[column].to(values.dtype).reshape(-1, *[1] * mask.ndim)
                values = values * torch.where(mask, factor, 1.0)
            sim.write_model(field, values, rows)
        if self._scaled:
            sim.commit(rows)
