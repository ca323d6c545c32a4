"""Flies a policy through validation or test episodes with parameters of one's choice: sweeps and scores are made of it.

    pilot = pilot_of(config, run_folder / "checkpoints" / "best.pt")        # or an exported policy.onnx
    success = fly(config, pilot, 100, {"mass": np.repeat([0.5, 1.0, 2.0], 100)}).outcome == SUCCESS

The same episodes again and again, each time with other values: three vehicles of different mass meet the same 100
scenes, side by side in one batch. A parameter that is not named keeps its nominal value. Nothing here is drawn but the
sensors' errors, so a flight can be repeated exactly.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from robo_ppo.config import RandomizationConfig, RunConfig
from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment
from robo_ppo.env.scenes import Split, seed_of
from robo_ppo.env.vector import Observation
from robo_ppo.run import checkpoint
from robo_ppo.run.episodes import Episodes, joined, run_episodes
from robo_ppo.run.evaluate import OnnxPilot
from robo_ppo.run.greedy import Greedy
from robo_ppo.run.resolve import on_cpu
from robo_ppo.run.threads import one_torch_thread
from robo_ppo.run.train import load_model, make_model
from robo_ppo_onboard.bundle import read_bundle

AT_ONCE = 4096  # episodes that fly side by side, about
GUST_SECONDS = 0.5  # in which a gust forgets itself


class Pilot(Protocol):
    """Flies every environment."""

    def begin(self) -> None:
        """Forget what was remembered of the last episodes."""
        ...

    def act(self, observation: Observation, /) -> Tensor:
        """Actions (num_envs, action_size)."""
        ...


PilotOf = Callable[[Environment], Pilot]
"""Whoever flies, for given environments."""

Values = Mapping[str, np.ndarray]
"""Parameters by name, each with a value for every episode; episode i has the start and the scene of i % count."""


def pilot_of(config: RunConfig, policy: Path) -> PilotOf:
    """The policy of a checkpoint of a run with this configuration, or of an exported bundle, without its noise."""
    if policy.suffix == ".onnx":
        bundle = read_bundle(policy)
        return lambda environment: OnnxPilot(environment, bundle)
    weights = checkpoint.read(policy)["model"]

    def made(environment: Environment) -> Pilot:
        model = make_model(config, environment.observation_sizes, environment.action_size)
        load_model(model, weights, str(policy))
        return Greedy(model, environment.num_envs)

    return made


def fly(
    config: RunConfig,
    pilot: PilotOf,
    count: int,
    values: Values | None = None,
    *,
    split: Split = "validation",
    first: int = 0,
    gusts: Mapping[str, float] | None = None,
) -> Episodes:
    """Fly `count` episodes of a split, from `first` on, once for each time that many values are given.

    The configuration's task and sensor errors hold, its ranges do not. `gusts` are states that moreover change while an
    episode lasts: name → standard deviation.
    """
    values = values or {}
    total = len(next(iter(values.values()))) if values else count
    at_once = count * max(1, AT_ONCE // count)
    ids = range(first, first + count)
    batches = ({n: v[done : done + at_once] for n, v in values.items()} for done in range(0, total, at_once))
    with one_torch_thread():
        return joined([_fly(config, pilot, ids, batch, split, gusts or {}) for batch in batches], total)


def _fly(
    config: RunConfig, pilot: PilotOf, ids: range, values: Values, split: Split, gusts: Mapping[str, float]
) -> Episodes:
    # Ranges for the sake of what they prepare: the values replace what is drawn from them.
    prepared = {name: [float(v.min()), float(v.max())] for name, v in values.items()}
    prepared |= {name: [0.0, 0.0] for name in gusts if name not in prepared}
    randomization = RandomizationConfig(prepared, config.randomization.measurement_errors)
    config = dataclasses.replace(on_cpu(config), device="cpu", randomization=randomization)
    total = len(next(iter(values.values()))) if values else len(ids)
    with closing(build(config, split, total, episodes=ids.stop)) as environment:
        environment.bank = environment.bank.since(ids.start)
        if values:
            column = environment.randomization.column
            environment.bank = environment.bank.repeated({column(n): torch.as_tensor(v) for n, v in values.items()})
        flown = pilot(environment)
        weather = Weather(environment, gusts, split, ids.start)
        return run_episodes(
            environment, flown.act, begin=flown.begin, watch=lambda _transition, _running: weather.change()
        )


class Weather:
    """Gusts: states that are constant in training change here, as a first-order Gauss-Markov process around 0."""

    def __init__(self, environment: Environment, deviations: Mapping[str, float], split: Split, first: int) -> None:
        """Other gusts for other episodes: those of a split, from `first` on."""
        self._environment, self._deviations = environment, deviations
        self._kept = math.exp(-environment.interface.control_period / GUST_SECONDS)
        self._generator = torch.Generator().manual_seed(seed_of(f"gusts, {split}", first))
        self._now = {name: torch.zeros(environment.num_envs) for name in deviations}

    def change(self) -> None:
        """Let one control step pass."""
        for name, deviation in self._deviations.items():
            before = self._now[name]
            drawn = torch.randn(len(before), generator=self._generator) * deviation
            self._now[name] = self._kept * before + math.sqrt(1.0 - self._kept**2) * drawn
            states = self._environment.states
            states[name] = states[name] + (self._now[name] - before)
