"""Worlds whose state is no longer finite: which ones, and what a replay of the first of them needs.

A step may not ask the device anything, so it only notes, on the device, the first world that broke since somebody last
looked; `take` looks, once in an iteration.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from robo_ppo.env.vector import BrokenWorld
from robo_ppo.sim.rows import Rows

REPLAYED = ("qpos", "qvel", "act")  # fields that, with the command and the forces, determine the next step
LARGEST = 1e10  # a state beyond it is as good as infinite, as in MuJoCo (mjMAXVAL)
# An action that is not finite breaks the world, not the other way round; and velocities move the positions.
_SUSPECTS = ("ctrl", "qvel", "qpos")
_NOW = "now/"


def is_broken(qpos: Tensor, qvel: Tensor, action: Tensor) -> Tensor:
    """Where (num_envs,) a state or an action is not finite, or beyond all measure."""
    return ~(torch.cat((qpos, qvel, action), 1).abs().amax(1) < LARGEST)


class BrokenWorlds:
    """The first world that broke since the last `take`."""

    def __init__(self, device: torch.device) -> None:
        self._found = torch.zeros((), dtype=torch.bool, device=device)
        self._kept: dict[str, Tensor] = {}

    def note(self, broken: Rows, before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> None:
        """Keep the first broken row of what was before the step, and of the state now, unless one is kept already.

        All tensors are (num_envs, ...), or zero-dimensional where all worlds share them.
        """
        row = broken.mask.to(torch.uint8).argmax().reshape(1)
        fresh = broken.mask.any() & ~self._found
        for name, values in {**before, **{_NOW + name: now[name] for name in _SUSPECTS}}.items():
            value = values.index_select(0, row).squeeze(0) if values.ndim else values
            if name not in self._kept:
                self._kept[name] = torch.zeros_like(value)
            self._kept[name].copy_(torch.where(fresh, value, self._kept[name]))
        self._found |= fresh

    def take(self) -> BrokenWorld | None:
        """The first world that broke since the last call, if one did."""
        if not bool(self._found):
            return None
        self._found.zero_()
        kept = {name: values.clone().cpu() for name, values in self._kept.items()}
        now = {name: kept.pop(_NOW + name) for name in _SUSPECTS}
        first = next((name for name in _SUSPECTS if not bool((now[name].abs() < LARGEST).all())), "ctrl")
        return BrokenWorld(int(kept.pop("episode")), int(kept.pop("step")), first, kept)
