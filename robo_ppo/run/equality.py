"""Ranks must be equal: in what they run, seen before anything begins, and in what they have learnt, at each checkpoint.

Data-parallel training rests on it. All ranks take the same step from the same mean gradient, so their weights are the
same bits for ever, without ever being exchanged. Where they are not, something is wrong that no average mends.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from robo_ppo.config import RunConfig
from robo_ppo.errors import UserError
from robo_ppo.learn.ppo import PPOState
from robo_ppo.run.distributed import Ranks
from robo_ppo.run.folder import versions

_MAY_DIFFER = ("runs",)  # where the folders lie is each machine's affair
_LEARNT = ("model", "optimizer", "learning_rate", "return_moments")  # the rest is each rank's own


class RanksDiffer(RuntimeError):
    """Ranks have come to hold different weights: a fault of the program, or of a machine."""


def refuse_unequal(ranks: Ranks, config: RunConfig) -> None:
    """A `UserError`, on all ranks, unless all have been started with the same settings and the same software."""
    everyone = ranks.gather((_settings(config), versions(), _processor(config)))
    ranks.decide(lambda: _compare(everyone))


def _compare(everyone: Sequence[tuple[dict[str, Any], dict[str, str], str]]) -> None:
    settings, software, processor = everyone[0]
    for rank, (other_settings, other_software, other_processor) in enumerate(everyone):
        for key in settings | other_settings:
            one, other = settings.get(key, "nothing"), other_settings.get(key, "nothing")
            if one != other:
                raise UserError(
                    f"unequal ranks: rank {rank} was started with {key}={other}, rank 0 with {key}={one}; "
                    "start all of them with the same arguments"
                )
        for name, version in software.items():
            if other_software[name] != version:
                raise UserError(
                    f"unequal ranks: rank {rank} has {name} {other_software[name]}, rank 0 has {version}; "
                    "install the same on all machines"
                )
        if other_processor != processor:
            raise UserError(
                f"unequal ranks: rank {rank} computes on {other_processor}, rank 0 on {processor}, and they round "
                "differently; take machines of one kind, or on CPUs set ATEN_CPU_CAPABILITY=avx2 everywhere"
            )


def _settings(config: RunConfig) -> dict[str, Any]:
    """All settings by their full names, but for those that may differ."""
    flat: dict[str, Any] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for name, part in value.items():
                add(f"{prefix}.{name}" if prefix else str(name), part)
        else:
            flat[prefix] = value

    add("", dataclasses.asdict(config))
    return {key: value for key, value in flat.items() if key not in _MAY_DIFFER}


def _processor(config: RunConfig) -> str:
    """What decides how the optimiser's steps are rounded."""
    if config.device.startswith("cuda"):
        return torch.cuda.get_device_name()
    return f"a CPU with {torch.backends.cpu.get_cpu_capability()}"


def assert_learnt_the_same(states: Sequence[PPOState], steps: int) -> None:
    """A `RanksDiffer` unless what the ranks (in order) have learnt is the same, bit for bit."""
    first = _learnt(states[0])
    for rank, state in enumerate(states[1:], 1):
        for name, values in _learnt(state).items():
            if not _same_bits(values, first[name]):
                apart = (values.double() - first[name].double()).abs().max()
                raise RanksDiffer(
                    f"after {steps:,} steps {name} on rank {rank} differs from rank 0's, by up to {float(apart):.3g}. "
                    "Ranks learn from the same gradients, so this is a fault of the program or of a machine. "
                    "This state was not saved; the checkpoint before it is whole."
                )


def _learnt(state: PPOState) -> dict[str, Tensor]:
    flat: dict[str, Tensor] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, Tensor):
            flat[prefix] = value
        elif isinstance(value, Mapping):
            for name, part in value.items():
                add(f"{prefix}.{name}", part)

    for name in _LEARNT:
        add(name, state[name])
    return flat


def _same_bits(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.reshape(-1).view(torch.uint8), other.reshape(-1).view(torch.uint8))
