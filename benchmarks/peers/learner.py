"""What the benchmark asks of a learner: to train, and to report after each iteration.

Every learner is a module of this package. From a run's configuration it builds its training environment, with the
interface that its users use, and takes what all learners must share: the network, the rollout, the epochs and the
minibatches, the discount.
"""

import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

from robo_ppo.config import RunConfig
from robo_ppo.errors import UserError
from robo_ppo.run.episodes import Act


@dataclass(frozen=True)
class Iteration:
    """One rollout and what was learnt from it."""

    collect: float  # s
    update: float  # s
    policy: Callable[[], Act]  # makes a copy of the policy as it is now, without its noise


After = Callable[[Iteration], None]


class Learner(Protocol):
    """A module of this package."""

    DISTRIBUTIONS: tuple[str, ...]  # the installed packages that it is made of
    SOURCES: tuple[str, ...]  # where its settings are documented

    def settings(self, config: RunConfig) -> dict[str, Any]:
        """All that it was told, for the record."""
        ...

    def train(self, config: RunConfig, after: After) -> None:
        """Train for `config.total_steps`, and call `after` when an iteration is done."""
        ...


MODULES = {
    "ours": "ours",
    "rsl_rl": "with_rsl_rl",
    "skrl": "with_skrl",
    "stable_baselines3": "with_stable_baselines3",
}
"""Learner → its module in this package."""

NAMES = {"ours": "robo_ppo", "rsl_rl": "rsl_rl", "skrl": "skrl", "stable_baselines3": "Stable-Baselines3"}
"""Learner → its name for readers."""


def load(name: str) -> Learner:
    """A learner by name; the others, and their libraries, are not imported."""
    try:
        return cast(Learner, importlib.import_module(f"benchmarks.peers.{MODULES[name]}"))
    except ModuleNotFoundError as error:
        raise UserError(f"{name} needs {error.name}: pip install 'robo-ppo[peers]'") from error


def steps_of_iteration(config: RunConfig) -> int:
    """Environment steps of one iteration."""
    return config.num_envs * config.ppo.horizon


def iterations(config: RunConfig) -> int:
    """Iterations until `total_steps` are reached."""
    return math.ceil(config.total_steps / steps_of_iteration(config))
