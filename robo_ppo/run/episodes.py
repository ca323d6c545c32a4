"""Runs whole episodes with a fixed policy: one per id, each counted once. Validation and evaluation are this."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from robo_ppo.env.environment import Environment
from robo_ppo.env.task import SUCCESS
from robo_ppo.env.vector import Observation, Transition, VectorEnvironment
from robo_ppo.run.stepper import Stepper
from robo_ppo.run.trace import EpisodeTrace

Act = Callable[[Observation], Tensor]
"""Actions (num_envs, action_size) for the present observation."""

Watch = Callable[[Transition, Tensor], None]
"""Is told every step, and where it counts: a mask (num_envs,) of episodes that go on or end in it, in sound worlds."""


@dataclass(frozen=True)
class Episodes:
    """What happened in a number of episodes."""

    ids: np.ndarray  # (episodes,)
    outcome: np.ndarray  # (episodes,) of strings
    steps: np.ndarray  # (episodes,) control steps
    returns: np.ndarray  # (episodes,) sum of the rewards
    metrics: dict[str, np.ndarray]  # name → (episodes,)
    traces: list[EpisodeTrace] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        """How many episodes ended so."""
        return int((self.outcome == outcome).sum())

    @property
    def success(self) -> float:
        """Share of successes."""
        return self.count(SUCCESS) / len(self.ids)


Choose = Callable[[Episodes], Sequence[int]]
"""Rows of episodes that are over."""


@torch.no_grad()
def run_episodes(
    environment: VectorEnvironment,
    act: Act | Stepper,
    *,
    begin: Callable[[], None] | None = None,
    first_id: int = 0,
    traced: int = 0,
    choose: Choose | None = None,
    watch: Watch | None = None,
) -> Episodes:
    """Run one episode in every environment, from the ids `first_id` on, and record the first `traced` of them.

    With `choose`, only the rows that it picks of these, once all is over, become traces. `watch` sees every step.

    With a `Stepper` of these environments, a GPU replays its graph. `begin` is called before the first step (to forget
    a policy's state). Metrics need an environment that was built to be `recorded`, traces moreover one of our own. A
    step that broke its world counts for neither: what it left is no flight.
    """
    if begin is not None:
        begin()
    stepper = act if isinstance(act, Stepper) else Stepper(environment, act, restart=False, capture=False)
    stepper.place(environment.reset(first_id))
    n, device = environment.num_envs, environment.device
    ids = environment.episode_ids().cpu()
    running = torch.ones(n, dtype=torch.bool, device=device)
    steps = torch.zeros(n, dtype=torch.int64, device=device)
    returns = torch.zeros(n, dtype=torch.float64, device=device)
    outcome = np.full(n, "timeout", dtype=object)
    tracer = _Tracer(environment, traced) if traced and isinstance(environment, Environment) else None
    metrics = _Metrics(environment) if _computes_metrics(environment) else None
    for _ in range(environment.max_episode_steps):
        transition = stepper.step()
        ended = (transition.terminated | transition.truncated) & running
        steps += running
        sound = running & transition.valid
        returns += torch.where(sound, transition.reward, 0.0)
        if metrics is not None:
            metrics.add(transition.values, sound)
        if tracer is not None:
            tracer.add(transition.values, sound)
        if watch is not None:
            watch(transition, sound)
        if bool(ended.any()):
            for name, mask in environment.outcomes(transition).items():
                outcome[(mask & ended).cpu().numpy()] = name
            running &= ~ended
            if not bool(running.any()):
                break
    environment.check()
    found = metrics.results() if metrics is not None else {}
    flown = Episodes(ids.numpy(), outcome, steps.cpu().numpy(), returns.cpu().numpy(), found)
    if tracer is not None:
        rows = range(n) if choose is None else choose(flown)
        flown.traces.extend(tracer.traces(ids.tolist(), outcome, rows))
    return flown


def joined(parts: Sequence[Episodes], count: int) -> Episodes:
    """Episodes that were run one batch after another, the first `count` of them."""
    keep = slice(0, count)
    return Episodes(
        ids=np.concatenate([part.ids for part in parts])[keep],
        outcome=np.concatenate([part.outcome for part in parts])[keep],
        steps=np.concatenate([part.steps for part in parts])[keep],
        returns=np.concatenate([part.returns for part in parts])[keep],
        metrics={name: np.concatenate([part.metrics[name] for part in parts])[keep] for name in parts[0].metrics},
        traces=[trace for part in parts for trace in part.traces],
    )


def _computes_metrics(environment: VectorEnvironment) -> bool:
    wanted = {metric.signal for metric in environment.metrics().values()}
    return isinstance(environment, Environment) and bool(wanted) and wanted <= environment.computed_signals


_START = {"sum": 0.0, "last": float("nan"), "min": float("inf"), "max": float("-inf")}


class _Metrics:
    """Reduces the task's metric signals over the steps of every episode."""

    def __init__(self, environment: VectorEnvironment) -> None:
        self._metrics = environment.metrics()
        n, device = environment.num_envs, environment.device
        self._values = {
            name: torch.full((n,), _START[metric.reduce], device=device) for name, metric in self._metrics.items()
        }

    def add(self, values: dict[str, Tensor], running: Tensor) -> None:
        for name, metric in self._metrics.items():
            so_far, now = self._values[name], values[metric.signal].float()
            reduced = {
                "sum": so_far + now,
                "last": now,
                "min": torch.minimum(so_far, now),
                "max": torch.maximum(so_far, now),
            }[metric.reduce]
            self._values[name] = torch.where(running, reduced, so_far)

    def results(self) -> dict[str, np.ndarray]:
        return {name: values.cpu().numpy() for name, values in self._values.items()}


class _Tracer:
    """Keeps the states of the first few environments, step by step."""

    def __init__(self, environment: Environment, count: int) -> None:
        self._environment, self._count = environment, min(count, environment.num_envs)
        self._rows: list[dict[str, np.ndarray]] = []
        self._lengths = np.ones(self._count, dtype=int)
        self._add_row(environment.signals_now(self._wanted()))

    def _wanted(self) -> tuple[str, ...]:
        task = self._environment.task
        return tuple(dict.fromkeys([task.position_signal(), *task.readings().values()]))

    def add(self, values: dict[str, Tensor], running: Tensor) -> None:
        self._add_row(values)
        self._lengths += running[: self._count].cpu().numpy()

    def _add_row(self, values: dict[str, Tensor]) -> None:
        names = (*self._wanted(), "qpos", *self._environment.states)
        self._rows.append({name: values[name][: self._count].cpu().numpy().copy() for name in names})

    def traces(self, ids: Sequence[int], outcome: np.ndarray, chosen: Sequence[int]) -> list[EpisodeTrace]:
        task, environment = self._environment.task, self._environment
        found: list[EpisodeTrace] = []
        for i in (row for row in chosen if row < self._count):
            rows = self._rows[: self._lengths[i]]
            states = [{name: row[name][i] for name in environment.states} for row in rows]
            found.append(
                EpisodeTrace(
                    episode=ids[i],
                    outcome=str(outcome[i]),
                    control_period=environment.interface.control_period,
                    qpos=np.stack([row["qpos"][i] for row in rows]),
                    position=np.stack([row[task.position_signal()][i] for row in rows]),
                    shapes=[task.shapes(state) for state in states],
                    readings={label: np.stack([row[s][i] for row in rows]) for label, s in task.readings().items()},
                )
            )
        return found
