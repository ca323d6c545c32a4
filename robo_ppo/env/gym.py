"""Gymnasium, both ways: its environments for our learner, and our tasks for whoever learns from Gymnasium's interface.

    python train.py task=gymnasium env_id=HalfCheetah-v5      # → GymEnvironment
    GymEnvironment(gymnasium.make_vec("Hopper-v5", 16), "Hopper-v5", control_period=0.008, max_episode_steps=1000)

    environments = TaskVectorEnv(build(config, "train", 1024))    # a gymnasium.vector.VectorEnv
    environment = TaskEnv(build(config, "train", 1))              # a gymnasium.Env

A policy for somebody else's environment observes a vector of numbers that has no names, units or frames, so its
contract has one measurement, `observation`, and the commands `action_0`, `action_1`, …
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from robo_ppo.config import MeasurementConfig
from robo_ppo.env.environment import Environment
from robo_ppo.env.foreign import OUTCOMES, REWARD_TERMS, TERMINATED, TIMEOUT, ForeignEpisodes
from robo_ppo.env.measurements import Measured
from robo_ppo.env.observations import Onboard
from robo_ppo.env.robot import ActionInterface
from robo_ppo.env.scenes import Split, seed_of, stream_of
from robo_ppo.env.signals import Leaf, Quantity, SignalTable, collect, measurement
from robo_ppo.env.task import SUCCESS
from robo_ppo.env.vector import (
    ForeignEnvironment,
    Interface,
    Observation,
    Score,
    Totals,
    Transition,
)
from robo_ppo.errors import UserError

try:
    import gymnasium
    from gymnasium import spaces
    from gymnasium.vector import AutoresetMode, VectorEnv
except ImportError as error:
    raise UserError("task=gymnasium needs Gymnasium: pip install 'robo-ppo[gym]'") from error


@dataclass(frozen=True)
class GymSettings:
    """`task.settings` of task=gymnasium."""

    env_id: str  # as registered; "package.module:Name-v0" imports the module first
    kwargs: dict[str, Any] = field(default_factory=dict[str, Any])  # of gymnasium.make
    max_episode_steps: int = 0  # 0: as registered
    control_period: float = 0.0  # s; 0: as the environment says


class GymEnvironment(ForeignEnvironment):
    """A vector environment of Gymnasium's as one of ours; what it rewards is the only score.

    Its state cannot be saved: a run that is resumed begins new episodes.
    """

    Settings = GymSettings
    score: Score = "return"

    def __init__(
        self,
        vector: VectorEnv[Any, Any, Any],
        env_id: str,
        *,
        control_period: float,
        max_episode_steps: int,
        stream: tuple[int, int] = (1, 0),
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """Wrap `vector`, whose sub-environments reset themselves; `stream` tells the seeds of splits and runs apart."""
        check_spaces(env_id, vector.single_observation_space, vector.single_action_space)
        self._mode = vector.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP)
        if self._mode == AutoresetMode.DISABLED:
            raise UserError(
                f"{env_id}: its sub-environments must reset themselves; make it with another autoreset_mode"
            )
        self._vector, self._env_id = vector, env_id
        self._action_space = cast(spaces.Box, vector.single_action_space)
        self._stream, self._rank, self._ranks = stream, rank, ranks
        self.num_envs, self.device = int(vector.num_envs), torch.device("cpu")
        self.max_episode_steps = max_episode_steps
        size = math.prod(cast(spaces.Box, vector.single_observation_space).shape)
        self.interface = _interface(env_id, size, self._action_space, control_period)
        self.observation_sizes = {"policy": size, "critic": size}
        self.observed = ("observation",) * size
        self.term_names = REWARD_TERMS
        self.outcome_names = OUTCOMES
        self.level = torch.ones(())
        self._resumed = 0
        self._episodes = ForeignEpisodes(self.num_envs, self.device)

    @override
    @classmethod
    def make(
        cls,
        settings: object,
        split: Split,
        seed: int,
        num_envs: int,
        *,
        rank: int = 0,
        ranks: int = 1,
        film: bool = False,
    ) -> Self:
        assert isinstance(settings, GymSettings)
        _keep_mujoco_from_writing_a_log()
        options = dict(settings.kwargs)
        if settings.max_episode_steps:
            options["max_episode_steps"] = settings.max_episode_steps
        if film:
            options["render_mode"] = "rgb_array"
        try:
            probe = gymnasium.make(settings.env_id, **options)
        except Exception as error:  # whatever the module, the constructor or a missing library raises
            raise UserError(f"env_id={settings.env_id}: {' '.join(str(error).split())}") from error
        period, steps = settings.control_period or _control_period(probe), probe.spec and probe.spec.max_episode_steps
        observed, acted = probe.observation_space, probe.action_space
        probe.close()
        check_spaces(settings.env_id, _flat(observed), acted)
        if not steps:
            raise UserError(
                f"{settings.env_id} has no time limit; give it one with +task.settings.max_episode_steps=1000"
            )
        if not period:
            raise UserError(
                f"{settings.env_id} does not say how long a step takes; do so with +task.settings.control_period=0.02"
            )
        vector = gymnasium.make_vec(
            settings.env_id,
            num_envs,
            "sync",
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
            wrappers=[] if isinstance(observed, spaces.Box) else [gymnasium.wrappers.FlattenObservation],
            **options,
        )
        return cls(
            vector,
            settings.env_id,
            control_period=period,
            max_episode_steps=steps,
            stream=stream_of(split, seed),
            rank=rank,
            ranks=ranks,
        )

    @override
    def describe(self) -> str:
        return f"Gymnasium {gymnasium.__version__} {self._env_id}"

    @override
    def reset(self, first_id: int = 0) -> Observation:
        own = torch.arange(self.num_envs)
        self._ids = (first_id + own) * self._ranks + self._rank
        parts = ("gymnasium", *self._stream, self._resumed)
        seeds = [seed_of(str(parts), number) % 2**31 for number in self._ids.tolist()]
        found, _ = self._vector.reset(seed=seeds)  # pyright: ignore[reportArgumentType]  # a list is documented
        self._resetting = torch.zeros(self.num_envs, dtype=torch.bool)
        self._episodes.begin()
        return self._observe(found)

    @override
    def step(self, action: Tensor, *, restart: bool = True) -> Transition:
        found, rewards, terminations, truncations, infos = self._vector.step(self._command(action))
        valid = ~self._resetting  # in the step in which an environment resets itself, nothing happens
        reward = torch.where(valid, torch.from_numpy(np.asarray(rewards, np.float32)), 0.0)
        terminated = torch.from_numpy(np.array(terminations, bool)) & valid
        truncated = torch.from_numpy(np.array(truncations, bool)) & valid & ~terminated
        ended = terminated | truncated
        observation = self._observe(found)
        final = observation
        if self._mode == AutoresetMode.NEXT_STEP:
            self._resetting = ended
        elif bool(ended.any()):
            rows = ended.nonzero().squeeze(1)
            last = torch.from_numpy(np.stack([infos["final_obs"][row] for row in rows.tolist()]).astype(np.float32))
            final = {name: group.index_copy(0, rows, last.flatten(1)) for name, group in observation.items()}
        self._refuse_unless_finite({"reward": reward, "observation": final["policy"]})
        self._episodes.add(reward, terminated, truncated, valid=valid, counted=restart)
        return Transition(observation, final, reward, terminated, truncated, valid, {})

    @override
    def take_totals(self) -> Totals:
        return self._episodes.take_totals()

    @override
    def unfinished_terms(self) -> Tensor:
        return self._episodes.unfinished_terms()

    @override
    def episode_ids(self) -> Tensor:
        return self._ids.clone()

    @override
    def outcomes(self, transition: Transition) -> dict[str, Tensor]:
        return {TERMINATED: transition.terminated, TIMEOUT: transition.truncated}

    @override
    def snapshot(self) -> dict[str, Tensor]:
        return {"resumed": torch.tensor(self._resumed)}

    @override
    def restore(self, snapshot: Mapping[str, Tensor]) -> Observation:
        self._resumed = int(snapshot["resumed"]) + 1
        return self.reset()

    @override
    def close(self) -> None:
        self._vector.close()

    @override
    def picture(self) -> np.ndarray | None:
        try:
            pictures = self._vector.render()
        except Exception as error:  # of Gymnasium, of the library that draws, of OpenGL
            raise UserError(f"{self._env_id} cannot be drawn: {' '.join(str(error).split())}") from error
        return None if not pictures else np.asarray(pictures[0])

    def _refuse_unless_finite(self, told: Mapping[str, Tensor]) -> None:
        """Nothing could be learnt from it, nor averaged."""
        for what, values in told.items():
            wrong = ~torch.isfinite(values.reshape(self.num_envs, -1)).all(1)
            if bool(wrong.any()):
                row = int(wrong.nonzero()[0])
                step = int(self._episodes.age[row]) + 1
                raise UserError(
                    f"{self._env_id}: the {what} in step {step} of an episode is not finite: {values[row].tolist()}"
                )

    def _observe(self, found: Any) -> Observation:
        numbers = torch.from_numpy(np.array(found, np.float32)).reshape(self.num_envs, -1)
        self.measured = {"observation": numbers}
        return {"policy": numbers, "critic": numbers}

    def _command(self, action: Tensor) -> np.ndarray:
        space = self._action_space
        command = self.interface.action.command(action).numpy().astype(space.dtype)
        return command.reshape(-1, *space.shape).clip(space.low, space.high)


def check_spaces(env_id: str, observation: "spaces.Space[Any]", action: "spaces.Space[Any]") -> None:
    """UserError unless actions are bounded numbers and observations are numbers that are no picture."""
    if not isinstance(action, spaces.Box):
        raise UserError(f"{env_id} has the actions {action}; a Gaussian policy needs a Box of continuous actions")
    if not (np.isfinite(action.low).all() and np.isfinite(action.high).all()):
        raise UserError(f"{env_id} has actions without bounds, {action}; wrap it so that they have some")
    if not (action.low < action.high).all():
        raise UserError(f"{env_id} has actions that cannot change, {action}; wrap it so that they are left out")
    if not isinstance(observation, spaces.Box):
        raise UserError(f"{env_id} has the observations {observation}; a Box of numbers is needed")
    if len(observation.shape) > 1 or observation.dtype == np.uint8:
        raise UserError(
            f"{env_id} observes pictures or grids, {observation.shape} of {observation.dtype}; policies here see a "
            "vector of numbers"
        )


def _flat(space: "spaces.Space[Any]") -> "spaces.Space[Any]":
    """Observations side by side in one vector, where they are several vectors and numbers."""
    if isinstance(space, spaces.Dict):
        parts = list(space.spaces.values())
    elif isinstance(space, spaces.Tuple):
        parts = list(space.spaces)
    else:
        return space
    flat = [_flat(part) for part in parts]
    pictures = [part for part in flat if isinstance(part, spaces.Box) and len(part.shape) > 1]
    return pictures[0] if pictures else spaces.flatten_space(space)


def _control_period(environment: "gymnasium.Env[Any, Any]") -> float:
    """Duration of a step (s) as the environment states it: its `dt`, or one picture per step; 0.0 where it does not."""
    period = getattr(environment.unwrapped, "dt", None)
    if isinstance(period, int | float) and period > 0:
        return float(period)
    rate = environment.metadata.get("render_fps")
    return 1.0 / rate if rate else 0.0


def _interface(env_id: str, size: int, action: "spaces.Box", control_period: float) -> Interface:
    @measurement()
    def observation(numbers: Tensor) -> Tensor:
        """What the environment lets its policy observe."""
        return numbers

    signals = collect(SimpleNamespace(observation=observation))
    table = SignalTable(signals, {"numbers": Leaf((size,), "field")})
    low, high = action.low.ravel().astype(float), action.high.ravel().astype(float)
    return Interface(
        robot=env_id,
        control_period=control_period,
        onboard=Onboard(table, ["observation"]),
        sensors=(Measured("observation", (size,), Quantity(), MeasurementConfig()),),
        action=ActionInterface(
            names=tuple(f"action_{number}" for number in range(len(low))),
            units=("1",) * len(low),
            lower=tuple(low.tolist()),
            upper=tuple(high.tolist()),
        ),
    )


def _keep_mujoco_from_writing_a_log() -> None:
    """MuJoCo warns about old models once per environment, on the terminal and into a file in the working directory."""
    import mujoco

    log = mujoco.MjLogConfig.get()
    log.logto_file, log.logto_console = False, False
    log.set()


class TaskVectorEnv(VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """A task of ours as Gymnasium's vector environment: the policy's observation in float32, actions in [-1, 1].

    Sub-environments reset themselves in the step in which an episode ends; its last observation is in
    `infos["final_obs"]`, whether it was a success in `infos["is_success"]`. A seed chooses the first episode.
    """

    def __init__(self, environment: Environment) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}
        self.environment = environment
        self.num_envs = environment.num_envs
        self.single_observation_space, self.single_action_space = _task_spaces(environment)
        self.observation_space = gymnasium.vector.utils.batch_space(self.single_observation_space, self.num_envs)
        self.action_space = gymnasium.vector.utils.batch_space(self.single_action_space, self.num_envs)
        self._next_id = 0

    @override
    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        first = seed[0] if isinstance(seed, list) else seed
        super().reset(seed=first)
        if first is not None:
            self._next_id = _first_episode(first)
        observation = _whole_episodes(self.environment, self._next_id)
        self._next_id = int(self.environment.episode.next_id)
        return observation, {}

    @override
    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        with torch.no_grad():
            transition = self.environment.step(torch.as_tensor(np.asarray(actions), dtype=torch.float32))
        self._next_id = int(self.environment.episode.next_id)
        terminated, truncated = transition.terminated.numpy(), transition.truncated.numpy()
        infos: dict[str, Any] = {}
        ended = terminated | truncated
        if ended.any():
            infos["final_obs"], infos["_final_obs"] = transition.final_observation["policy"].numpy().copy(), ended
            infos["is_success"] = self.environment.outcomes(transition)[SUCCESS].numpy()
            infos["_is_success"] = ended
        reward = transition.reward.numpy().astype(np.float64)
        return transition.observation["policy"].numpy().copy(), reward, terminated, truncated, infos


class TaskEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """One environment of a task of ours as Gymnasium's; its episodes begin when it is reset."""

    def __init__(self, environment: Environment) -> None:
        if environment.num_envs != 1:
            raise UserError(f"a TaskEnv is one environment, not {environment.num_envs}; those are a TaskVectorEnv")
        self.metadata = {"render_modes": []}
        self.environment = environment
        self.observation_space, self.action_space = _task_spaces(environment)
        self._next_id = 0

    @override
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._next_id = _first_episode(seed)
        observation = _whole_episodes(self.environment, self._next_id)[0]
        self._next_id += 1
        return observation, {}

    @override
    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        with torch.no_grad():
            asked = torch.as_tensor(np.asarray(action), dtype=torch.float32).unsqueeze(0)
            # Without a restart, what the task has told meanwhile (the next waypoint) is in the observation.
            transition = self.environment.step(asked, restart=False)
        terminated, truncated = bool(transition.terminated), bool(transition.truncated)
        infos = {"is_success": bool(self.environment.outcomes(transition)[SUCCESS])} if terminated or truncated else {}
        observation = transition.observation["policy"][0].numpy().copy()
        return observation, float(transition.reward), terminated, truncated, infos


def _first_episode(seed: int) -> int:
    """Where the episodes of a seed begin: so far apart that two seeds share none."""
    return (seed % 2**32) << 24


def _whole_episodes(environment: Environment, first_id: int) -> np.ndarray:
    """Begin episodes; returns what is observed first. Ours begin training at random ages; who resets expects age 0."""
    observation = environment.reset(first_id)["policy"].numpy().copy()
    environment.episode.age.zero_()
    return observation


def _task_spaces(environment: Environment) -> tuple["spaces.Box", "spaces.Box"]:
    observed, actions = environment.observation_sizes["policy"], environment.action_size
    return spaces.Box(-np.inf, np.inf, (observed,), np.float32), spaces.Box(-1.0, 1.0, (actions,), np.float32)
