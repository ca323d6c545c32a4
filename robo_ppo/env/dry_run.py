"""Tries a reward program on a task without simulating anything, and refuses what would spoil a training.

    trial = DryRun(config)
    trial(program)                    # UserError with the line, or nothing
    trial(program, signals)           # also on recorded signals: name → (rows, …), `previous_` ones too

What it computes must keep within `bounds`; on recorded signals every term must be finite and of a size that can be
learned from.
"""

from typing import Protocol

import torch
from torch import Tensor

from robo_ppo.config import RunConfig
from robo_ppo.env.bounds import check_bounds
from robo_ppo.env.build import make_task, signal_table
from robo_ppo.env.language import Program, applied
from robo_ppo.env.language.term import Term
from robo_ppo.env.randomization import Randomization
from robo_ppo.env.rewards import PREFIX, Reward
from robo_ppo.env.signals import PREVIOUS, Leaf, SignalTable, where
from robo_ppo.errors import UserError, did_you_mean

MOST_PAY = 1e6  # of a weighted term, in one step
_CPU = torch.device("cpu")


class Signals(Protocol):
    """Recorded values (rows, …) by the name of a signal."""

    def __getitem__(self, name: str, /) -> Tensor:
        """One signal in every row."""
        ...


class DryRun:
    """Tries programs on the signals of one task."""

    def __init__(self, config: RunConfig) -> None:
        self._config = config
        self._task = make_task(config)
        randomization = Randomization(config.randomization, self._task.robot.parameters())
        nothing = Reward({"nothing": {"weight": 0.0}}, [], _CPU, {"nothing": _nothing})
        table, _ = signal_table(self._task, randomization, nothing)
        signals = {name: found for name, found in table.signals.items() if not name.startswith(PREFIX)}
        self.table = SignalTable(signals, table.leaves)  # of the task, without any reward
        self._forms: dict[str, Leaf] = {}

    def __call__(self, program: Program, signals: Signals | None = None) -> None:
        """A `UserError` for a program that does not fit the task, or whose terms are not what a reward is made of."""
        reward = self.reward(program)
        table = self._terms_alone(reward)
        reward.check(table)
        check_bounds(program, reward, table)
        if signals is not None:
            self._check_pay(reward, signals)

    def _terms_alone(self, reward: Reward) -> SignalTable:
        """The terms on signals whose shapes are known: they are found once, and a trial computes nothing but terms."""
        whole = SignalTable({**self.table.signals, **reward.signals}, self.table.leaves)
        whole.graph(reward.outputs)  # every name is known
        for name in {name for found in reward.signals.values() for name in found.inputs}:
            base = name if name in self.table.signals else name.removeprefix(PREVIOUS)
            if base not in self._forms:
                graph = self.table.graph([base])
                dtype = self.table.on_meta(graph, 1)[base].dtype
                shape = self.table.shapes(graph)[base]
                self._forms[base] = Leaf(shape, "field", self.table.quantity(base), dtype)
        return SignalTable(reward.signals, self._forms)

    def reward(self, program: Program) -> Reward:
        """The program's reward: terms with their settings, and weights."""
        place = f"{program.where}:{program.lines[0]}"  # of the weights
        for term in program.functions.values():
            _check_signals(term, self.table)
        try:
            return Reward(applied(self._config, program).reward, self._task.terms(), _CPU, program.functions)
        except UserError as error:
            raise UserError(f"{place}: {error}") from error

    def _check_pay(self, reward: Reward, signals: Signals) -> None:
        for (name, found), weight in zip(reward.signals.items(), reward.weights.tolist(), strict=True):
            given = {signal: signals[signal] for signal in found.inputs}
            value = found.function(*given.values()).float()
            term, wrong = name.removeprefix(PREFIX), ~torch.isfinite(value)
            reason = "is not finite"
            if not wrong.any():
                wrong, reason = (weight * value).abs() > MOST_PAY, f"pays more than {MOST_PAY:g} in a step"
            if wrong.any():
                row = int(wrong.nonzero()[0])
                inputs = ", ".join(f"{signal} = {_shown(values[row])}" for signal, values in given.items())
                raise UserError(f"{where(found.function)}: the term '{term}' {reason}: {value[row]:g}, from {inputs}")


def _nothing(last_action: Tensor) -> Tensor:
    return last_action


def _check_signals(term: Term, table: SignalTable) -> None:
    known = table.names()
    for signal in term.code.signals:
        base = signal.removeprefix(PREVIOUS)
        if signal not in known and base not in known:
            raise UserError(f"{where(term)}: there is no signal '{base}'; {did_you_mean(base, known)}")


def _shown(value: Tensor) -> str:
    numbers = [f"{number:g}" for number in value.flatten().tolist()]
    return numbers[0] if len(numbers) == 1 else f"({', '.join(numbers[:6])}{', …' if len(numbers) > 6 else ''})"
