"""rsl_rl (Schwarke et al., arXiv:2509.10771): the learner of Isaac Lab, Legged Gym and mjlab.

It gets our tensors as they are: its policy the group `policy`, its critic the group `critic`. Where an episode runs out
of time it adds the value of the observation *before* the last step to the reward: its interface has no final
observation, and its authors call this the next best approximation (issue 151 of its repository).
"""

from typing import Any

import torch
from rsl_rl.env import VecEnv
from rsl_rl.runners import OnPolicyRunner
from rsl_rl.utils.logger import Logger
from tensordict import TensorDict
from torch import Tensor
from typing_extensions import override

from benchmarks.peers.curriculum import Curriculum
from benchmarks.peers.learner import After, Iteration, iterations
from robo_ppo.config import RunConfig
from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment
from robo_ppo.env.vector import Observation
from robo_ppo.run.episodes import Act

DISTRIBUTIONS: tuple[str, ...] = ("rsl-rl-lib", "tensordict")
SOURCES: tuple[str, ...] = (
    "PPO's defaults (adaptive learning rate, desired_kl, clipped value loss, …): rsl_rl, docs/guide/configuration.rst",
    "obs_groups with a critic that sees more, obs_normalization of both networks: the same page",
    "entropy_coef 0: Isaac Lab, rsl_rl_ppo_cfg.py of Isaac-Humanoid-v0 (4096 environments × 32 steps, as here) and of "
    "Isaac-Quadcopter-Direct-v0",
)


def settings(config: RunConfig) -> dict[str, Any]:
    """All that it was told: the dictionary of its runner."""
    network = {"class_name": "MLPModel", "activation": config.policy.activation, "obs_normalization": True}
    noise = {"class_name": "GaussianDistribution", "init_std": config.policy.initial_std}
    return {
        "num_steps_per_env": config.ppo.horizon,
        "save_interval": iterations(config),
        "obs_groups": {"actor": ["policy"], "critic": ["critic"]},
        "actor": {**network, "hidden_dims": list(config.policy.hidden), "distribution_cfg": noise},
        "critic": {**network, "hidden_dims": list(config.policy.critic_hidden)},
        "algorithm": {
            "class_name": "PPO",
            "num_learning_epochs": config.ppo.epochs,
            "num_mini_batches": config.ppo.minibatches,
            "gamma": config.ppo.gamma,
            "lam": config.ppo.gae_lambda,
            "clip_param": config.ppo.clip,
            "learning_rate": 1e-3,
            "schedule": "adaptive",
            "desired_kl": 0.01,
            "entropy_coef": 0.0,
            "value_loss_coef": 1.0,
            "use_clipped_value_loss": True,
            "max_grad_norm": 1.0,
        },
    }


def train(config: RunConfig, after: After) -> None:
    """Train with its own runner."""
    make_runner(config, after).learn(iterations(config))


def make_runner(config: RunConfig, after: After) -> OnPolicyRunner:
    """Its runner, which reports."""
    torch.manual_seed(config.seed)
    return runner_on(TaskVecEnv(build(config, "train", config.num_envs)), config, after)


def runner_on(adapter: "TaskVecEnv", config: RunConfig, after: After) -> OnPolicyRunner:
    """Its runner on an environment that is there already, and on its device."""
    runner = OnPolicyRunner(adapter, settings(config), log_dir=None, device=str(adapter.device))
    runner.logger = Reporter(runner, Curriculum(config, adapter.environment), after)
    return runner


class TaskVecEnv(VecEnv):
    """Our environment as rsl_rl asks for one; nothing is copied."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.num_envs, self.num_actions = environment.num_envs, environment.action_size
        self.device, self.cfg = environment.device, {}
        self.max_episode_length = environment.max_episode_steps
        self._observation = self._grouped(environment.reset())
        self.episode_length_buf = environment.episode.age

    @override
    def get_observations(self) -> TensorDict:
        return self._observation

    @override
    def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict[str, Any]]:
        transition = self.environment.step(actions)
        self._observation = self._grouped(transition.observation)
        done = transition.terminated | transition.truncated
        return self._observation, transition.reward, done, {"time_outs": transition.truncated}

    def _grouped(self, observation: Observation) -> TensorDict:
        return TensorDict(dict(observation), batch_size=[self.num_envs])


class Reporter(Logger):
    """In the place of its logger, which is told after each iteration how long the two parts of it took."""

    def __init__(self, runner: OnPolicyRunner, curriculum: Curriculum, after: After) -> None:
        super().__init__(
            log_dir=None,
            cfg=runner.cfg,
            env_cfg={},
            num_envs=runner.env.num_envs,
            is_distributed=False,
            gpu_world_size=1,
            gpu_global_rank=0,
            device=runner.device,
        )
        self._runner, self._curriculum, self._after = runner, curriculum, after

    @override
    def log(self, *args: Any, **values: Any) -> None:
        self._curriculum.look()
        self._after(Iteration(values["collect_time"], values["learn_time"], lambda: copy_of_policy(self._runner)))


def copy_of_policy(runner: OnPolicyRunner) -> Act:
    """The policy as it would be exported now: its normaliser, its network, the mean of its actions."""
    exported = runner.alg.get_policy().as_jit().eval()

    def act(observation: Observation) -> Tensor:
        return exported(observation["policy"])

    return torch.no_grad()(act)
