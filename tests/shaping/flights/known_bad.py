"""Rewards that are known to be bad, and what a policy would rather do than succeed: the corpus of the ranking test."""

from dataclasses import dataclass

HOVERS = frozenset({"hovers", "leaves", "spins", "stays", "stops"})
MOVES = frozenset({"swings", "circles", "rushes", "leaves", "spins"})
ENDS = frozenset({"crashes", "falls", "random"})


@dataclass(frozen=True)
class Bad:
    """A reward, and the kinds of which one must be the counter-example that is named first."""

    weights: str
    instead: frozenset[str]
    functions: str = ""

    def text(self, name: str) -> str:
        """As a program."""
        return f'"""{name.replace("_", " ")}"""\nversion = 1\nweights = {self.weights}\n\n{self.functions}'


KNOWN_BAD = {
    "hovering_pays_more_than_success": Bad(
        '{"progress": 3.0, "success_bonus": 10.0, "failure": 15.0, '
        '"near_goal": {"weight": 1.0, "distance": 0.6, "speed": 0.6}}',
        HOVERS,
    ),
    "alive_bonus_only": Bad(
        '{"alive": 0.1}', HOVERS | MOVES, "def alive(goal_distance):\n    return ones_like(goal_distance)\n"
    ),
    "alive_bonus_beside_success": Bad(
        '{"alive": 1.0, "progress": 3.0, "success_bonus": 10.0, "failure": 15.0}',
        HOVERS | MOVES,
        "def alive(goal_distance):\n    return ones_like(goal_distance)\n",
    ),
    "speed_only": Bad('{"fast": 0.1}', MOVES | ENDS, "def fast(speed):\n    return speed\n"),
    "speed_beside_success": Bad(
        '{"fast": 0.5, "success_bonus": 10.0, "failure": 15.0, "progress": 3.0}',
        MOVES,
        "def fast(speed):\n    return speed\n",
    ),
    "progress_one_way": Bad(
        '{"closer": 3.0, "failure": 15.0}',
        MOVES,
        "def closer(goal_distance, previous_goal_distance):\n    return relu(previous_goal_distance - goal_distance)\n",
    ),
    "progress_one_way_beside_success": Bad(
        '{"closer": 10.0, "success_bonus": 2.0, "failure": 15.0}',
        MOVES,
        "def closer(goal_distance, previous_goal_distance):\n    return relu(previous_goal_distance - goal_distance)\n",
    ),
    "time_dearer_than_a_crash": Bad('{"progress": 3.0, "success_bonus": 10.0, "time": 1.0}', ENDS),
    "failure_cheaper_than_time": Bad('{"progress": 3.0, "success_bonus": 10.0, "time": 1.0, "failure": 5.0}', ENDS),
    "nothing_but_comfort": Bad('{"body_rate": 0.01, "action_change": 0.01, "failure": 10.0}', HOVERS),
    "distance_as_a_penalty_for_living": Bad(
        '{"far": 1.0, "success_bonus": 5.0}', ENDS, "def far(goal_distance):\n    return -goal_distance\n"
    ),
    "nearness_that_farms_time": Bad(
        '{"nearness": 1.0, "success_bonus": 10.0, "failure": 10.0}',
        HOVERS | MOVES,
        "def nearness(goal_distance):\n    return exp(-goal_distance)\n",
    ),
    "spinning": Bad(
        '{"turn": 0.2, "progress": 3.0, "success_bonus": 10.0, "failure": 15.0}',
        frozenset({"spins"}),
        "def turn(gyro):\n    return abs(gyro[:, 2])\n",
    ),
    "no_reward_at_all": Bad('{"progress": 0.0}', HOVERS | MOVES | ENDS),
    "success_as_a_penalty": Bad(
        '{"ended": 10.0, "progress": 3.0, "failure": 10.0}',
        HOVERS | MOVES,
        "def ended(success):\n    return -float(success)\n",
    ),
    "closeness_to_walls": Bad(
        '{"hug": 1.0, "success_bonus": 10.0, "progress": 3.0}',
        HOVERS | MOVES | ENDS,
        "def hug(clearance):\n    return exp(-abs(clearance))\n",
    ),
    "full_throttle": Bad(
        '{"thrust": 1.0, "success_bonus": 10.0, "failure": 10.0}',
        HOVERS | MOVES,
        "def thrust(last_action):\n    return last_action[:, 0] + 1.0\n",
    ),
}
"""Each is bad for both shipped tasks."""

NEEDS_COLUMNS = {
    "closeness_to_columns": Bad(
        '{"hug": 1.0, "success_bonus": 10.0, "progress": 3.0, "failure": 5.0}',
        HOVERS | MOVES | ENDS,
        "def hug(obstacle_clearance):\n    return exp(-abs(obstacle_clearance))\n",
    ),
}
"""Those that are bad for uav_nav, and no rewards of uav_hover."""
