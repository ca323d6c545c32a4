"""Trains a policy: collects, updates, validates, writes checkpoints; stops at the target, at the end, or when told to.

    result = train(config, folder)

A run is a folder (`robo_ppo.run.folder`). Everything that continues after a stop is in its newest checkpoint; on a CPU a
resumed run gives the same weights, bit for bit, as one that was never stopped.
"""

import dataclasses
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from robo_ppo.config import RunConfig
from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment, Totals
from robo_ppo.env.task import SUCCESS
from robo_ppo.errors import UserError
from robo_ppo.learn.actor_critic import ActorCritic
from robo_ppo.learn.ppo import PPO, PPOSettings, Statistics
from robo_ppo.learn.rollout import Rollout
from robo_ppo.run import checkpoint
from robo_ppo.run.distributed import Ranks, start_ranks
from robo_ppo.run.episodes import run_episodes
from robo_ppo.run.folder import load_config
from robo_ppo.run.metrics import MetricsLog, Progress


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended."""

    steps: int
    seconds: float
    best_validation: float | None
    stopped_by: str  # "target", "end" or a signal's name


def train(config: RunConfig, folder: Path) -> TrainingResult:
    """Train in a run's folder, from its newest checkpoint if it has one; ends with the best policy in `best.pt`."""
    ranks = start_ranks(folder, config.ranks)
    try:
        return Trainer(config, folder, ranks).run()
    finally:
        ranks.close()


def take_part(folder: Path) -> None:
    """Train as one of the other ranks."""
    config = load_config(folder)
    ranks = start_ranks(folder, config.ranks)
    try:
        Trainer(config, folder, ranks).run()
    finally:
        ranks.close()


def make_model(config: RunConfig, observation_sizes: dict[str, int], action_size: int) -> ActorCritic:
    """The networks of a run, freshly initialised from its seed."""
    generator = torch.Generator().manual_seed(config.seed)
    return ActorCritic(observation_sizes, action_size, **dataclasses.asdict(config.policy), generator=generator)


class Trainer:
    """One rank of a training."""

    def __init__(self, config: RunConfig, folder: Path, ranks: Ranks) -> None:
        self.config, self.folder, self.ranks = config, folder, ranks
        if config.total_steps < 1 or config.validation.episodes < ranks.size:
            raise UserError("total_steps must be at least 1, validation.episodes at least the number of ranks")
        if config.num_envs < 1 or config.num_envs % ranks.size:
            raise UserError(
                f"num_envs={config.num_envs} must be a positive multiple of the {ranks.size} ranks; change it or ranks=…"
            )
        torch.set_num_threads(config.threads)
        own_envs = config.num_envs // ranks.size
        self.environment = build(config, "train", own_envs, rank=ranks.rank, ranks=ranks.size)
        self.validation = self._build_validation()
        model = make_model(config, self.environment.observation_sizes, self.environment.action_size)
        rollout = Rollout(
            config.ppo.horizon,
            own_envs,
            self.environment.observation_sizes,
            self.environment.action_size,
            self.environment.device,
        )
        generator = torch.Generator().manual_seed(config.seed * 100_003 + ranks.rank)
        settings = PPOSettings(**dataclasses.asdict(config.ppo))
        self.ppo = PPO(model, rollout, settings, generator, ranks.mean)
        self.steps = 0
        self.seconds = 0.0
        self.best: float | None = None
        self.last_validation: float | None = None
        self._recent = torch.zeros(2)  # episodes and successes since the curriculum last looked
        curriculum = config.task.curriculum
        self.environment.level = torch.tensor(curriculum.start)
        self.observation = self.environment.reset()
        self._signal: str | None = None
        if checkpoint.numbered(folder):
            self._resume(checkpoint.read(checkpoint.newest(folder)))
        elif config.init is not None:
            self._initialise(config.init)

    def run(self) -> TrainingResult:
        """Train until the target, the end, or a signal."""
        config, leads = self.config, self.ranks.rank == 0
        log = MetricsLog(self.folder, self.steps) if leads else None
        progress = Progress(config.total_steps) if leads else None
        per_iteration = config.ppo.horizon * config.num_envs
        stopped_by = "end"
        if self.steps == 0:
            self._save()  # a folder that cannot be written to shows now, not after the first interval
        with _listening(self._on_signal) if leads else _nothing():
            started, steps_before = time.monotonic(), self.steps
            while self.steps < config.total_steps:
                began = time.monotonic()
                statistics = self.iterate()
                self.steps += per_iteration
                totals, told_to_stop = self._sum_up(self.environment.take_totals())
                self._raise_level(totals)
                self.seconds += time.monotonic() - began
                validate = self._passed(config.validation.every)
                if validate:
                    began = time.monotonic()
                    self.last_validation = self._validate()
                    self.seconds += time.monotonic() - began
                row = self._row(statistics, totals, self.last_validation if validate else None)
                if log is not None and progress is not None:
                    log.write(row)
                    speed = (self.steps - steps_before) / (time.monotonic() - started)
                    progress.show(self.steps, speed, row.get("train/success"), self.last_validation)
                reached = validate and self._keep_best(self.last_validation or 0.0)
                if told_to_stop or reached or self.steps >= config.total_steps or self._passed(config.checkpoint_every):
                    self._save()
                if told_to_stop or reached:
                    stopped_by = (self._signal or "signal") if told_to_stop else "target"
                    break
        if log is not None and progress is not None:
            progress.show(
                self.steps,
                (self.steps - steps_before) / max(time.monotonic() - started, 1e-9),
                None,
                self.last_validation,
                force=True,
            )
            progress.end()
            log.close()
        return TrainingResult(self.steps, self.seconds, self.best, stopped_by)

    def iterate(self) -> Statistics:
        """Collect one rollout and learn from it."""
        self._lower_learning_rate_cap()
        self.collect()
        return self.ppo.update(self.observation["critic"])

    @torch.no_grad()
    def collect(self) -> None:
        """Fill the rollout with steps of every environment."""
        observation = self.observation
        for step in range(self.config.ppo.horizon):
            transition = self.environment.step(self.ppo.act(step, observation))
            self.ppo.record(
                step,
                transition.reward,
                transition.terminated,
                transition.truncated,
                transition.valid,
                transition.final_observation["critic"],
            )
            observation = transition.observation
        self.observation = observation

    def _lower_learning_rate_cap(self) -> None:
        settings, done = self.config.ppo, self.steps / self.config.total_steps
        cap = settings.max_learning_rate + (settings.final_max_learning_rate - settings.max_learning_rate) * done
        self.ppo.max_learning_rate.fill_(cap)

    def _sum_up(self, own: Totals) -> tuple[Totals, bool]:
        """Totals of all ranks, and whether one of them was told to stop."""
        names = list(own.outcomes)
        numbers = torch.stack([own.episodes, own.returns, own.steps, *own.outcomes.values(), *own.terms])
        numbers = torch.cat((numbers, torch.tensor([float(own.broken), float(self._signal is not None)])))
        episodes, returns, steps, *rest = self.ranks.sum(numbers)
        outcomes = dict(zip(names, rest[: len(names)], strict=True))
        terms = torch.stack(rest[len(names) : -2]) if len(own.terms) else own.terms
        if not bool(torch.isfinite(terms).all()):
            bad = [
                name
                for name, value in zip(self.environment.reward.names, terms.tolist(), strict=True)
                if value - value != 0
            ]
            raise UserError(
                f"the reward term '{bad[0]}' returned a value that is not finite; make it finite for every state"
            )
        return Totals(episodes, returns, steps, outcomes, terms, int(rest[-2])), bool(rest[-1] > 0)

    def _raise_level(self, totals: Totals) -> None:
        """Curriculum: once as many episodes have ended as there are environments, look at how they went."""
        curriculum = self.config.task.curriculum
        self._recent += torch.stack((totals.episodes, totals.outcomes[SUCCESS]))
        if self._recent[0] >= self.config.num_envs:
            if self._recent[1] / self._recent[0] > curriculum.success:
                self.environment.level = (self.environment.level + curriculum.step).clamp(max=1.0)
            self._recent.zero_()

    def _row(self, statistics: Statistics, totals: Totals, validation: float | None) -> dict[str, float]:
        episodes = float(totals.episodes)
        row = {"step": float(self.steps), "seconds": self.seconds, "steps_per_second": self.steps / self.seconds}
        if episodes:
            row["train/success"] = float(totals.outcomes[SUCCESS]) / episodes
            row["train/return"] = float(totals.returns) / episodes
            row["train/episode_steps"] = float(totals.steps) / episodes
            row |= {f"outcome/{name}": float(count) / episodes for name, count in totals.outcomes.items()}
            row |= {
                f"reward/{n}": float(v) / episodes
                for n, v in zip(self.environment.reward.names, totals.terms, strict=True)
            }
        row |= {"train/level": float(self.environment.level), "train/broken_worlds": float(totals.broken)}
        row |= {f"ppo/{name}": float(value) for name, value in statistics.items()}
        if validation is not None:
            row["validation/success"] = validation
        return row

    def _build_validation(self) -> Environment:
        """This rank's share of the validation episodes; all shares are of one size."""
        share = -(-self.config.validation.episodes // self.ranks.size)
        return build(
            self.config,
            "validation",
            share,
            episodes=share * self.ranks.size,
            rank=self.ranks.rank,
            ranks=self.ranks.size,
        )

    def _validate(self) -> float:
        """Success of the policy without its noise, over the validation episodes."""
        model = self.ppo.model
        state = model.initial_state(self.validation.num_envs)

        def act(observation: dict[str, Tensor]) -> Tensor:
            nonlocal state
            distribution, state = model.policy(model.normalizers["policy"](observation["policy"]), state)
            return distribution.mean

        episodes = run_episodes(self.validation, act)
        return float(self.ranks.mean(torch.tensor(episodes.success, dtype=torch.float64)))

    def _keep_best(self, validation: float) -> bool:
        """Remember the best policy so far; returns whether the target is reached."""
        if self.best is None or validation > self.best:
            self.best = validation
            if self.ranks.rank == 0:
                best = {"model": self.ppo.model.state_dict(), "steps": self.steps, "validation": validation}
                checkpoint.write(self.folder / "checkpoints" / checkpoint.BEST, best)
        target = self.config.validation.target
        return target is not None and validation >= target

    def _passed(self, interval: int) -> bool:
        """Whether this iteration crossed a multiple of an interval of steps."""
        per_iteration = self.config.ppo.horizon * self.config.num_envs
        return self.steps // interval > (self.steps - per_iteration) // interval

    def _own_state(self) -> dict[str, Any]:
        return {
            "environment": self.environment.snapshot(),
            "observation": {name: values.clone() for name, values in self.observation.items()},
            "ppo": self.ppo.state_dict(),
        }

    def _save(self) -> None:
        states = self.ranks.gather(self._own_state())
        if self.ranks.rank == 0:
            content = {
                "config": (self.folder / "config.yaml").read_text(),
                "steps": self.steps,
                "seconds": self.seconds,
                "best": self.best,
                "last_validation": self.last_validation,
                "recent": self._recent,
                "ranks": states,
            }
            checkpoint.save(self.folder, self.steps, content)

    def _resume(self, saved: dict[str, Any]) -> None:
        if len(saved["ranks"]) != self.ranks.size:
            raise UserError(
                f"the checkpoint was written by {len(saved['ranks'])} ranks; resume with ranks={len(saved['ranks'])}"
            )
        own = saved["ranks"][self.ranks.rank]
        try:
            self.environment.restore(own["environment"])
            self.ppo.load_state_dict(own["ppo"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise UserError(
                f"the checkpoint does not fit the configuration in {self.folder / 'config.yaml'}: {error}"
            ) from error
        self.observation = own["observation"]
        self.steps, self.seconds, self.best = saved["steps"], saved["seconds"], saved["best"]
        self.last_validation, self._recent = saved["last_validation"], saved["recent"]

    def _initialise(self, source: str) -> None:
        """Start from the networks of another run."""
        from robo_ppo.run.folder import find

        path = find(source, self.config.runs) / "checkpoints" / checkpoint.BEST
        load_model(self.ppo.model, checkpoint.read(path)["model"], str(path))

    def _on_signal(self, name: str) -> None:
        self._signal = name


def load_model(model: ActorCritic, weights: dict[str, Tensor], where: str) -> None:
    """Put saved weights into a model; a `UserError` where they do not fit."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the policy in {where} does not fit this task, robot and policy: {reason}") from error


class _nothing:
    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class _listening:
    """While it is open, SIGINT and SIGTERM ask the training to stop at the end of its iteration; a second one is not heard."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self._told = told

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        os.write(2, b"\nstopping after this iteration, then writing a checkpoint\n")
        self._told(signal.Signals(number).name)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
