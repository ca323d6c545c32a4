"""A task whose policy observes a step before that needs a step before: what no shipped task does."""

from collections.abc import Sequence

from torch import Tensor

from robo_ppo.env.signals import signal
from robo_ppo.tasks.uav.hover import UavHover


class Remembering(UavHover):
    """`uav_hover` with two more signals."""

    def sources(self) -> Sequence[object]:
        """The task itself brings what is new."""
        return (*super().sources(), self)

    @signal(unit="m")
    def gained(self, goal_distance: Tensor, previous_goal_distance: Tensor) -> Tensor:
        """Metres gained in the last step."""
        return previous_goal_distance - goal_distance

    @signal(unit="m")
    def gained_more(self, gained: Tensor, previous_gained: Tensor) -> Tensor:
        """By how much the gain grew."""
        return gained - previous_gained
