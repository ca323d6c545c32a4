"""A trained policy without its noise, at the controls of every environment: what validation and diagnosis fly.

pilot = Greedy(model, environment.num_envs)
run_episodes(environment, pilot.act, begin=pilot.begin)
"""

from torch import Tensor

from robo_ppo.env.vector import Observation
from robo_ppo.learn.actor_critic import ActorCritic


class Greedy:
    """The mean of a policy's actions; what the policy remembers stays in one place, so that a graph may hold it."""

    def __init__(self, model: ActorCritic, num_envs: int) -> None:
        self._model = model
        self._state = model.initial_state(num_envs)

    def begin(self) -> None:
        """Forget what was remembered of the last episodes."""
        self._state.zero_()

    def act(self, observation: Observation) -> Tensor:
        """Actions (num_envs, action_size) for the present observation."""
        model = self._model
        distribution, state = model.policy(model.normalizer("policy")(observation["policy"]), self._state)
        self._state.copy_(state)
        return distribution.mean
