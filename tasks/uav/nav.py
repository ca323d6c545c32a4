"""`uav_nav`: fly to a goal in a room full of columns, seeing them only through a ring of range sensors.

A scene has 4 to 8 columns from floor to ceiling. Between any two of them, and around start and goal, there is a gap
wide enough to fly through, so that every scene can be solved; in most of them a column stands on the straight way.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from robo_ppo.env.distances import swept_column
from robo_ppo.env.scenes import Columns
from robo_ppo.env.shapes import Shape
from robo_ppo.env.signals import State, measurement, signal
from robo_ppo.errors import UserError
from robo_ppo.tasks.uav.room import RoomSettings, RoomTask, start_state, uniform_in_room

FAR_AWAY = 1000.0  # m: where columns stand that a scene does not use
TINY = 1e-12  # m²: what is below is taken for this, since the square root of exactly 0 takes CPUs ten times as long


@dataclass(frozen=True)
class NavSettings(RoomSettings):
    """What a scene looks like, and what the range sensors see."""

    columns: tuple[int, int] = (4, 8)  # fewest and most in a scene
    column_radius: tuple[float, float] = (0.12, 0.30)  # m
    gap: float = 0.5  # m, at least, between columns, to walls, and around start and goal
    way: float = 3.0  # m, at least, from start to goal
    on_the_way: float = 0.85  # share of scenes whose first column is put on the straight way
    margin: float = 0.6  # m, of start and goal to walls, floor and ceiling
    sectors: int = 16  # range sensors around the vehicle, each as wide as its sector
    range: float = 3.0  # m, what the sensors say when nothing is nearer


class UavNav(RoomTask):
    """Fly from start to goal around columns."""

    Settings = NavSettings
    settings: NavSettings
    failures = ("obstacle", *RoomTask.failures)

    @override
    def states(self) -> dict[str, State]:
        return super().states() | {"columns": State((self.settings.columns[1], 3), "m", "world", initial=FAR_AWAY)}

    @override
    def scenes(self, rng: np.random.Generator, count: int) -> Columns:
        self._check_settings()
        parts: list[Columns] = []
        while sum(len(part["qpos"]) for part in parts) < count:
            parts.append(self._solvable(rng, count))
            if not len(parts[-1]["qpos"]):
                s = self.settings
                raise UserError(
                    f"none of {count} scenes could be laid out: columns {list(s.columns)} of radius "
                    f"{list(s.column_radius)} m and gaps of {s.gap} m need a larger room than {list(s.room)} or a way "
                    f"shorter than {s.way} m"
                )
        return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}

    @override
    def curriculum(self, columns: dict[str, Tensor], level: Tensor) -> dict[str, Tensor]:
        most = self.settings.columns[1]
        allowed = 1.0 + level * (most - 1)
        present = torch.arange(most, device=level.device) < allowed
        away = torch.full_like(columns["columns"], FAR_AWAY)
        return columns | {"columns": torch.where(present[:, None], columns["columns"], away)}

    @override
    def shapes(self, values: Mapping[str, np.ndarray]) -> list[Shape]:
        height = self.settings.room[2]
        columns = [
            Shape("cylinder", (float(x), float(y), height / 2), (float(radius), height / 2), "obstacle")
            for x, y, radius in values["columns"]
            if x < FAR_AWAY
        ]
        return [*super().shapes(values), *columns]

    @override
    def scene_statistics(self, columns: Mapping[str, Tensor]) -> dict[str, float]:
        start, goal = columns["qpos"][:, None, :3], columns["goal_position"][:, None]
        clearance = (
            swept_column(start, goal, columns["columns"][..., :2], columns["columns"][..., 2]).amin(1)
            - self.robot.radius
        )
        return {"flying_straight_would_succeed": float((clearance > 0.0).float().mean())}

    @signal(unit="m")
    def obstacle_clearance(self, position: Tensor, previous_position: Tensor, columns: Tensor) -> Tensor:
        """Smallest distance from the vehicle's sphere to a column on the way of this step (n,)."""
        start, end = previous_position.unsqueeze(1), position.unsqueeze(1)
        return swept_column(start, end, columns[..., :2], columns[..., 2]).amin(1) - self.robot.radius

    @signal(unit="m")
    def clearance(self, room_clearance: Tensor, obstacle_clearance: Tensor) -> Tensor:
        """Distance from the vehicle's sphere to whatever it can hit first (n,)."""
        return torch.minimum(room_clearance, obstacle_clearance)

    @signal()
    def obstacle(self, obstacle_clearance: Tensor) -> Tensor:
        """Contact with a column (n,)."""
        return obstacle_clearance < 0.0

    @signal()
    def failed(self, obstacle: Tensor, ground: Tensor, ceiling: Tensor, bounds: Tensor, tipped_over: Tensor) -> Tensor:
        """Any failure (n,)."""
        return obstacle | ground | ceiling | bounds | tipped_over

    @measurement(unit="m", frame="heading", range=(0.0, math.inf))
    def ranges(self, qpos: Tensor, heading_direction: Tensor, columns: Tensor) -> Tensor:
        """Horizontal distance to the nearest thing in each sector (n, sectors), counter-clockwise from ahead.

        As a ring of multi-zone range sensors gives it once their rows are levelled with the attitude. For columns it is
        the nearest point inside the sector, for walls the distance along the sector's middle.
        """
        position = qpos[:, :2]
        ring = torch.minimum(
            self._nearest_column(position, heading_direction, columns), self._nearest_wall(position, heading_direction)
        )
        return ring.clamp_max(self.settings.range)

    @signal(unit="1", frame="heading")
    def proximity(self, ranges: Tensor) -> Tensor:
        """Squared nearness of what the sensors see (n, sectors): 0 at the end of their range, 1 at contact."""
        return torch.square(1.0 - ranges / self.settings.range)

    def _nearest_column(self, position: Tensor, heading_direction: Tensor, columns: Tensor) -> Tensor:
        """Distance to the nearest point of a column within each sector (n, sectors).

        The columns come first in the layout, and what a ray misses is moved far away by arithmetic: masks and minima
        along a middle axis take several times as long on a CPU.
        """
        x, y, radius = columns.permute(2, 1, 0).contiguous().unbind(0)  # (columns, n)
        x, y = x - position[:, 0], y - position[:, 1]
        cosine, sine = heading_direction.unbind(1)
        in_heading = torch.stack((x * cosine + y * sine, y * cosine - x * sine), -1)  # (columns, n, 2)
        middle = self._sector_directions(position)
        half_width = math.pi / self.settings.sectors
        # d·cos Δ and d·|sin Δ| (columns, n, sectors): Δ is the angle between a column and the middle of a sector.
        along, across = in_heading @ middle[0], (in_heading @ middle[1]).abs_()
        # The ray of the sector nearest to the column's centre is off by δ = max(|Δ| - half width, 0).
        off = (across * math.cos(half_width)).sub_(along, alpha=math.sin(half_width)).relu_()  # d·sin δ
        depth = torch.addcmul((radius * radius).unsqueeze(-1), off, off, value=-1.0)  # squared half chord; < 0: a miss
        to_middle = torch.addcmul((x * x + y * y).unsqueeze(-1), off, off, value=-1.0).clamp_min_(TINY).sqrt_()
        behind = along.add_(across, alpha=math.tan(half_width)).neg_().relu_()
        missed = torch.relu(-depth).add_(behind)
        near = to_middle.sub_(depth.clamp_min_(TINY).sqrt_()).add_(missed, alpha=FAR_AWAY * FAR_AWAY)
        return near.amin(0)

    def _nearest_wall(self, position: Tensor, heading_direction: Tensor) -> Tensor:
        """Distance to a wall along the middle of each sector (n, sectors)."""
        cosine, sine = heading_direction[:, 0:1], heading_direction[:, 1:2]
        middle = self._sector_directions(position)[0]
        x, y = cosine * middle[0] - sine * middle[1], sine * middle[0] + cosine * middle[1]
        half_length, half_width = self.settings.room[0] / 2, self.settings.room[1] / 2
        to_x = (half_length - torch.sign(x) * position[:, 0:1]) / x.abs().clamp_min(1e-6)
        to_y = (half_width - torch.sign(y) * position[:, 1:2]) / y.abs().clamp_min(1e-6)
        return torch.minimum(to_x, to_y)

    def _sector_directions(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of the sectors' middles, and those vectors turned left by 90°, each (2, sectors)."""
        return _sector_directions(self.settings.sectors, like.dtype, like.device)

    def _check_settings(self) -> None:
        s = self.settings
        if not 0 <= s.columns[0] <= s.columns[1] or s.columns[1] < 1:
            raise UserError(f"task.settings.columns must be [fewest, most] with at least one, not {list(s.columns)}")
        if not 0 < s.column_radius[0] <= s.column_radius[1]:
            raise UserError(
                f"task.settings.column_radius must be [smallest, largest] in m, not {list(s.column_radius)}"
            )
        if s.sectors < 1 or not s.range > 0:
            raise UserError(f"task.settings: sectors={s.sectors} and range={s.range} must be greater than 0")

    def _solvable(self, rng: np.random.Generator, count: int) -> Columns:
        """Scenes out of `count` attempts in which everything found its place."""
        s = self.settings
        start, goal = self._start_and_goal(rng, count)
        fewest, most = s.columns
        wanted = rng.integers(fewest, most + 1, count)
        columns = np.full((count, most, 3), FAR_AWAY)
        columns[..., 2] = 0.0
        solvable = np.linalg.norm(goal - start, axis=1) >= s.way
        for number in range(most):
            radius = rng.uniform(*s.column_radius, count)
            candidates = self._candidates(rng, start, goal, radius, on_the_way=number == 0)
            free = self._is_free(candidates, radius, columns, start, goal)
            chosen = free.argmax(1)
            needed = number < wanted
            solvable &= free.any(1) | ~needed
            place = needed & free.any(1)
            columns[place, number, :2] = candidates[np.arange(count), chosen][place]
            columns[place, number, 2] = radius[place]
        scene = {
            **start_state(rng, start, tilt=10.0, speed=0.2, rate=0.2),
            "goal_position": goal.astype(np.float32),
            "start_distance": np.linalg.norm(goal - start, axis=1).astype(np.float32),
            "columns": columns.astype(np.float32),
        }
        return {name: values[solvable] for name, values in scene.items()}

    def _start_and_goal(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        s = self.settings
        pairs = uniform_in_room(rng, s.room, s.margin, (count, 16, 2))
        apart = np.linalg.norm(pairs[:, :, 0] - pairs[:, :, 1], axis=-1) >= s.way
        pair = pairs[np.arange(count), apart.argmax(1)]
        return pair[:, 0], pair[:, 1]

    def _candidates(
        self, rng: np.random.Generator, start: np.ndarray, goal: np.ndarray, radius: np.ndarray, *, on_the_way: bool
    ) -> np.ndarray:
        """Places (count, tries, 2) for a column; the first one of a scene mostly comes to stand on the straight way."""
        s, count, tries = self.settings, len(start), 64
        half = np.array(s.room[:2]) / 2 - (radius[:, None, None] + s.gap)
        anywhere = rng.uniform(-1.0, 1.0, (count, tries, 2)) * half
        if not on_the_way:
            return anywhere
        way = (goal - start)[:, None, :2]
        share = rng.uniform(0.2, 0.8, (count, tries, 1))
        beside = rng.uniform(-0.15, 0.15, (count, tries, 2))
        on_way = (start[:, None, :2] + share * way + beside).clip(-half, half)
        return np.where(rng.random((count, 1, 1)) < s.on_the_way, on_way, anywhere)

    def _is_free(
        self, places: np.ndarray, radius: np.ndarray, columns: np.ndarray, start: np.ndarray, goal: np.ndarray
    ) -> np.ndarray:
        """Whether a column may stand at each place (count, tries)."""
        gap = self.settings.gap
        to_columns = np.linalg.norm(places[:, :, None] - columns[:, None, :, :2], axis=-1) - columns[:, None, :, 2]
        to_ends = [np.linalg.norm(places - end[:, None, :2], axis=-1) for end in (start, goal)]
        nearest = np.minimum(to_columns.min(-1), np.minimum(*to_ends))
        return nearest - radius[:, None] >= gap


@functools.cache
def _sector_directions(sectors: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    angle = torch.arange(sectors, dtype=dtype, device=device) * (2 * math.pi / sectors)
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return torch.stack((cosine, sine)), torch.stack((-sine, cosine))
