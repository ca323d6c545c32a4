"""skrl (Serrano-Muñoz et al., JMLR 24, 2023), with the critic that sees more: its `states` beside `observations`.

It gets our tensors as they are. As shipped, it takes the value of an episode that ran out of time from the observation
that follows, which in an environment that resets itself at once belongs to the next episode; `Agent` gives it the final
observation instead.
"""

import logging
import math
import time
from typing import Any

import gymnasium
import numpy as np
import torch
from skrl.agents.torch.base import ExperimentCfg
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import Wrapper
from skrl.memories.torch import RandomMemory
from skrl.models.torch import Model
from skrl.resources.preprocessors.torch import RunningStandardScaler
from skrl.resources.schedulers.torch import KLAdaptiveLR
from skrl.trainers.torch import SequentialTrainer
from skrl.utils import set_seed
from skrl.utils.model_instantiators.torch import deterministic_model, gaussian_model
from torch import Tensor
from typing_extensions import override

from benchmarks.peers.curriculum import Curriculum
from benchmarks.peers.learner import After, Iteration, iterations
from robo_ppo.config import RunConfig
from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment
from robo_ppo.env.vector import Observation
from robo_ppo.run.episodes import Act

DISTRIBUTIONS: tuple[str, ...] = ("skrl",)
SOURCES: tuple[str, ...] = (
    "KLAdaptiveLR from 5e-4 with kl_threshold 0.01, RunningStandardScaler, gradients to norm 1, value_loss_scale 2, no "
    "entropy: Isaac Lab, skrl_ppo_cfg.yaml of Isaac-Humanoid-v0 (4096 environments × 32 steps, as here)",
    "time_limit_bootstrap: skrl, docs/source/api/agents/ppo.rst",
    "states for the critic and their preprocessor: skrl, release notes of 2.0.0",
)


def settings(config: RunConfig) -> dict[str, Any]:
    """All that it was told: what `PPO_CFG` takes, but for the classes, and the networks."""
    return {
        "ppo": {
            "rollouts": config.ppo.horizon,
            "learning_epochs": config.ppo.epochs,
            "mini_batches": config.ppo.minibatches,
            "discount_factor": config.ppo.gamma,
            "gae_lambda": config.ppo.gae_lambda,
            "ratio_clip": config.ppo.clip,
            "learning_rate": 5e-4,
            "learning_rate_scheduler_kwargs": {"kl_threshold": 0.01},
            "grad_norm_clip": 1.0,
            "value_clip": 0.2,
            "value_loss_scale": 2.0,
            "entropy_loss_scale": 0.0,
            "time_limit_bootstrap": True,
        },
        "learning_rate_scheduler": "KLAdaptiveLR",
        "preprocessor of observations, states and values": "RunningStandardScaler",
        "policy": {"initial_log_std": math.log(config.policy.initial_std), "network": config.policy.hidden},
        "value": {"network": config.policy.critic_hidden},
        "activation": config.policy.activation,
    }


def train(config: RunConfig, after: After) -> None:
    """Train with its own trainer."""
    make_trainer(config, after).train()


def make_trainer(config: RunConfig, after: After) -> SequentialTrainer:
    """Its trainer, with an agent that reports."""
    logging.getLogger("skrl").setLevel(logging.WARNING)
    set_seed(config.seed)
    environment = build(config, "train", config.num_envs)
    wrapper = TaskWrapper(environment)
    agent = Agent(config, wrapper, Curriculum(config, environment), after)
    options = {"headless": True, "disable_progressbar": True, "close_environment_at_exit": False}
    steps = iterations(config) * config.ppo.horizon
    return SequentialTrainer(env=wrapper, agents=agent, cfg={"timesteps": steps, **options})


class TaskWrapper(Wrapper):
    """Our environment as skrl asks for one; nothing is copied."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self.environment = environment
        self._states = torch.empty(0)

    @property
    @override
    def observation_space(self) -> gymnasium.Space[Any]:
        return _numbers(self.environment.observation_sizes["policy"])

    @property
    @override
    def state_space(self) -> gymnasium.Space[Any]:
        return _numbers(self.environment.observation_sizes["critic"])

    @property
    @override
    def action_space(self) -> gymnasium.Space[Any]:
        return gymnasium.spaces.Box(-1.0, 1.0, (self.environment.action_size,), np.float32)

    @override
    def reset(self) -> tuple[Tensor, dict[str, Any]]:
        return self._split(self.environment.reset()), {}

    @override
    def step(self, actions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Any]:
        transition = self.environment.step(actions)
        ends = transition.terminated.unsqueeze(1), transition.truncated.unsqueeze(1)
        observations = self._split(transition.observation)
        return observations, transition.reward.unsqueeze(1), *ends, {"final": transition.final_observation}

    @override
    def state(self) -> Tensor:
        return self._states

    @override
    def render(self, *args: Any, **kwargs: Any) -> None:
        pass

    @override
    def close(self) -> None:
        pass

    def _split(self, observation: Observation) -> Tensor:
        self._states = observation["critic"]
        return observation["policy"]


class Agent(PPO):
    """skrl's PPO, bootstrapped at time limits from the final observation, and watched."""

    def __init__(self, config: RunConfig, wrapper: TaskWrapper, curriculum: Curriculum, after: After) -> None:
        spaces = {
            "observation_space": wrapper.observation_space,
            "state_space": wrapper.state_space,
            "action_space": wrapper.action_space,
        }
        scaler, device = RunningStandardScaler, wrapper.device
        super().__init__(
            models={"policy": _policy(config, spaces), "value": _value(config, spaces)},
            memory=RandomMemory(memory_size=config.ppo.horizon, num_envs=config.num_envs, device=device),
            **spaces,
            device=device,
            cfg=PPO_CFG(
                **settings(config)["ppo"],
                learning_rate_scheduler=KLAdaptiveLR,
                observation_preprocessor=scaler,
                observation_preprocessor_kwargs={"size": wrapper.observation_space, "device": device},
                state_preprocessor=scaler,
                state_preprocessor_kwargs={"size": wrapper.state_space, "device": device},
                value_preprocessor=scaler,
                value_preprocessor_kwargs={"size": 1, "device": device},
                experiment=ExperimentCfg(write_interval=0, checkpoint_interval=0),
            ),
        )
        self._config, self._spaces = config, spaces
        self._curriculum, self._after = curriculum, after
        self._updated = time.perf_counter()

    @override
    def record_transition(
        self, *, next_observations: Tensor, next_states: Tensor, infos: dict[str, Any], **rest: Any
    ) -> None:
        ended = rest["terminated"] | rest["truncated"]
        super().record_transition(
            next_observations=torch.where(ended, infos["final"]["policy"], next_observations),
            next_states=torch.where(ended, infos["final"]["critic"], next_states),
            infos=infos,
            **rest,
        )

    @override
    def update(self, *, timestep: int, timesteps: int) -> None:
        began = time.perf_counter()
        super().update(timestep=timestep, timesteps=timesteps)
        update = time.perf_counter() - began
        self._curriculum.look()
        self._after(Iteration(began - self._updated, update, self.copy_of_policy))
        self._updated = time.perf_counter()

    def copy_of_policy(self) -> Act:
        """The mean of its actions, with its preprocessor, as they are now."""
        policy = _policy(self._config, self._spaces)
        policy.load_state_dict(self.models["policy"].state_dict())
        scaler = RunningStandardScaler(self._spaces["observation_space"], device=self.device)
        scaler.load_state_dict(self.checkpoint_modules["observation_preprocessor"].state_dict())

        def act(observation: Observation) -> Tensor:
            return policy.act({"observations": scaler(observation["policy"])}, role="policy")[1]["mean_actions"]

        return torch.no_grad()(act)


def _numbers(size: int) -> gymnasium.spaces.Box:
    return gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)


def _policy(config: RunConfig, spaces: dict[str, Any]) -> Model:
    network = {"name": "net", "input": "OBSERVATIONS", "layers": config.policy.hidden}
    model = gaussian_model(
        **spaces,
        device="cpu",
        initial_log_std=math.log(config.policy.initial_std),
        network=[{**network, "activations": config.policy.activation}],
        output="ACTIONS",
    )
    assert isinstance(model, Model)
    return model


def _value(config: RunConfig, spaces: dict[str, Any]) -> Model:
    network = {"name": "net", "input": "STATES", "layers": config.policy.critic_hidden}
    model = deterministic_model(
        **spaces, device="cpu", network=[{**network, "activations": config.policy.activation}], output="ONE"
    )
    assert isinstance(model, Model)
    return model
