"""What happened in one episode of an evaluation, as arrays that films, plots and reports read."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from robo_ppo.env.shapes import Shape


@dataclass(frozen=True)
class EpisodeTrace:
    """One recorded episode of T control steps, its first state included (so T + 1 rows).

    `position` is the vehicle's, in metres in the world frame; `shapes` has one list per row, since things may move;
    `readings` are numbers worth showing beside the picture, by label ("distance to goal (m)").
    """

    episode: int
    outcome: str  # "success", "timeout" or the cause of failure
    control_period: float  # s
    qpos: np.ndarray  # (T + 1, nq)
    position: np.ndarray  # (T + 1, 3)
    shapes: Sequence[Sequence[Shape]]  # (T + 1) lists
    readings: dict[str, np.ndarray]  # label → (T + 1,)

    @property
    def last_row(self) -> int:
        """The last row before anything is not finite; -1 if there is none."""
        broken = np.flatnonzero(~np.isfinite(np.hstack([self.qpos, self.position])).all(axis=1))
        return (int(broken[0]) if len(broken) else len(self.position)) - 1
