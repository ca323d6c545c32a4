"""`uav_hover`: recover from any pose up to a large tilt, fly to a point nearby and hold it."""

from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from robo_ppo.env.scenes import Columns
from robo_ppo.tasks.uav.room import RoomSettings, RoomTask, start_state, uniform_in_room


@dataclass(frozen=True)
class HoverSettings(RoomSettings):
    """Where an episode may begin."""

    start_tilt: float = 60.0  # degrees, at most
    start_speed: float = 0.5  # m/s, standard deviation per axis
    start_rate: float = 2.0  # rad/s, standard deviation per axis
    goal_distance: float = 1.0  # m, at most, along each axis
    margin: float = 0.8  # m, of start and goal to walls, floor and ceiling


class UavHover(RoomTask):
    """Start at a random place, tilted and moving, with the goal close by."""

    Settings = HoverSettings
    settings: HoverSettings

    @override
    def scenes(self, rng: np.random.Generator, count: int) -> Columns:
        s = self.settings
        goal = uniform_in_room(rng, s.room, s.margin, (count,))
        start = goal + rng.uniform(-s.goal_distance, s.goal_distance, (count, 3))
        half = np.array([s.room[0] / 2, s.room[1] / 2])
        low, high = np.append(s.margin - half, s.margin), np.append(half - s.margin, s.room[2] - s.margin)
        start = start.clip(low, high)
        return {
            **start_state(rng, start, s.start_tilt, s.start_speed, s.start_rate),
            "goal_position": goal.astype(np.float32),
            "start_distance": np.linalg.norm(goal - start, axis=1).clip(0.1).astype(np.float32),
        }
