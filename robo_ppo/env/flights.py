"""Scripted flights: what a task can be flown like, well and badly, to see how a reward ranks it.

A task lists kinds of flights, best first. Each is flown by a trained policy (the shipped one of the task's name) that
is told something else than what is true, or by a script of its own:

    class Beside(Script):
        def tell(self, now: Moment) -> dict[str, Tensor]:
            return now.measured | {"goal": now.measured["goal"] + torch.tensor([0.0, 0.0, 0.4])}

    Kind("success", "succeeding", Script, ends="success")
    Kind("beside", "resting 0.4 m above the goal", Beside, ends="timeout",
         below={"success": "resting must not pay more than arriving, which ends the pay"})

What is told changes nothing of the truth: an episode succeeds or fails by the task's own goal. `robo_ppo.shaping`
records the flights and lets rewards be judged by them; nothing here knows of rewards.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

End = Literal["success", "failure", "timeout"]


@dataclass(frozen=True)
class Moment:
    """What a script knows before a control step, for every scene (n, …)."""

    step: int  # control steps since the beginning
    period: float  # s, of a control step
    measured: dict[str, Tensor]  # what the vehicle measures
    states: dict[str, Tensor]  # what is true, and what the task remembers
    fields: dict[str, Tensor]  # of the simulation


class Script:
    """How one kind is flown, in all scenes at once; a new one is made for every recording.

    As it stands here it changes nothing: the policy flies as it has learned to.
    """

    def __init__(self, ended: Mapping[str, Tensor]) -> None:
        """`ended` tells of the kinds that were flown before at which step each scene's flight was over (n,)."""
        self.ended = ended

    def tell(self, now: Moment) -> dict[str, Tensor]:
        """The measurements that the policy is given."""
        return now.measured

    def act(self, now: Moment, action: Tensor) -> Tensor:
        """The action that is taken, from the policy's (n, action_size) in [-1, 1]."""
        return action


@dataclass(frozen=True)
class Kind:
    """One way to fly."""

    name: str
    title: str  # in the form of "hovering beside the goal", for messages
    script: Callable[[Mapping[str, Tensor]], Script]
    ends: End | None = None  # scenes in which it ends otherwise are not recorded; None: any but success
    below: Mapping[str, str] = field(default_factory=dict)  # kinds that a right reward pays more, and why


@dataclass(frozen=True)
class Flights:
    """All kinds of a task, and how much of them is kept."""

    kinds: tuple[Kind, ...]
    scenes: int  # that are recorded
    seconds: float  # a flight that goes on is cut here
    settle: float = 1.0  # s at its end whose mean reward stands for what goes on
