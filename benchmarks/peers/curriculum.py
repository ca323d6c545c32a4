"""The curriculum of our tasks, for learners that know nothing of it: all of them climb the same stairs."""

import torch

from robo_ppo.config import RunConfig
from robo_ppo.env.environment import Environment
from robo_ppo.env.task import SUCCESS


class Curriculum:
    """Raises an environment's level by the rule of `robo_ppo.config.CurriculumConfig`, as a training of ours does."""

    def __init__(self, config: RunConfig, environment: Environment) -> None:
        self._rule, self._environment = config.task.curriculum, environment
        self._recent = torch.zeros(2, device=environment.device)  # episodes and successes since the level was looked at
        environment.level.fill_(self._rule.start)

    def look(self) -> None:
        """After each iteration: raise the level if enough episodes have ended, and well."""
        totals = self._environment.take_totals()
        self._recent += torch.stack((totals.episodes, totals.outcomes[SUCCESS]))
        episodes, successes = self._recent
        if episodes >= self._environment.num_envs:
            if successes / episodes > self._rule.success:
                self._environment.level.add_(self._rule.step).clamp_(max=1.0)
            self._recent.zero_()
