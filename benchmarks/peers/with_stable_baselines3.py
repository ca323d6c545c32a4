"""Stable-Baselines3 (Raffin et al., JMLR 22, 2021), through Gymnasium's interface to our task.

Its policies have one observation, so its critic sees what the policy sees and no more. Observations are normalised by
`VecNormalize`; where an episode runs out of time it takes the value of the final observation, as it should.
"""

import copy
import math
import time
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch import Tensor
from typing_extensions import override

from benchmarks.peers.curriculum import Curriculum
from benchmarks.peers.learner import After, Iteration, steps_of_iteration
from robo_ppo.config import RunConfig
from robo_ppo.env.build import build
from robo_ppo.env.gym import TaskVectorEnv
from robo_ppo.env.vector import Observation
from robo_ppo.learn.actor_critic import ACTIVATIONS
from robo_ppo.run.episodes import Act

DISTRIBUTIONS: tuple[str, ...] = ("stable-baselines3", "gymnasium")
SOURCES: tuple[str, ...] = (
    "learning_rate 1e-3, vf_coef 1, gradients to norm 1, VecNormalize of observations, Adam's eps, initialisation: "
    "Isaac Lab, sb3_ppo_cfg.yaml of the velocity tasks of Unitree A1 (4096 environments)",
    "no entropy: Isaac Lab, sb3_ppo_cfg.yaml of Isaac-Humanoid-v0 (4096 environments × 32 steps, as here)",
    "everything else: defaults of stable_baselines3.PPO",
)


def settings(config: RunConfig) -> dict[str, Any]:
    """All that it was told: what `PPO`, its policy and `VecNormalize` take, but for the activation's class."""
    return {
        "ppo": {
            "learning_rate": 1e-3,
            "n_steps": config.ppo.horizon,
            "batch_size": steps_of_iteration(config) // config.ppo.minibatches,
            "n_epochs": config.ppo.epochs,
            "gamma": config.ppo.gamma,
            "gae_lambda": config.ppo.gae_lambda,
            "clip_range": config.ppo.clip,
            "target_kl": None,
            "ent_coef": 0.0,
            "vf_coef": 1.0,
            "max_grad_norm": 1.0,
        },
        "policy": {
            "net_arch": {"pi": config.policy.hidden, "vf": config.policy.critic_hidden},
            "log_std_init": math.log(config.policy.initial_std),
            "ortho_init": False,
            "optimizer_kwargs": {"eps": 1e-8},
        },
        "activation": config.policy.activation,
        "normalize": {"norm_obs": True, "norm_reward": False, "clip_obs": 10.0},
    }


def train(config: RunConfig, after: After) -> None:
    """Train with its own loop."""
    ppo, reporter = make_ppo(config, after)
    ppo.learn(config.total_steps, callback=reporter, log_interval=None)  # pyright: ignore[reportArgumentType]


def make_ppo(config: RunConfig, after: After) -> "tuple[PPO, Reporter]":
    """Its PPO, and the callback that reports."""
    told = settings(config)
    environment = build(config, "train", config.num_envs)
    vector = VecNormalize(TaskVecEnv(TaskVectorEnv(environment)), **told["normalize"])
    policy = {**told["policy"], "activation_fn": ACTIVATIONS[config.policy.activation]}
    ppo = PPO("MlpPolicy", vector, policy_kwargs=policy, seed=config.seed, device="cpu", **told["ppo"])
    return ppo, Reporter(vector, Curriculum(config, environment), after)


class TaskVecEnv(VecEnv):
    """A vector environment of Gymnasium's as Stable-Baselines3 asks for one."""

    def __init__(self, vector: TaskVectorEnv) -> None:
        self._vector = vector
        self._actions = np.empty(0)
        super().__init__(vector.num_envs, vector.single_observation_space, vector.single_action_space)

    @override
    def reset(self) -> np.ndarray:
        return self._vector.reset()[0]

    @override
    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    @override
    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        observation, reward, terminated, truncated, infos = self._vector.step(self._actions)
        done = terminated | truncated
        nothing: dict[str, Any] = {}
        each = [nothing] * self.num_envs
        for row in done.nonzero()[0]:
            each[row] = {"terminal_observation": infos["final_obs"][row], "TimeLimit.truncated": bool(truncated[row])}
        return observation, reward, done, each

    @override
    def close(self) -> None:
        self._vector.close()

    @override
    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self._vector, attr_name)] * self.num_envs

    @override
    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise NotImplementedError

    @override
    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise NotImplementedError

    @override
    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False] * self.num_envs


class Reporter(BaseCallback):
    """Watches its loop: an iteration ends when the next rollout, or nothing, follows."""

    def __init__(self, normalize: VecNormalize, curriculum: Curriculum, after: After) -> None:
        super().__init__()
        self._normalize, self._curriculum, self._after = normalize, curriculum, after
        self._began = self._collected = 0.0

    @override
    def _on_step(self) -> bool:
        return True

    @override
    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            self._report()
        self._began = time.perf_counter()

    @override
    def _on_rollout_end(self) -> None:
        self._collected = time.perf_counter()

    @override
    def _on_training_end(self) -> None:
        self._report()

    def _report(self) -> None:
        update = time.perf_counter() - self._collected
        self._curriculum.look()
        self._after(Iteration(self._collected - self._began, update, self.copy_of_policy))

    def copy_of_policy(self) -> Act:
        """What `predict(deterministic=True)` answers now, with the normaliser before it."""
        model, normalize = self.model, copy.deepcopy(self._normalize)
        spaces = model.observation_space, model.action_space
        policy = model.policy_class(*spaces, model.lr_schedule, **model.policy_kwargs)
        policy.load_state_dict(model.policy.state_dict())

        def act(observation: Observation) -> Tensor:
            normalized = normalize.normalize_obs(observation["policy"].numpy())
            return torch.from_numpy(policy.predict(normalized, deterministic=True)[0])

        return act
