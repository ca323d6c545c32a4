"""Isaac Lab's environments for our learner: `python train.py task=isaac_lab env_id=Isaac-Velocity-Flat-AnymalD`.

    environment = IsaacLabEnvironment.make(IsaacLabSettings("Isaac-Cartpole", num_envs=1024), "train", 0, 1024)

Its tensors stay where they are, on the simulation's device, and nothing in a step waits for it. All environments of a
process are rows of one simulation (`robo_ppo.env.isaac_lab_launch`): when validation has had its turn, training goes on
with new episodes everywhere, in a step that counts for nothing.

A time limit is bootstrapped from the last observation of the episode. Isaac Lab 3 gives it (`compute_final_obs`); Isaac
Lab 2 resets before it observes, so there the observation before the last step stands for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import pad
from typing_extensions import override

from robo_ppo.env.foreign import OUTCOMES, REWARD_TERMS, TERMINATED, TIMEOUT, ForeignEpisodes
from robo_ppo.env.scenes import Split, seed_of, stream_of
from robo_ppo.env.vector import ForeignEnvironment, Observation, Score, Totals, Transition
from robo_ppo.errors import UserError

try:
    from robo_ppo.env.isaac_lab_api import GroupObservation, Observations
    from robo_ppo.env.isaac_lab_launch import Simulation, Wanted
    from robo_ppo.env.isaac_lab_terms import action_bounds, group_size, interface_of, observation_terms
except ImportError as error:
    raise UserError("task=isaac_lab needs Gymnasium, which comes with Isaac Lab: see docs/isaac_lab.md") from error

LAUNCHER = "robo_ppo.env.isaac_lab_launch:IsaacLabLauncher"


@dataclass(frozen=True)
class IsaacLabSettings:
    """`task.settings` of task=isaac_lab."""

    env_id: str  # as registered; "package.module:Name" imports the module first
    num_envs: int = 0  # rows of the simulation, of all ranks together; 0: as many as are asked for
    device: str = "cpu"  # of the simulation, and of everything that is learnt from it
    action_limit: float = 5.0  # largest action where the environment sets no bounds
    policy_groups: list[str] = field(default_factory=lambda: ["policy"])  # of observations
    critic_groups: list[str] = field(default_factory=list[str])  # none: "critic" if there is one, or else the policy's
    cfg: dict[str, Any] = field(default_factory=dict[str, Any])  # changes of the environment's configuration
    overrides: list[str] = field(default_factory=list[str])  # Isaac Lab 3's own: physics=newton_mjwarp
    launcher: str = LAUNCHER  # module:Class of what starts the simulator


class IsaacLabEnvironment(ForeignEnvironment):
    """Some rows of this process's simulation as environments of ours; what it rewards is the only score.

    Its state cannot be saved: a run that is resumed begins new episodes.
    """

    Settings = IsaacLabSettings
    score: Score = "return"

    def __init__(
        self, simulation: Simulation, num_envs: int, settings: IsaacLabSettings, stream: tuple[int, int], rank: int = 0
    ) -> None:
        """The first `num_envs` rows; `stream` tells the seeds of splits and runs apart."""
        environment = simulation.unwrapped
        self._simulation, self._stream, self._rank = simulation, stream, rank
        self._rows = int(environment.num_envs)
        self.num_envs, self.device = num_envs, torch.device(environment.device)
        self.max_episode_steps = int(environment.max_episode_length)
        terms = observation_terms(environment, settings.policy_groups)
        self._groups = {"policy": tuple(settings.policy_groups), "critic": _critic_groups(simulation, settings)}
        self.observation_sizes = {
            name: sum(group_size(environment, group) for group in groups) for name, groups in self._groups.items()
        }
        observed = observation_terms(environment, self._groups["critic"])
        self.observed = tuple(t.name for t in observed for _ in range(torch.Size(t.shape).numel()))
        self._policy_terms = [(t.name, t.shape, t.is_last_action) for t in terms]
        bounds = action_bounds(environment, settings.action_limit)
        self.interface = interface_of(simulation.wanted.env_id, environment, terms, bounds)
        self._lower, upper = (torch.tensor(limits, device=self.device) for limits in (bounds.lower, bounds.upper))
        self._half_range = 0.5 * (upper - self._lower)
        self._tells_last = hasattr(environment.cfg, "compute_final_obs")
        self._is_finite_horizon = bool(getattr(environment.cfg, "is_finite_horizon", False))
        self.term_names, self.outcome_names = REWARD_TERMS, OUTCOMES
        self.level = torch.ones(())
        self._resumed = 0
        self._episodes = ForeignEpisodes(num_envs, self.device)
        self._log: list[Mapping[str, Any]] = []
        simulation.users.add(self)

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
        assert isinstance(settings, IsaacLabSettings)
        if not 0.0 < settings.action_limit < float("inf"):
            raise UserError(f"task.settings.action_limit must be greater than 0, not {settings.action_limit}")
        wanted = Wanted(
            settings.env_id,
            max(num_envs, settings.num_envs // ranks),
            settings.device,
            seed_of("isaac_lab", seed, rank) % 2**31,
            settings.launcher,
            settings.cfg,
            tuple(settings.overrides),
        )
        simulation = Simulation.of_this_process(wanted)
        try:
            return cls(simulation, num_envs, settings, stream_of(split, seed), rank)
        except UserError as error:
            raise UserError(f"{settings.env_id}: {error}") from error

    @override
    @classmethod
    def at_once(cls, settings: IsaacLabSettings) -> int:
        return settings.num_envs or super().at_once(settings)

    @override
    def describe(self) -> str:
        return f"{self._simulation.description} {self._simulation.wanted.env_id} on {self.device}"

    @override
    def reset(self, first_id: int = 0) -> Observation:
        self._first_id = first_id
        self._episodes.begin()
        self._log.clear()
        return self._take_over()

    @override
    def step(self, action: Tensor, *, restart: bool = True) -> Transition:
        if self._simulation.holder is not self:
            return self._begin_again()
        before = self._observation
        found, rewards, terminations, truncations, extras = self._simulation.environment.step(self._command(action))
        observation = self._observe(found)
        reward = rewards[: self.num_envs].float().clone()  # what the simulation returns it may write into again
        terminated = terminations[: self.num_envs].bool().clone()
        timed_out = truncations[: self.num_envs].bool() & ~terminated
        ended = (terminated | timed_out).unsqueeze(1)
        last = self._last(extras, before)
        final = {name: torch.where(ended, last[name], now) for name, now in observation.items()}
        self._episodes.add(reward, terminated, timed_out, counted=restart)
        if restart:
            self._remember_log(extras)
        else:
            self._refuse_unless_finite(reward)
        if self._is_finite_horizon:  # its time limit is part of the task: nothing comes after it
            terminated, truncated = terminated | timed_out, torch.zeros_like(timed_out)
        else:
            truncated = timed_out
        valid = torch.ones_like(terminated)
        return Transition(observation, final, reward, terminated, truncated, valid, {TIMEOUT: timed_out})

    @override
    def take_totals(self) -> Totals:
        return self._episodes.take_totals()

    @override
    def take_log(self) -> dict[str, float]:
        """Means of what the environment's managers report, as `isaac_lab/Episode_Reward/…`."""
        values: dict[str, list[Tensor]] = {}
        for reported in self._log:
            for name, value in reported.items():
                number = torch.as_tensor(value, dtype=torch.float32, device=self.device)
                values.setdefault(name, []).append(number.mean())
        self._log.clear()
        return {f"isaac_lab/{name.lstrip('/')}": float(torch.stack(found).mean()) for name, found in values.items()}

    @override
    def unfinished_terms(self) -> Tensor:
        return self._episodes.unfinished_terms()

    @override
    def episode_ids(self) -> Tensor:
        return self._first_id + torch.arange(self.num_envs, device=self.device)

    @override
    def outcomes(self, transition: Transition) -> dict[str, Tensor]:
        timed_out = transition.values[TIMEOUT]
        return {TERMINATED: transition.terminated & ~timed_out, TIMEOUT: timed_out}

    @override
    def snapshot(self) -> dict[str, Tensor]:
        return {"resumed": torch.tensor(self._resumed)}

    @override
    def restore(self, snapshot: Mapping[str, Tensor]) -> Observation:
        self._resumed = int(snapshot["resumed"]) + 1
        return self.reset()

    @override
    def close(self) -> None:
        """Leave the simulation to others; it ends with the process."""
        self._simulation.users.discard(self)
        if self._simulation.holder is self:
            self._simulation.holder = None

    def _take_over(self) -> Observation:
        """Begin an episode in every row of the simulation, which is ours until another one does so."""
        simulation = self._simulation
        simulation.holder = self
        seed = seed_of("isaac_lab episodes", *self._stream, self._resumed, self._first_id, self._rank) % 2**31
        found, extras = simulation.environment.reset(seed=seed)
        self._latest_log: object = extras.get("log")
        is_training = self._stream[0] == stream_of("train", 0)[0]
        if is_training:  # at random ages, so that time limits do not come all at once
            ages = simulation.unwrapped.episode_length_buf
            ages.copy_(torch.randint_like(ages, self.max_episode_steps))
        return self._observe(found)

    def _begin_again(self) -> Transition:
        """The step after another one had the simulation: nothing happened in it but new beginnings."""
        self._first_id += self.num_envs
        self._episodes.cut()
        observation = self._take_over()
        nothing = torch.zeros(self.num_envs, dtype=torch.bool, device=self.device)
        reward = torch.zeros(self.num_envs, device=self.device)
        return Transition(observation, observation, reward, nothing, nothing, nothing, {TIMEOUT: nothing})

    def _remember_log(self, extras: Mapping[str, Any]) -> None:
        """Keep what was reported when episodes ended; until others do, the same report is found again."""
        log = extras.get("log")
        if log is not None and log is not self._latest_log:
            self._log.append(log)
        self._latest_log = log

    def _observe(self, found: Observations) -> Observation:
        self._observation = self._grouped(found)
        sizes = [torch.Size(shape).numel() for _, shape, _ in self._policy_terms]
        parts = zip(self._policy_terms, self._observation["policy"].split(sizes, 1), strict=True)
        self.measured = {
            name: part.reshape(self.num_envs, *shape)
            for (name, shape, is_last_action), part in parts
            if not is_last_action
        }
        return self._observation

    def _grouped(self, found: Observations) -> Observation:
        return {name: self._side_by_side([found[g] for g in groups]) for name, groups in self._groups.items()}

    def _side_by_side(self, groups: Sequence[GroupObservation]) -> Tensor:
        parts = [part for group in groups for part in ([group] if isinstance(group, Tensor) else group.values())]
        return torch.cat([part[: self.num_envs].flatten(1).float() for part in parts], 1)

    def _last(self, extras: Mapping[str, Any], before: Observation) -> Observation:
        """What was observed last in the episodes that ended in this step; the other rows mean nothing."""
        if not self._tells_last:
            return before
        return self._grouped(extras["final_obs"]) if "final_obs" in extras else self._observation

    def _command(self, action: Tensor) -> Tensor:
        """Actions for all rows of the simulation; those that are not ours do nothing."""
        command = self._lower + (action.clamp(-1.0, 1.0) + 1.0) * self._half_range
        return command if self.num_envs == self._rows else pad(command, (0, 0, 0, self._rows - self.num_envs))

    def _refuse_unless_finite(self, reward: Tensor) -> None:
        """Where episodes are measured; in training the trainer looks after each iteration."""
        if not bool(torch.isfinite(reward).all()):
            raise UserError(f"{self._simulation.wanted.env_id}: a reward is not finite")


def _critic_groups(simulation: Simulation, settings: IsaacLabSettings) -> tuple[str, ...]:
    if settings.critic_groups:
        return tuple(settings.critic_groups)
    has_critic = "critic" in simulation.unwrapped.single_observation_space.spaces
    return ("critic",) if has_critic else tuple(settings.policy_groups)
