"""What the environments of other libraries have in common: a return is the only score, and time may run out.

    episodes = ForeignEpisodes(num_envs, device)
    episodes.begin()                                              # everywhere
    episodes.add(reward, terminated, timed_out, counted=True)     # in every step
    totals = episodes.take_totals()

Nothing here waits for the device: whatever ended is a mask, and every sum is a tensor.
"""

import torch
from torch import Tensor

from robo_ppo.env.vector import Totals

TERMINATED, TIMEOUT = "terminated", "timeout"
OUTCOMES = (TERMINATED, TIMEOUT)
REWARD_TERMS = ("reward",)


class ForeignEpisodes:
    """Age and return of the episode that every environment is in, and sums over those that ended."""

    def __init__(self, num_envs: int, device: torch.device) -> None:
        self.age = torch.zeros(num_envs, dtype=torch.int64, device=device)  # steps
        self.returns = torch.zeros(num_envs, device=device)
        self._totals = self._no_totals()

    def begin(self) -> None:
        """Begin an episode everywhere; what was summed up before is forgotten."""
        self.age.zero_()
        self.returns.zero_()
        self._totals = self._no_totals()

    def cut(self) -> None:
        """Begin an episode everywhere; those that were under way enter no totals."""
        self.age.zero_()
        self.returns.zero_()

    def add(
        self, reward: Tensor, terminated: Tensor, timed_out: Tensor, *, valid: Tensor | None = None, counted: bool
    ) -> None:
        """One step: rewards (num_envs,), and the episodes that ended in it by either cause, which exclude each other.

        Where a step is not `valid`, nothing happened in it. Episodes that end enter the totals only if `counted`.
        """
        self.age += 1 if valid is None else valid
        self.returns += reward
        ended = terminated | timed_out
        if counted:
            totals, returns = self._totals, torch.where(ended, self.returns, 0.0).sum()
            totals.episodes += ended.sum()
            totals.returns += returns
            totals.steps += torch.where(ended, self.age, 0).sum()
            totals.terms += returns
            totals.outcomes[TERMINATED] += terminated.sum()
            totals.outcomes[TIMEOUT] += timed_out.sum()
        self.returns.masked_fill_(ended, 0.0)
        self.age.masked_fill_(ended, 0)

    def take_totals(self) -> Totals:
        """Sums over the episodes that ended since the last call."""
        totals, self._totals = self._totals, self._no_totals()
        return totals

    def unfinished_terms(self) -> Tensor:
        """Rewards so far in the episodes that go on, over all environments (1,)."""
        return self.returns.sum().reshape(1)

    def _no_totals(self) -> Totals:
        return Totals.none(OUTCOMES, len(REWARD_TERMS), self.returns.device)
