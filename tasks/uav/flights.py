"""Flights to a goal, well and badly, for the ranking test: the shipped policy, told another goal than the true one.

Up or down there is always room around a goal, so that is where goals are shifted to. Flights that are to show what
pays *at* the goal go there first, as the successful one does, so that the rest of the way is the same for both.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from typing_extensions import override

from robo_ppo.env.flights import Flights, Kind, Moment, Script

BESIDE = 0.4  # m: clearly outside the goal, and as near as a timid policy would come
ARRIVED = 0.3  # m: as near as this a flight counts as having reached the goal, or the place it was told
STOP = 0.5  # s before a crash at which the careful twin of that flight stops

ENDS_THE_PAY = "what is paid again and again near the goal must stay below what arriving is worth, which ends the pay"
CRASHES_COST = "a failure must cost more than all that it saves: the time, the comfort and the way that were left"
GIVING_UP = "being alive, or still, must not pay more than the way to the goal costs"
NO_FARMING = "speed, nearness and ways to and fro must not be paid again and again more than arriving is worth"


class Beside(Script):
    """Rests above or below the goal, on the side where there is more room."""

    @override
    def tell(self, now: Moment) -> dict[str, Tensor]:
        return now.measured | {"goal": now.measured["goal"] + shift(now, BESIDE)}


class Late(Beside):
    """Waits there for 1.5 s, then goes to the goal: the same flight as `Beside` until then."""

    def __init__(self, ended: Mapping[str, Tensor]) -> None:
        super().__init__(ended)
        self._waited: Tensor | None = None

    @override
    def tell(self, now: Moment) -> dict[str, Tensor]:
        told = super().tell(now)
        waited = torch.zeros(len(told["goal"])) if self._waited is None else self._waited
        near = (now.fields["qpos"][:, :3] - told["goal"]).norm(dim=1) < ARRIVED
        self._waited = waited + torch.where(near | (waited > 0), now.period, 0.0)
        goal = torch.where((self._waited > 1.5).unsqueeze(1), now.measured["goal"], told["goal"])
        return now.measured | {"goal": goal}


class AtTheGoal(Script):
    """Goes to the goal as `success` does; from there on the goal that it is told moves about the true one."""

    def __init__(self, ended: Mapping[str, Tensor]) -> None:
        super().__init__(ended)
        self._since: Tensor | None = None  # s since it came near; 0 before

    @override
    def tell(self, now: Moment) -> dict[str, Tensor]:
        goal = now.measured["goal"]
        since = torch.zeros(len(goal)) if self._since is None else self._since
        near = (now.fields["qpos"][:, :3] - goal).norm(dim=1) < ARRIVED
        self._since = since + torch.where(near | (since > 0), now.period, 0.0)
        offset = torch.where((self._since > 0).unsqueeze(1), self.offset(now, self._since), 0.0)
        return now.measured | {"goal": goal + offset}

    def offset(self, now: Moment, since: Tensor) -> Tensor:
        """Where the told goal is, seen from the true one (n, 3)."""
        return torch.zeros_like(now.measured["goal"])


class LeavesInTime(AtTheGoal):
    """Stays at the goal, but for a moment in every second: never as long as success takes."""

    @override
    def offset(self, now: Moment, since: Tensor) -> Tensor:
        return torch.where((torch.remainder(since, 1.0) > 0.8).unsqueeze(1), shift(now, 1.0), 0.0)


class Swings(AtTheGoal):
    """Up and down through the goal, once in a second."""

    @override
    def offset(self, now: Moment, since: Tensor) -> Tensor:
        far = torch.where(torch.remainder(since, 1.0) < 0.5, 1.0, -1.0).unsqueeze(1)
        return far * shift(now, 1.0)


class Circles(AtTheGoal):
    """Round the goal, once in a second."""

    @override
    def offset(self, now: Moment, since: Tensor) -> Tensor:
        angle = 2.0 * math.pi * since
        return 0.6 * torch.stack((torch.cos(angle), torch.sin(angle), torch.zeros_like(angle)), 1)


class Rushes(Script):
    """Through the goal as fast as it can, and on; then back again."""

    @override
    def tell(self, now: Moment) -> dict[str, Tensor]:
        goal, position = now.measured["goal"], now.fields["qpos"][:, :3]
        way = goal - position
        flat = torch.cat((way[:, :2], torch.zeros(len(way), 1)), 1)
        return now.measured | {"goal": goal + 2.0 * flat / flat.norm(dim=1, keepdim=True).clamp_min(0.1)}


class Stays(Script):
    """Rests where it began."""

    def __init__(self, ended: Mapping[str, Tensor]) -> None:
        super().__init__(ended)
        self._start: Tensor | None = None

    @override
    def tell(self, now: Moment) -> dict[str, Tensor]:
        if self._start is None:
            self._start = now.fields["qpos"][:, :3].clone()
        return now.measured | {"goal": self._start}


class Spins(Beside):
    """Turns about itself beside the goal."""

    @override
    def act(self, now: Moment, action: Tensor) -> Tensor:
        turning = action.clone()
        turning[:, 3] = 0.8 if now.step * now.period > 1.0 else turning[:, 3]
        return turning


class Falls(Script):
    """Motors off."""

    @override
    def act(self, now: Moment, action: Tensor) -> Tensor:
        return torch.full_like(action, -1.0) * torch.tensor([1.0, 0.0, 0.0, 0.0])


class Random(Script):
    """What a policy does before it has learned anything."""

    def __init__(self, ended: Mapping[str, Tensor]) -> None:
        super().__init__(ended)
        self._generator = torch.Generator().manual_seed(0)

    @override
    def act(self, now: Moment, action: Tensor) -> Tensor:
        return (0.5 * torch.randn(action.shape, generator=self._generator)).clamp(-1.0, 1.0)


class Crashes(Script):
    """Blind: it sees nothing of what stands in its way. Where there is nothing to see, it is sent into the floor."""

    @override
    def tell(self, now: Moment) -> dict[str, Tensor]:
        if "ranges" in now.measured:
            return now.measured | {"ranges": torch.full_like(now.measured["ranges"], 1e3).clamp_max(_farthest(now))}
        return now.measured | {"goal": now.measured["goal"] * torch.tensor([1.0, 1.0, 0.0]) - torch.tensor([0, 0, 1.0])}


class StopsShort(Crashes):
    """The flight of `Crashes`, but for its end: it stops in time, and rests there."""

    def __init__(self, ended: Mapping[str, Tensor]) -> None:
        super().__init__(ended)
        self._place: Tensor | None = None

    @override
    def tell(self, now: Moment) -> dict[str, Tensor]:
        blind, position = super().tell(now), now.fields["qpos"][:, :3]
        place = position.clone() if self._place is None else self._place
        stopped = (now.step >= self.ended["crashes"] - round(STOP / now.period)).unsqueeze(1)
        self._place = torch.where(stopped, place, position)
        told = now.measured | {"goal": self._place}
        return {name: torch.where(_like(stopped, value), told[name], value) for name, value in blind.items()}


def shift(now: Moment, distance: float) -> Tensor:
    """Up or down by a distance (m), away from the nearer of floor and ceiling (n, 3)."""
    goal = now.states["goal_position"]
    return torch.where(goal[:, 2:] < 1.5, distance, -distance) * torch.tensor([0.0, 0.0, 1.0])


def _farthest(now: Moment) -> float:
    return float(now.measured["ranges"].max())


def _like(mask: Tensor, value: Tensor) -> Tensor:
    return mask.reshape(len(mask), *[1] * (value.ndim - 1))


FLIGHTS = Flights(
    kinds=(
        Kind("success", "succeeding", Script, ends="success"),
        Kind("late", "succeeding after a rest there", Late, ends="success"),
        Kind(
            "hovers",
            f"resting {BESIDE} m beside the goal",
            Beside,
            ends="timeout",
            below={"success": ENDS_THE_PAY, "late": ENDS_THE_PAY},
        ),
        Kind(
            "leaves",
            "leaving the goal each time before it counts",
            LeavesInTime,
            ends="timeout",
            below={"success": ENDS_THE_PAY},
        ),
        Kind("swings", "swinging through the goal", Swings, below={"success": NO_FARMING}),
        Kind("circles", "circling the goal fast", Circles, below={"success": NO_FARMING}),
        Kind("rushes", "rushing through the goal and beyond", Rushes, below={"success": NO_FARMING}),
        Kind(
            "spins",
            "spinning beside the goal",
            Spins,
            ends="timeout",
            below={"success": "no motion of its own may be worth more than arriving"},
        ),
        Kind("stays", "staying at the start", Stays, ends="timeout", below={"success": GIVING_UP}),
        Kind(
            "crashes",
            "flying into a column or the floor",
            Crashes,
            ends="failure",
            below={"success": CRASHES_COST, "stops": CRASHES_COST},
        ),
        Kind(
            "stops", "stopping before a column or the floor", StopsShort, ends="timeout", below={"success": GIVING_UP}
        ),
        Kind(
            "falls",
            "falling to the floor",
            Falls,
            ends="failure",
            below={"success": CRASHES_COST, "stays": CRASHES_COST},
        ),
        Kind("random", "flying at random", Random, below={"success": "nothing may pay more than success"}),
    ),
    scenes=6,
    seconds=6.0,
)
