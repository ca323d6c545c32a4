"""Time of one iteration of synchronous PPO, as a sum of a few products.

    collect     horizon · (a + w · c)                     a control step of w worlds
    update      epochs · minibatches · (g + b · u)        a gradient step on b = w · horizon / minibatches samples
    all-reduce  epochs · minibatches · R(gradients) + statistics · R(small)

for every rank alike; a and g are what a step costs whatever its size, c and u what a world and a sample add. Nothing
overlaps, as in the learner itself. R of B bytes among n ranks, over links of latency l and bandwidth v:

    ring        2 (n - 1) l + 2 (n - 1) / n · B / v
    tree        2 log2(n) l + 2 (n - 1) / n · B / v       recursive halving and doubling

from Thakur, Rabenseifner and Gropp, "Optimization of Collective Communication Operations in MPICH", 2005,
without the time of adding. The faster one counts. All times are in seconds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

_SMALL = 400  # bytes of a sum of statistics


@dataclass(frozen=True)
class Workload:
    """What the settings make of an iteration."""

    horizon: int
    epochs: int
    minibatches: int
    gradient_bytes: int  # of all weights, and the divergence
    statistics: int = 10  # small sums besides: explained variance, advantages, two normalisers, what is logged

    @property
    def gradient_steps(self) -> int:
        """In an iteration."""
        return self.epochs * self.minibatches

    def sums(self, all_reduce: Callable[[int], float]) -> float:
        """Seconds of all sums over ranks in an iteration, of which one of some bytes takes `all_reduce(bytes)`."""
        return self.gradient_steps * all_reduce(self.gradient_bytes) + self.statistics * all_reduce(_SMALL)


@dataclass(frozen=True)
class Costs:
    """What a rank's processor needs: seconds for each step, and what each world or sample adds."""

    control_step: float
    world: float
    gradient_step: float
    sample: float

    def collect(self, work: Workload, worlds: float) -> float:
        """A rollout of a rank's worlds."""
        return work.horizon * (self.control_step + worlds * self.world)

    def update(self, work: Workload, worlds: float) -> float:
        """All gradient steps, without the sums over ranks."""
        return work.gradient_steps * self.gradient_step + work.epochs * work.horizon * worlds * self.sample


@dataclass(frozen=True)
class Link:
    """Between two ranks."""

    name: str
    latency: float
    bandwidth: float  # bytes/s
    has_tree: bool = True  # whether whoever sums over it knows that way

    def ring(self, size: int, ranks: int) -> float:
        """An all-reduce of `size` bytes around a ring."""
        return 2 * (ranks - 1) * self.latency + self._transfer(size, ranks)

    def tree(self, size: int, ranks: int) -> float:
        """An all-reduce of `size` bytes by recursive halving and doubling."""
        return 2 * math.log2(ranks) * self.latency + self._transfer(size, ranks)

    def all_reduce(self, size: int, ranks: int) -> float:
        """The faster of the two."""
        return min(self.ring(size, ranks), self.tree(size, ranks)) if self.has_tree else self.ring(size, ranks)

    def _transfer(self, size: int, ranks: int) -> float:
        return 2 * (ranks - 1) / ranks * size / self.bandwidth


@dataclass(frozen=True)
class Cluster:
    """Machines of several ranks: sums are made within each machine, then between them."""

    inside: Link
    between: Link
    per_machine: int
    launch: float = 0.0  # of each sum: what its call costs before anything is sent

    def all_reduce(self, size: int, ranks: int) -> float:
        """Sum `size` bytes over `ranks`, which fill machine after machine."""
        if ranks == 1:
            return 0.0
        machines = math.ceil(ranks / self.per_machine)
        took = self.launch + self.inside.all_reduce(size, min(ranks, self.per_machine))
        return took + (self.between.all_reduce(size, machines) if machines > 1 else 0.0)


@dataclass(frozen=True)
class Card:
    """A GPU and what it trains. Where ranks sum, their gradient steps may cost more: no graph holds a message."""

    name: str
    work: Workload
    costs: Costs  # of one alone
    gradient_step_of_ranks: float
    worlds: int  # with which it is busy

    def iteration(self, worlds: float, ranks: int, cluster: Cluster) -> tuple[float, float, float]:
        """Seconds of collecting, learning and summing, with `worlds` on each of `ranks`."""
        work, costs = self.work, self.costs
        extra = 0.0 if ranks == 1 else work.gradient_steps * (self.gradient_step_of_ranks - costs.gradient_step)
        sums = work.sums(lambda size: cluster.all_reduce(size, ranks))
        return costs.collect(work, worlds), costs.update(work, worlds) + extra, sums

    def weak(self, ranks: int, cluster: Cluster) -> float:
        """Efficiency with `worlds` on each rank: the time of one alone over that of all."""
        return sum(self.iteration(self.worlds, 1, cluster)) / sum(self.iteration(self.worlds, ranks, cluster))

    def strong(self, ranks: int, cluster: Cluster) -> float:
        """Efficiency with the worlds that eight cards are busy with, shared out among all ranks."""
        total = 8 * self.worlds
        alone = sum(self.iteration(total, 1, cluster))
        return alone / (ranks * sum(self.iteration(total / ranks, ranks, cluster)))
