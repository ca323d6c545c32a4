"""Trains a policy: collects, updates, validates, writes checkpoints; stops at the target, at the end, or when told to.

    result = train(config, folder)

A run is a folder (`robo_ppo.run.folder`). Everything that continues after a stop is in its newest checkpoint; on a CPU
a resumed run gives the same weights, bit for bit, as one that was never stopped.
"""

import dataclasses
import os
import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from robo_ppo.config import RunConfig, parse_config
from robo_ppo.env.build import make_environment
from robo_ppo.env.scenes import seed_of
from robo_ppo.env.task import SUCCESS
from robo_ppo.env.vector import Observation, Score, Totals, Transition, VectorEnvironment
from robo_ppo.errors import UserError
from robo_ppo.export.weights import start_from_bundle
from robo_ppo.learn.actor_critic import ActorCritic
from robo_ppo.learn.ppo import PPO, Execution, PPOSettings, Statistics
from robo_ppo.learn.rollout import Rollout
from robo_ppo.run import checkpoint
from robo_ppo.run.distributed import Ranks, start_ranks
from robo_ppo.run.episodes import run_episodes
from robo_ppo.run.equality import assert_learnt_the_same
from robo_ppo.run.folder import find, load_config
from robo_ppo.run.greedy import Greedy
from robo_ppo.run.memory import explained
from robo_ppo.run.metrics import MetricsLog, Progress
from robo_ppo.run.others import Others, other_ranks
from robo_ppo.run.stepper import Stepper
from robo_ppo_onboard.bundle import read_bundle

_TO_RECORD = 4  # iterations after which everything that can be is recorded
_DUMPS = 8  # broken worlds that one rank keeps in a run
_UNHARMED = "the last checkpoint is unharmed"
_STOPPING = ("SIGINT", "SIGTERM")


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended."""

    steps: int
    seconds: float
    score: Score
    best_validation: float | None
    stopped_by: str  # "target", "end", "pause" or a signal's name


def train(config: RunConfig, folder: Path, pause_at: int | None = None, others: Others | None = None) -> TrainingResult:
    """Train in a run's folder, from its newest checkpoint if it has one; ends with the best policy in `best.pt`.

    With `pause_at` it stops after that many environment steps, validated and with a checkpoint, to go on another time.
    `others` are the other ranks, where they have been started already.
    """
    group = other_ranks(config.ranks) if others is None else nullcontext(others)
    with group as others, start_ranks(folder, others) as ranks, explained(config, _attempt):
        return Trainer(config, folder, ranks, pause_at).run()


def take_part(config: RunConfig, folder: Path, ranks: Ranks) -> TrainingResult:
    """Train as one of several ranks; only rank 0 needs the folder."""
    with explained(config, _attempt):
        return Trainer(config, folder, ranks).run()


def _attempt(config: RunConfig) -> "Trainer":
    """A training that has used all the memory that it ever will: graphs are recorded, a validation was run."""
    trainer = Trainer(config, Path("nowhere"), Ranks(0, 1))
    trainer.warm_up()
    return trainer


def make_model(config: RunConfig, observation_sizes: dict[str, int], action_size: int) -> ActorCritic:
    """The networks of a run, freshly initialised from its seed."""
    generator = torch.Generator().manual_seed(seed_of("networks", config.seed))
    return ActorCritic(observation_sizes, action_size, **dataclasses.asdict(config.policy), generator=generator)


class Trainer:
    """One rank of a training."""

    def __init__(self, config: RunConfig, folder: Path, ranks: Ranks, pause_at: int | None = None) -> None:
        self.config, self.folder, self.ranks = config, folder, ranks
        torch.set_num_threads(config.threads)
        own_envs = config.num_envs // ranks.size
        self.environment = make_environment(config, "train", own_envs, rank=ranks.rank, ranks=ranks.size)
        self.validation = self._build_validation()
        device = self.environment.device
        sizes, action_size = self.environment.observation_sizes, self.environment.action_size
        model = make_model(config, sizes, action_size).to(device)
        rollout = Rollout(config.ppo.horizon, own_envs, sizes, action_size, device, model.state_size)
        generator = torch.Generator(device).manual_seed(seed_of("learner", config.seed, ranks.rank))
        settings = PPOSettings(**dataclasses.asdict(config.ppo))
        execution = Execution(config.precision, config.compile, config.capture)
        self.ppo = PPO(model, rollout, settings, generator, ranks.mean if ranks.size > 1 else None, execution)
        captures = config.capture and not config.debug  # which looks at every number
        # Messages between processes cannot be part of a graph.
        alone = ranks.size == 1 or not settings.scale_reward
        self.stepper = Stepper(
            self.environment, self._act, self._record, capture=captures and alone, generators=(generator,)
        )
        self._greedy = Greedy(model, self.validation.num_envs)
        self.validation_stepper = Stepper(self.validation, self._greedy.act, restart=False, capture=captures)
        self.steps = 0
        self.seconds = 0.0
        self.best: float | None = None
        self.last_validation: float | None = None
        self._recent = torch.zeros(2, device=device)  # episodes and successes since the curriculum last looked
        curriculum = config.task.curriculum
        self.environment.level.fill_(curriculum.start)
        self.stepper.place(self.environment.reset())
        self._signal: str | None = None
        self._dumped = 0
        self._told: set[str] = set()
        # Rank 0 reads the files, which need not be there on the machines of the others, and knows when to pause.
        until = min(config.total_steps, pause_at or config.total_steps)
        saved, self.until = ranks.scatter([(state, until) for state in self._saved()])
        if saved is not None:
            self._resume(saved)
        elif config.init is not None:
            if ranks.rank == 0:
                initialise(model, config)
            model.load_state_dict(ranks.share(checkpoint.on_cpu(model.state_dict())))

    def run(self) -> TrainingResult:
        """Train until the target, the end, or a signal."""
        leads = self.ranks.rank == 0
        progress = Progress(self.config.total_steps, self.environment.score, self.steps)
        stopped = ""
        with (
            _listening(self._on_signal, aloud=leads),
            closing(self.environment),
            closing(self.validation),
            MetricsLog(self.folder, self.steps, self.config) if leads else nullcontext() as log,
        ):
            if self.steps == 0:
                self._save()  # a folder that cannot be written to shows now, not after the first interval
            while self.steps < self.until and not self._is_at_target() and not stopped:
                row, stopped = self._advance()
                if log is not None:
                    log.write(row)
                    progress.show(self.steps, row.get(f"train/{self.environment.score}"), self.last_validation)
                if stopped or self._is_at_target() or self._passed(self.config.checkpoint_every):
                    self._save()
        progress.end()
        ended_by = stopped or ("target" if self._is_at_target() else self._end())
        return TrainingResult(self.steps, self.seconds, self.environment.score, self.best, ended_by)

    def _end(self) -> str:
        return "end" if self.steps >= self.config.total_steps else "pause"

    def _advance(self) -> tuple[dict[str, float], str]:
        """One iteration, and a validation if it is time; returns what is to be logged, and the signal to stop."""
        config = self.config
        began = time.monotonic()
        statistics = self.iterate()
        self.steps += config.ppo.horizon * config.num_envs
        totals, stop = self._sum_up(self.environment.take_totals(), statistics)
        self._raise_level(totals)
        self._dump_broken_worlds()
        self._tell_what_is_not_recorded()
        validate = self._passed(config.validation.every)
        if validate:
            self.last_validation = self._validate()
            self._keep_best(self.last_validation)
        self.seconds += time.monotonic() - began
        return self._row(statistics, totals, self.last_validation if validate else None), stop

    def iterate(self) -> Statistics:
        """Collect one rollout and learn from it."""
        self._lower_learning_rate_cap()
        self.collect()
        return self.ppo.update(self.stepper.observation["critic"])

    def _tell_what_is_not_recorded(self) -> None:
        """Say once where a GPU has to do without a graph, which costs speed and nothing else."""
        refused = {
            "a control step": self.stepper.refused,
            "a step of the validation": self.validation_stepper.refused,
            "the update": self.ppo.refused,
        }
        for what, reason in refused.items():
            if reason is not None and what not in self._told:
                self._told.add(what)
                print(f"\n{what} could not be recorded as a CUDA graph and runs operation by operation: {reason}")

    def warm_up(self) -> None:
        """Do all that a training does, until what can be recorded is."""
        for _ in range(_TO_RECORD):
            self.iterate()
        self._validate()

    def collect(self) -> None:
        """Fill the rollout with steps of every environment."""
        self.ppo.begin()
        for _ in range(self.config.ppo.horizon):
            self.stepper.step()

    def _act(self, observation: Observation) -> Tensor:
        action = self.ppo.act(observation)
        # Before the physics breaks on it; on a GPU, where a look would stop the device, the statistics tell later.
        if action.device.type == "cpu" and not bool(torch.isfinite(action).all()):
            self._refuse_observation((~torch.isfinite(observation["critic"])).any(0))
        return action

    def _record(self, transition: Transition) -> None:
        self.ppo.record(
            transition.reward,
            transition.terminated,
            transition.truncated,
            transition.valid,
            transition.final_observation["critic"],
        )

    def _lower_learning_rate_cap(self) -> None:
        settings, done = self.config.ppo, self.steps / self.config.total_steps
        cap = settings.max_learning_rate + (settings.final_max_learning_rate - settings.max_learning_rate) * done
        self.ppo.max_learning_rate.fill_(cap)

    def _sum_up(self, own: Totals, statistics: Statistics) -> tuple[Totals, str]:
        """Totals of all ranks, and the signal that told one of them to stop, if any."""
        outcomes, terms = list(own.outcomes), self.environment.term_names
        suspects = torch.cat((own.terms + self.environment.unfinished_terms(), torch.stack(list(statistics.values()))))
        parts = [
            torch.stack([own.episodes, own.returns, own.steps]),
            torch.stack(list(own.outcomes.values())),
            own.terms,
            (~torch.isfinite(suspects)).float(),
            torch.stack((own.broken, *(torch.full_like(own.returns, self._signal == name) for name in _STOPPING))),
        ]
        counts, ends, by_term, not_finite, rest = self.ranks.sum(torch.cat(parts)).split([len(part) for part in parts])
        if bool(not_finite.any()):
            names = [f"the reward term '{name}' returned" for name in terms]
            self._refuse(dict(zip([*names, *statistics], not_finite.tolist(), strict=True)), len(names))
        by_outcome = dict(zip(outcomes, ends, strict=True))
        episodes, returns, steps = counts
        told = next((name for name, count in zip(_STOPPING, rest[1:].tolist(), strict=True) if count), "")
        return Totals(episodes, returns, steps, by_outcome, by_term, rest[0]), told

    def _refuse(self, not_finite: Mapping[str, float], terms: int) -> None:
        """Say what became infinite or not a number: an observed signal, a reward term, or the update by itself."""
        seen = self.ranks.sum((~torch.isfinite(self.ppo.rollout.observation["critic"])).flatten(0, 1).sum(0).float())
        self._refuse_observation(seen > 0)
        bad = next(name for name, count in not_finite.items() if count)
        if bad in list(not_finite)[:terms]:
            raise UserError(f"{bad} a value that is not finite; make it finite for every state; {_UNHARMED}")
        raise UserError(
            f"the update diverged: {bad} is not finite, though observations and rewards are; smaller rewards or "
            f"a lower ppo.max_learning_rate help; {_UNHARMED}"
        )

    def _refuse_observation(self, bad: Tensor) -> None:
        """Name the first signal of which the critic's observation has a bad number (size,)."""
        for name, is_bad in zip(self.environment.observed, bad.tolist(), strict=True):
            if is_bad:
                raise UserError(
                    f"the signal '{name}' took a value that is not finite; make it finite for every state; {_UNHARMED}"
                )

    def _raise_level(self, totals: Totals) -> None:
        """Curriculum: once as many episodes have ended as there are environments, look at how they went."""
        if self.environment.score != "success":
            return
        curriculum = self.config.task.curriculum
        self._recent += torch.stack((totals.episodes, totals.outcomes[SUCCESS]))
        if self._recent[0] >= self.config.num_envs:
            if self._recent[1] / self._recent[0] > curriculum.success:
                self.environment.level.add_(curriculum.step).clamp_(max=1.0)
            self._recent.zero_()

    def _dump_broken_worlds(self) -> None:
        """Keep a world that became non-finite in this iteration, for replay, and say so; a few in all.

        A rank on a machine without the run's folder keeps none; `train/broken_worlds` counts them all the same.
        """
        keeps = self._dumped < _DUMPS and self.folder.is_dir()
        world = self.environment.take_broken_world() if keeps else None
        if world is not None:
            path = self.folder / "broken_worlds" / f"episode_{world.episode}_step_{world.step}.pt"
            checkpoint.write(path, dataclasses.asdict(world))
            print(f"\na world became non-finite in {world.first_field}, in step {world.step} of its episode: {path}")
            self._dumped += 1

    def _row(self, statistics: Statistics, totals: Totals, validation: float | None) -> dict[str, float]:
        episodes = float(totals.episodes)
        row = {"step": float(self.steps), "seconds": self.seconds, "steps_per_second": self.steps / self.seconds}
        if episodes:
            if self.environment.score == "success":
                row["train/success"] = float(totals.outcomes[SUCCESS]) / episodes
            row["train/return"] = float(totals.returns) / episodes
            row["train/episode_steps"] = float(totals.steps) / episodes
            row |= {f"outcome/{name}": float(count) / episodes for name, count in totals.outcomes.items()}
            row |= {
                f"reward/{n}": float(v) / episodes
                for n, v in zip(self.environment.term_names, totals.terms, strict=True)
            }
        row |= {"train/level": float(self.environment.level), "train/broken_worlds": float(totals.broken)}
        row |= {f"ppo/{name}": float(value) for name, value in statistics.items()}
        row |= self.environment.take_log()
        if validation is not None:
            row[f"validation/{self.environment.score}"] = validation
        return row

    def _build_validation(self) -> VectorEnvironment:
        """This rank's share of the validation episodes; all shares are of one size."""
        share = -(-self.config.validation.episodes // self.ranks.size)
        return make_environment(
            self.config,
            "validation",
            share,
            episodes=share * self.ranks.size,
            rank=self.ranks.rank,
            ranks=self.ranks.size,
        )

    def _validate(self) -> float:
        """Mean score of the policy without its noise, over the validation episodes."""
        episodes = run_episodes(self.validation, self.validation_stepper, begin=self._greedy.begin)
        own = episodes.success if self.environment.score == "success" else float(episodes.returns.mean())
        return float(self.ranks.mean(torch.tensor(own, dtype=torch.float64)))

    def _keep_best(self, validation: float) -> None:
        """Remember the best policy so far."""
        if self.best is None or validation > self.best:
            self.best = validation
            if self.ranks.rank == 0:
                best = {
                    "model": checkpoint.on_cpu(self.ppo.model.state_dict()),
                    "steps": self.steps,
                    "validation": validation,
                }
                checkpoint.write(self.folder / "checkpoints" / checkpoint.BEST, best)

    def _is_at_target(self) -> bool:
        target = self.config.validation.target
        return target is not None and self.best is not None and self.best >= target

    def _passed(self, interval: int) -> bool:
        """Whether this iteration crossed a multiple of an interval of steps, or was the last for now."""
        before = self.steps - self.config.ppo.horizon * self.config.num_envs
        return self.steps // interval > before // interval or self.steps >= self.until

    def _own_state(self) -> dict[str, Any]:
        return checkpoint.on_cpu(
            {
                "environment": self.environment.snapshot(),
                "observation": {name: values.clone() for name, values in self.stepper.observation.items()},
                "ppo": self.ppo.state_dict(),
            }
        )

    def _save(self) -> None:
        states = self.ranks.gather(self._own_state())
        if self.ranks.rank == 0:
            assert_learnt_the_same([state["ppo"] for state in states], self.steps)
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

    def _saved(self) -> Sequence[dict[str, Any] | None]:
        """What the newest checkpoint holds for each rank; None for each where there is no checkpoint."""
        if self.ranks.rank > 0 or not checkpoint.numbered(self.folder):
            return [None] * self.ranks.size
        path = checkpoint.newest(self.folder)
        saved = checkpoint.read(path)
        if saved.get("config") != (self.folder / "config.yaml").read_text():
            raise UserError(f"{self.folder / 'config.yaml'} was changed since {path.name} was written; put it back")
        states = saved.pop("ranks", ())
        if len(states) != self.ranks.size:
            reason = f"it was written by {len(states)} ranks, not {self.ranks.size}"
            raise UserError(f"{path} does not fit {self.folder / 'config.yaml'}: {reason}")
        return [{**saved, "path": str(path), "own": own} for own in states]

    def _resume(self, saved: dict[str, Any]) -> None:
        """Continue from this rank's part of a checkpoint."""
        try:
            own = saved["own"]
            fresh = self.environment.restore(own["environment"])
            if fresh is not None and self.ranks.rank == 0:
                print("these environments cannot be saved: they begin new episodes")
            self.ppo.load_state_dict(own["ppo"])
            device = self.environment.device
            saved_observation = {name: values.to(device) for name, values in own["observation"].items()}
            self.stepper.place(saved_observation if fresh is None else fresh)
            self.steps, self.seconds, self.best = saved["steps"], saved["seconds"], saved["best"]
            self.last_validation = saved["last_validation"]
            self._recent.copy_(saved["recent"])
        except (RuntimeError, KeyError, ValueError, IndexError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{saved['path']} does not fit {self.folder / 'config.yaml'}: {reason}") from error

    def _on_signal(self, name: str) -> None:
        self._signal = name


def initialise(model: ActorCritic, config: RunConfig) -> None:
    """Start from the policy that `init` names: of another run, or of a bundle (then with a fresh critic)."""
    source = config.init
    assert source is not None
    run = None if source.endswith(".onnx") else find(source, config.runs)
    if run is None:
        earlier = parse_config(read_bundle(source).contract.training.config, source)
    else:
        earlier = load_config(run)
    # Before the weights, and since sizes alone do not tell: the same numbers in another order are another policy.
    for key, before, now in (
        ("env_id", earlier.env_id, config.env_id),
        ("task.observation.policy", list(earlier.task.observation.policy), list(config.task.observation.policy)),
        ("task.observation.history", earlier.task.observation.history, config.task.observation.history),
        ("robot.action", earlier.robot.action, config.robot.action),
        ("policy.hidden", list(earlier.policy.hidden), list(config.policy.hidden)),
        ("policy.activation", earlier.policy.activation, config.policy.activation),
        ("policy.recurrent", earlier.policy.recurrent, config.policy.recurrent),
        ("policy.recurrent_size", earlier.policy.recurrent_size, config.policy.recurrent_size),
    ):
        if before != now:
            raise UserError(f"the policy in {source} was trained with {key}={before}, this run has {now}")
    if run is None:
        start_from_bundle(model, source)
    else:
        path = run / "checkpoints" / checkpoint.BEST
        load_model(model, checkpoint.read(path)["model"], str(path))


def load_model(model: ActorCritic, weights: dict[str, Tensor], where: str) -> None:
    """Put saved weights into a model; a `UserError` where they do not fit."""
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"the policy in {where} does not fit this task, robot and policy: {reason}") from error


@contextmanager
def _listening(told: Callable[[str], None], *, aloud: bool) -> Generator[None]:
    """Until its end, SIGINT and SIGTERM ask the training to stop after its iteration; a second one is not heard."""

    def hear(number: int, _frame: FrameType | None) -> None:
        nonlocal aloud
        if aloud:
            aloud = False
            os.write(2, b"\nstopping after this iteration, then writing a checkpoint\n")
        told(signal.Signals(number).name)

    before = {number: signal.signal(number, hear) for number in map(signal.Signals.__getitem__, _STOPPING)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
