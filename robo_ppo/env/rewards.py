"""The reward: a weighted sum of terms, each a pure function of signals with one value per environment.

A term is "more is better" (a penalty returns negative values), its weight is at least 0, and nothing multiplies it by
the time step in secret. The configuration names terms, their weights and their settings:

    progress: {weight: 4.0}
    clearance_margin: {weight: 1.0, margin: 0.25}

A term is found in the reward program (`robo_ppo.env.language`) where there is one, then among the task's own.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from robo_ppo.env.signals import Quantity, Signal, SignalFunction, SignalTable, signature, where, with_settings
from robo_ppo.errors import UserError, did_you_mean

PREFIX = "reward."


class Reward:
    """Terms and weights; the terms become nodes `reward.<name>` of the signal table.

    `own` are the terms of a reward program; they come before those of the same name in `sources`.
    """

    def __init__(
        self,
        config: Mapping[str, Mapping[str, Any]],
        sources: Sequence[object],
        device: torch.device,
        own: Mapping[str, SignalFunction] | None = None,
    ) -> None:
        known = {**functions_of(sources), **(own or {})}
        self.names = tuple(config)
        self.signals: dict[str, Signal] = {}
        weights: list[float] = []
        for name, settings in config.items():
            if name not in known:
                raise UserError(f"there is no reward term '{name}'; {did_you_mean(name, known)}")
            weights.append(_weight(name, settings))
            function = with_settings(
                known[name], {k: v for k, v in settings.items() if k != "weight"}, f"reward.{name}"
            )
            inputs = signature(known[name])[0]
            self.signals[PREFIX + name] = Signal(PREFIX + name, function, inputs, Quantity())
        if not config:
            raise UserError("the reward has no terms")
        self.weights = torch.tensor(weights, device=device)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the terms in the signal graph."""
        return tuple(self.signals)

    def check(self, table: SignalTable) -> None:
        """Refuse terms that do not give one float per environment."""
        graph = table.graph(self.outputs)
        shapes, values = table.shapes(graph), table.on_meta(graph, 3)
        for name, found in self.signals.items():
            term, place = name.removeprefix(PREFIX), where(found.function)
            if shapes[name] != ():
                shape = f"(num_envs, {', '.join(map(str, shapes[name]))})"
                raise UserError(
                    f"the reward term '{term}' must return one value per environment, (num_envs,), not {shape} "
                    f"({place})"
                )
            if not values[name].is_floating_point():
                kind = str(values[name].dtype).removeprefix("torch.")
                raise UserError(f"the reward term '{term}' must return floats, not {kind}; use .float() ({place})")

    def terms(self, values: Mapping[str, Tensor]) -> Tensor:
        """Weighted terms (num_terms, num_envs); their sum over the first axis is the reward."""
        stacked = torch.stack([values[name] for name in self.outputs]).float()
        return stacked * self.weights.unsqueeze(1)


def functions_of(sources: Sequence[object]) -> dict[str, SignalFunction]:
    """Terms that the sources define themselves (not what they import), by name."""
    return {
        name: function
        for source in sources
        for name, function in inspect.getmembers(source, inspect.isfunction)
        if not name.startswith("_") and function.__module__ == getattr(source, "__name__", None)
    }


def _weight(name: str, settings: Mapping[str, Any]) -> float:
    weight = settings.get("weight")
    if not isinstance(weight, int | float) or isinstance(weight, bool) or weight < 0 or not weight < float("inf"):
        raise UserError(
            f"reward.{name}.weight must be a number ≥ 0, not {weight!r}; a penalty's term is itself negative"
        )
    return float(weight)
