"""Counts, while episodes are flown, what each reward term paid and how the robot moved.

    observer = Observer(environment)
    episodes = run_episodes(environment, pilot.act, watch=observer.watch)
    observer.terms(episodes, rows_of_metrics), observer.behaviour(episodes, energy)

Sums are over the steps of an episode, its last one included, in double precision.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from robo_ppo.env.environment import Environment
from robo_ppo.env.task import SUCCESS, TIMEOUT
from robo_ppo.env.vector import Transition
from robo_ppo.errors import UserError
from robo_ppo.run.episodes import Episodes
from robo_ppo.shaping.packets.packet import Behaviour, Curve, EnergyGain, Spread, Stalling, Term

POINTS = 10  # of a curve
AT_LIMIT = 0.99  # an action beyond this, of 1, is at its limit
STALLED = 0.5  # of an episode's steps within reach of success: it stalled there

Rows = Sequence[Mapping[str, float]]


class Observer:
    """Watches one run of episodes of one environment each."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._quantities = environment.task.behaviour()
        self._reach = environment.task.within_reach()
        n, terms = environment.num_envs, len(environment.term_names)
        self._paid = torch.zeros(terms, n, dtype=torch.float64)  # sums of the weighted terms
        self._moved = torch.zeros(terms, n, dtype=torch.float64)  # of their absolute values
        self._last = torch.zeros(terms, n, dtype=torch.float64)  # in the last step
        self._reached = torch.zeros(n, dtype=torch.float64)  # steps within reach of success
        self._paid_there = torch.zeros(n, dtype=torch.float64)  # reward in those steps
        self._steps = 0.0
        self._changes = 0.0  # squared, of all actions
        self._changed = 0.0  # from how many steps to the next
        self._at_limit = 0.0
        self._before: Tensor | None = None
        self._seen: dict[str, list[np.ndarray]] = {label: [] for label in self._quantities}

    def watch(self, transition: Transition, running: Tensor) -> None:
        """One step."""
        values = transition.values
        running = running.cpu()
        paid = torch.where(running, self._environment.reward.terms(values).cpu().double(), 0.0)
        self._paid += paid
        self._moved += paid.abs()
        self._last = torch.where(running, paid, self._last)
        if self._reach is not None:
            there = running & values[self._reach].cpu()
            self._reached += there
            self._paid_there += torch.where(there, paid.sum(0), 0.0)
        action = values["last_action"].cpu()[running].double()
        self._steps += float(running.sum())
        self._at_limit += float((action.abs() > AT_LIMIT).double().mean(1).sum())
        if self._before is not None:
            self._changes += float((action - self._before[running]).square().mean(1).sum())
            self._changed += float(running.sum())
        self._before = values["last_action"].cpu().double()
        for label, name in self._quantities.items():
            self._seen[label].append(values[name].cpu()[running].numpy())

    def terms(self, episodes: Episodes, rows: Rows) -> list[Term]:
        """What each term paid, in these episodes and over the training that `rows` of metrics.jsonl tell of.

        Raises:
            UserError: a term paid what is not finite.
        """
        for name, sums in zip(self._environment.term_names, self._paid, strict=True):
            if not bool(torch.isfinite(sums).all()):
                raise UserError(f"the reward term '{name}' returned a value that is not finite in a validation episode")
        well = episodes.outcome == SUCCESS
        size = self._paid.abs().mean(1)
        shares = (size / size.sum().clamp(min=1e-12)).tolist()
        at_end = (self._last.abs().sum(1) / self._moved.sum(1).clamp(min=1e-12)).tolist()
        weights = self._environment.reward.weights.tolist()
        found: list[Term] = []
        for i, name in enumerate(self._environment.term_names):
            returns = self._paid[i].numpy()
            found.append(
                Term(
                    name=name,
                    weight=weights[i],
                    curve=curve(rows, f"reward/{name}"),
                    share=shares[i],
                    at_end=at_end[i],
                    correlation=correlation(returns, well),
                    in_success=mean(returns[well]),
                    otherwise=mean(returns[~well]),
                )
            )
        return found

    def behaviour(self, episodes: Episodes, energy: EnergyGain | None) -> Behaviour:
        """How the robot moved."""
        period = self._environment.interface.control_period
        well = episodes.outcome == SUCCESS
        return Behaviour(
            quantities=self._spreads(),
            action_change=self._changes / max(self._changed, 1.0),
            saturated=self._at_limit / max(self._steps, 1.0),
            episode_seconds=float(episodes.steps.mean()) * period,
            success_seconds=_times(mean(episodes.steps[well]), period),
            stalling=self._stalling(episodes) if self._reach is not None else None,
            energy=energy,
        )

    def _spreads(self) -> dict[str, Spread]:
        steps = {label: np.concatenate(seen) for label, seen in self._seen.items()}
        finite = {label: values[np.isfinite(values)] for label, values in steps.items()}
        return {label: spread(values, unit_of(label)) for label, values in finite.items() if len(values)}

    def _stalling(self, episodes: Episodes) -> Stalling:
        well, reached = episodes.outcome == SUCCESS, self._reached.numpy()
        stalled = (episodes.outcome == TIMEOUT) & (reached >= STALLED * episodes.steps)
        pay, there = (values.numpy()[stalled].sum() for values in (self._paid.abs().sum(0), self._paid_there))
        return Stalling(
            seconds=(mean(reached[~well]) or 0.0) * self._environment.interface.control_period,
            share=float(stalled.mean()),
            return_stalled=mean(episodes.returns[stalled]),
            return_succeeded=mean(episodes.returns[well]),
            earned=float(there / pay) if pay > 0.0 else None,
        )


def curve(rows: Rows, key: str) -> Curve | None:
    """Up to ten points of a quantity in metrics.jsonl; None where it was never logged."""
    pairs = np.array([(row["step"], row[key]) for row in rows if row.get(key) is not None], float).reshape(-1, 2)
    pairs = pairs[np.isfinite(pairs).all(1)]
    if not len(pairs):
        return None
    tenths = [part.mean(0) for part in np.array_split(pairs, min(POINTS, len(pairs)))]
    values = pairs[:, 1]
    return Curve(
        steps=[float(step) for step, _ in tenths],
        values=[float(value) for _, value in tenths],
        maximum=float(values.max()),
        mean=float(values.mean()),
        minimum=float(values.min()),
    )


def correlation(values: np.ndarray, well: np.ndarray) -> float | None:
    """Pearson's, of a number per episode with its success; None where either is (nearly) the same for all."""
    deviation = values.std()
    if well.all() or not well.any() or not deviation > 1e-9 * max(1.0, float(np.abs(values).max())):
        return None
    return float(((values - values.mean()) * (well - well.mean())).mean() / (deviation * well.std()))


def spread(values: np.ndarray, unit: str) -> Spread:
    """Mean, and the middle 90 %."""
    low, high = np.percentile(values, (5, 95))
    return Spread(float(values.mean(dtype=np.float64)), float(low), float(high), unit)


def mean(values: np.ndarray) -> float | None:
    """The mean; None of nothing."""
    return float(values.mean()) if len(values) else None


def unit_of(label: str) -> str:
    """The unit in `speed (m/s)`; "1" where there is none."""
    return label[label.rindex("(") + 1 : -1] if label.endswith(")") and "(" in label else "1"


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
