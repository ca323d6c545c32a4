"""How good a policy is: success over the same validation episodes for every learner and every seed."""

import dataclasses
from collections.abc import Mapping

from robo_ppo.config import RunConfig
from robo_ppo.env.build import build
from robo_ppo.run.episodes import Act, run_episodes

SEED = 0  # of the validation episodes, whatever a training's own seed


def success(config: RunConfig, policies: Mapping[int, Act]) -> dict[int, float]:
    """Share of validation episodes that each policy ends with a success, by the steps it had been trained for."""
    count = config.validation.episodes
    environment = build(dataclasses.replace(config, seed=SEED), "validation", count, episodes=count)
    return {steps: run_episodes(environment, policy).success for steps, policy in policies.items()}
