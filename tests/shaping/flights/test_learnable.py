"""Guidance and bearing against plain sums over the stored flights."""

import numpy as np
import pytest

from robo_ppo.env.dry_run import DryRun
from robo_ppo.env.language import program_of
from robo_ppo.run.compose import compose
from robo_ppo.shaping.flights.learnable import bearing, guidance
from tests.shaping.loops import OVERRIDES, gate, reward
from tests.shaping.packets import config_of

LAST = 50  # steps of the last second


def test_they_are_what_a_loop_over_the_flights_gives() -> None:
    weights = {"progress": 3.0, "time": 0.05, "action_change": 0.1, "failure": 10.0}
    ways = gate().ways_of(reward(weights))
    assert ways is not None
    ranking = gate().ranking
    assert ranking is not None
    returns = ranking.returns
    paid = returns.rewards(DryRun(config_of(*OVERRIDES)).reward(reward(weights))).numpy()
    way, moved, trying = [], [], []
    for flight in returns.trajectories.flights:
        rows = paid[:, flight.first + 1 : flight.first + flight.rows]
        if flight.end == "success":
            way.append(sum(float(x) for x in rows[:, :-LAST].ravel()))
            moved.append(sum(abs(float(x)) for x in rows[:, :-LAST].ravel()))
        if flight.kind == "random":
            trying.append(sum(float(x) for x in rows[:, :-1].ravel()))
    assert guidance(ways, weights) == pytest.approx(np.mean(way) / np.mean(moved), rel=1e-4)
    expected = (np.mean(way) + np.mean(trying)) / (abs(np.mean(way)) + abs(np.mean(trying)))
    assert bearing(ways, weights) == pytest.approx(expected, rel=1e-4)


def test_a_reward_that_taught_has_more_of_them_than_one_whose_comfort_costs_all() -> None:
    def numbers(name: str) -> tuple[float, float]:
        config = compose("task=uav_hover", f"reward={name}").reward
        weights = {term: float(given["weight"]) for term, given in config.items()}
        settings = {term: {k: float(v) for k, v in given.items()} for term, given in config.items()}
        ways = gate().ways_of(program_of(settings, "A test."))
        assert ways is not None
        return guidance(ways, weights), bearing(ways, weights)

    good = numbers("uav_hover")
    assert good[0] > 0.05
    assert numbers("uav_hover_poor_weights")[0] < -0.5
    assert numbers("uav_hover_poor_weights")[1] < good[1] - 0.1
    assert numbers("uav_hover_poor_hurry")[0] < -0.5
