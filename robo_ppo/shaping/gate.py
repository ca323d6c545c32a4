"""What a reward must pass before anybody trains on it: language, dry run, ranking. It costs milliseconds.

    gate = Gate(config)                       # once
    verdicts = gate.judge(text)               # a Verdict for each stage, up to the first refusal
    if passed(verdicts): …

- **language**: the text parses, and its terms and signals are there;
- **dry run**: every term gives each environment one finite number (`robo_ppo.env.dry_run`), also on flights that were
  recorded, or are flown with random actions when the gate is made;
- **ranking**: flights of known quality are worth what they should be worth (`robo_ppo.shaping.flights.ranking`).

A search that changes only weights asks for the terms' returns once, and then for nothing but numbers:

    returns = gate.terms_of(program)
    score = gate.margin(returns, returns.weights_of({"progress": 2.0, …}))     # above TIE it passes
"""

from collections.abc import Sequence

import numpy as np

from robo_ppo.config import RunConfig
from robo_ppo.env.build import is_foreign
from robo_ppo.env.dry_run import DryRun
from robo_ppo.env.flights import End
from robo_ppo.env.language import Program, parse
from robo_ppo.errors import UserError
from robo_ppo.shaping.flights.learnable import Learnable, Way
from robo_ppo.shaping.flights.ranking import NotAvailable, Ranking
from robo_ppo.shaping.flights.recording import wander
from robo_ppo.shaping.flights.returns import Returns, TermReturns
from robo_ppo.shaping.flights.stored_signals import StoredSignals
from robo_ppo.shaping.record import Verdict

LANGUAGE, DRY_RUN, RANKING = "language", "dry run", "ranking"
MORE = 2  # counter-examples of other kinds that a refusal names besides the worst


class Gate:
    """For one task with its settings; the configuration's own reward takes no part in it."""

    def __init__(self, config: RunConfig) -> None:
        if is_foreign(config):
            raise UserError(f"{config.task.name} brings its own reward; reward programs are for tasks of signals")
        self._dry_run = DryRun(config)
        self.ranking: Ranking | None = None
        self.why_no_ranking = ""
        try:
            self.ranking = Ranking(config, self._dry_run.table)
            self._returns, signals = self.ranking.returns, self.ranking.signals
        except NotAvailable as reason:
            self.why_no_ranking = str(reason)
            signals = StoredSignals(wander(config), self._dry_run.table)
            self._returns = Returns(signals, config.ppo.gamma)
        self._recorded = signals.paid
        self._learnable = Learnable(self._returns)

    def judge(self, program: Program | str, where: str = "the reward") -> list[Verdict]:
        """What each stage says of a program, or of its text; nothing after the first refusal."""
        verdicts: list[Verdict] = []
        try:
            program = parse(program, where) if isinstance(program, str) else program
            reward = self._dry_run.reward(program)
            self._returns.table_with(reward).graph(reward.outputs)
        except UserError as error:
            return [Verdict(LANGUAGE, False, str(error))]
        verdicts.append(Verdict(LANGUAGE, True))
        try:
            self._dry_run(program, self._recorded)
        except UserError as error:
            return [*verdicts, Verdict(DRY_RUN, False, str(error))]
        return [*verdicts, Verdict(DRY_RUN, True), self._rank(self._returns.of(reward))]

    def terms_of(self, program: Program) -> TermReturns:
        """Discounted returns of a program's terms on the stored flights; UserError where it would not run."""
        self._dry_run(program, self._recorded)
        return self._returns.of(self._dry_run.reward(program))

    def margin(self, returns: TermReturns, weights: np.ndarray | None = None) -> float:
        """How clearly weights order the flights, in [-1, 1]; 1 where there is no ranking test."""
        return 1.0 if self.ranking is None else self.ranking.margin(returns, weights)

    @property
    def ends(self) -> list[End]:
        """How each stored flight ended, in the order of the returns."""
        return [flight.end for flight in self._returns.trajectories.flights]

    def ways_of(self, program: Program) -> dict[str, Way] | None:
        """What a program's terms pay on the way to success, and for trying; None where no flights tell."""
        return self._learnable.ways(self._dry_run.reward(program)) if self._learnable.is_available else None

    def _rank(self, returns: TermReturns) -> Verdict:
        if self.ranking is None:
            return Verdict(RANKING, True, f"not available: {self.why_no_ranking}")
        wrong = self.ranking.refusals(returns)
        if not wrong:
            return Verdict(RANKING, True, f"margin {self.ranking.margin(returns):.2f}")
        also = [one.short for one in wrong[1 : 1 + MORE]]
        return Verdict(RANKING, False, wrong[0].message + (f". Also: {'; '.join(also)}" if also else ""))


def passed(verdicts: Sequence[Verdict]) -> bool:
    """Whether nothing was refused."""
    return all(verdict.passed for verdict in verdicts)
