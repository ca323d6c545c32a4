"""An environment with the interface of Isaac Lab's, for tests: carts on a line, in a few torch operations.

Written after `isaaclab.envs.ManagerBasedRLEnv` (3.0.0 and 2.x). It keeps the rules that an adapter could break: one
simulation per process, actions for all rows at once, resets within the step, tensors that are written into again, stale
`extras`, and a configuration that is complete before the environment is made.

    train.py task=isaac_lab env_id=tests.env.isaac_lab_double:Cart-v0 \
        +task.settings.launcher=tests.env.isaac_lab_double:DoubleLauncher device=cpu
"""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import gymnasium
import torch
from gymnasium import spaces
from torch import Tensor

from robo_ppo.env.isaac_lab_launch import Launcher, Wanted, check_registered

DECIMATION, TIMESTEP = 4, 0.01  # s
STEPS = 25  # of an episode
FORCE = 2.0  # N for an action of 1
RAIL = 3.0  # m


class DoubleLauncher(Launcher):
    """Starts nothing, and makes the configuration as Isaac Lab's registry has it."""

    def configure(self, wanted: Wanted) -> Any:
        check_registered(wanted.env_id)
        cfg = gymnasium.spec(wanted.env_id.rpartition(":")[2]).kwargs["env_cfg_entry_point"]()
        cfg.scene.num_envs, cfg.sim.device = wanted.num_envs, wanted.device
        return cfg

    def describe(self) -> str:
        return "a double of Isaac Lab"


def joint_pos_rel(env: "CartEnv") -> Tensor:
    return env.position


def joint_vel_rel(env: "CartEnv") -> Tensor:
    return env.velocity


def generated_commands(env: "CartEnv", command_name: str) -> Tensor:
    assert command_name == "target"
    return env.target


def last_action(env: "CartEnv") -> Tensor:
    return env.last_action


def _term(func: Callable[..., Tensor], **params: Any) -> SimpleNamespace:
    return SimpleNamespace(
        func=func, params=params, scale=None, clip=None, noise=None, modifiers=None, history_length=0
    )


class CartCfg:
    """As a `ManagerBasedRLEnvCfg`."""

    def __init__(self) -> None:
        self.scene = SimpleNamespace(num_envs=4096)
        self.sim = SimpleNamespace(device="cuda:0", dt=TIMESTEP)
        self.decimation, self.episode_length_s = DECIMATION, STEPS * DECIMATION * TIMESTEP
        self.seed: int | None = None
        self.is_finite_horizon = False
        self.compute_final_obs = False
        self.rail = RAIL
        self.observations = SimpleNamespace(
            policy=SimpleNamespace(
                enable_corruption=False,
                history_length=None,
                joint_pos=_term(joint_pos_rel),
                joint_vel=_term(joint_vel_rel),
                target=_term(generated_commands, command_name="target"),
                actions=_term(last_action),
            )
        )

    def from_dict(self, changes: dict[str, Any]) -> None:
        for name, value in changes.items():
            if not hasattr(self, name):
                raise KeyError(f"'/{name}' is not a field")
            setattr(self, name, value)


class OldCartCfg(CartCfg):
    """As Isaac Lab 2 has it: nothing tells the last observation."""

    def __init__(self) -> None:
        super().__init__()
        del self.compute_final_obs


class JointEffortAction:
    """The action term of the cart."""

    def __init__(self, num_envs: int) -> None:
        self.cfg = SimpleNamespace(clip=None)
        self._joint_names = ["slider"]
        self._scale, self._offset = FORCE, torch.zeros(num_envs, 1)


class CartEnv(gymnasium.Env[Any, Any]):
    """Push a cart to its target; off the rail it is lost."""

    living: ClassVar[int] = 0
    made: ClassVar[int] = 0

    def __init__(self, cfg: CartCfg, render_mode: str | None = None, **kwargs: Any) -> None:
        if CartEnv.living:
            raise RuntimeError("Simulation context already exists. Cannot create a new one.")
        CartEnv.living, CartEnv.made = 1, CartEnv.made + 1
        self.cfg, self.num_envs, self.device = cfg, cfg.scene.num_envs, cfg.sim.device
        self.step_dt = cfg.sim.dt * cfg.decimation
        self.max_episode_length = math.ceil(cfg.episode_length_s / self.step_dt)
        assert cfg.seed is not None
        torch.manual_seed(cfg.seed)
        terms = {name: vars(cfg.observations.policy)[name] for name in ("joint_pos", "joint_vel", "target", "actions")}
        self._terms = terms
        self.observation_manager = SimpleNamespace(
            active_terms={"policy": list(terms)},
            group_obs_term_dim={"policy": [(1,)] * len(terms)},
            group_obs_concatenate={"policy": True},
        )
        self.command_manager = SimpleNamespace(get_term=lambda name: SimpleNamespace(name=name))
        self.scene = {"robot": SimpleNamespace(joint_names=["slider"])}
        self.last_action = torch.zeros(self.num_envs, 1)
        self.action_manager = SimpleNamespace(
            active_terms=["joint_effort"],
            action_term_dim=[1],
            get_term={"joint_effort": JointEffortAction(self.num_envs)}.__getitem__,
        )
        self.single_observation_space = spaces.Dict({"policy": spaces.Box(-math.inf, math.inf, (len(terms),))})
        self.single_action_space = spaces.Box(-math.inf, math.inf, (1,))
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, self.num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self.position, self.velocity, self.target = (torch.zeros(self.num_envs, 1) for _ in range(3))
        self.episode_length_buf = torch.zeros(self.num_envs, dtype=torch.long)
        self.reward_buf = torch.zeros(self.num_envs)
        self.reset_terminated, self.reset_time_outs = (torch.zeros(self.num_envs, dtype=torch.bool) for _ in range(2))
        self.extras: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            torch.manual_seed(seed)
        self._reset_idx(torch.arange(self.num_envs))
        return self._observations(), self.extras

    def step(self, action: Tensor) -> Any:
        assert action.shape == (self.num_envs, 1)
        self.last_action = action.clone()
        for _ in range(self.cfg.decimation):
            self.velocity += self.cfg.sim.dt * (FORCE * action - 0.5 * self.velocity)
            self.position += self.cfg.sim.dt * self.velocity
        self.episode_length_buf += 1
        self.reset_time_outs[:] = self.episode_length_buf >= self.max_episode_length
        self.reset_terminated[:] = self.position.abs().squeeze(1) > self.cfg.rail
        self.reward_buf[:] = self.step_dt * (1.0 - (self.position - self.target).abs().squeeze(1))
        ended = (self.reset_time_outs | self.reset_terminated).nonzero().squeeze(1)
        if len(ended):
            if getattr(self.cfg, "compute_final_obs", False):
                self.extras["final_obs"] = self._observations()
            self._reset_idx(ended)
        return self._observations(), self.reward_buf, self.reset_terminated, self.reset_time_outs, self.extras

    def close(self) -> None:
        CartEnv.living = 0

    def _reset_idx(self, rows: Tensor) -> None:
        self.extras["log"] = {
            "Episode_Reward/near": self.reward_buf[rows].mean(),
            "Episode_Termination/off_the_rail": int(self.reset_terminated[rows].sum()),
        }
        self.position[rows], self.target[rows] = (torch.empty(len(rows), 1).uniform_(-1.0, 1.0) for _ in range(2))
        self.velocity[rows] = 0.0
        self.last_action[rows] = 0.0
        self.episode_length_buf[rows] = 0

    def _observations(self) -> dict[str, Tensor]:
        return {"policy": torch.cat([term.func(self, **term.params) for term in self._terms.values()], 1)}


class DirectCartEnv(CartEnv):
    """As a `DirectRLEnv`: no managers, bounded actions, a critic of its own."""

    def __init__(self, cfg: CartCfg, render_mode: str | None = None, **kwargs: Any) -> None:
        super().__init__(cfg, render_mode)
        del self.observation_manager, self.command_manager, self.action_manager
        self.single_observation_space = spaces.Dict(
            {"policy": spaces.Box(-math.inf, math.inf, (4,)), "critic": spaces.Box(-math.inf, math.inf, (2,))}
        )
        self.single_action_space = spaces.Box(-0.5, 1.0, (1,))

    def _observations(self) -> dict[str, Tensor]:
        return super()._observations() | {"critic": torch.cat((self.position, self.velocity), 1)}


for _name, _env, _cfg in (
    ("Cart-v0", CartEnv, CartCfg),
    ("OldCart-v0", CartEnv, OldCartCfg),
    ("DirectCart-v0", DirectCartEnv, CartCfg),
):
    gymnasium.register(_name, _env, kwargs={"env_cfg_entry_point": _cfg}, disable_env_checker=True)
