"""Whole episodes: one for each id, each counted once, and numbers that the recorded flights confirm."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robo_ppo.env.build import build, make_task
from robo_ppo.env.environment import Environment, Observation, Transition
from robo_ppo.run.episodes import Act, joined, run_episodes
from tests.run.by_hand import hover_config, hovering

CONFIG = hover_config(Path("runs"), "randomization=none", "task.episode_seconds=4.0")


def environment_of(count: int) -> Environment:
    return build(CONFIG, "validation", count, episodes=24, extra_signals=make_task(CONFIG).recorded())


@pytest.fixture(scope="module")
def pilot() -> Act:
    model = hovering(CONFIG)

    def act(observation: Observation) -> Tensor:
        return model.actor(model.normalizer("policy")(observation["policy"]))

    return act


def falling(observation: Observation) -> Tensor:
    return torch.full((len(observation["policy"]), 4), -1.0)


def test_every_id_is_flown_once_whatever_the_batches(pilot: Act) -> None:
    together = run_episodes(environment_of(24), pilot)
    small = environment_of(10)
    parts = joined([run_episodes(small, pilot, first_id=first) for first in (0, 10, 20)], 24)
    for episodes in (together, parts):
        assert episodes.ids.tolist() == list(range(24))
    assert together.outcome.tolist() == parts.outcome.tolist()
    np.testing.assert_array_equal(together.steps, parts.steps)
    for name, values in together.metrics.items():
        np.testing.assert_allclose(values, parts.metrics[name], atol=1e-5)
    assert together.success == together.count("success") / 24 > 0.5


def test_an_episode_ends_once(pilot: Act) -> None:
    """What happens in an environment after its episode has ended does not count."""
    environment = environment_of(24)
    flown = run_episodes(environment, falling)
    assert set(flown.outcome) <= {"ground", "tipped_over", "bounds"}
    assert flown.steps.max() < environment.options.max_episode_steps
    flown = run_episodes(environment, pilot)
    assert (flown.steps[flown.outcome == "timeout"] == environment.options.max_episode_steps).all()
    assert (flown.steps[flown.outcome == "success"] >= 50).all()  # a second at the goal


def test_metrics_are_those_of_the_recorded_flights(pilot: Act) -> None:
    flown = run_episodes(environment_of(24), pilot, traced=20)
    assert len(flown.traces) == 20
    for trace in flown.traces:
        i = trace.episode
        assert trace.outcome == flown.outcome[i]
        assert len(trace.qpos) == len(trace.position) == len(trace.shapes) == flown.steps[i] + 1
        np.testing.assert_array_equal(trace.position, trace.qpos[:, :3])
        way = np.linalg.norm(np.diff(trace.position, axis=0), axis=1).sum()
        goal = next(shape.position for shape in trace.shapes[0] if shape.role == "goal")
        straight = np.linalg.norm(trace.position[0] - goal)
        assert flown.metrics["path_length_ratio"][i] == pytest.approx(way / straight, rel=1e-4)
        assert flown.metrics["smallest_clearance"][i] == pytest.approx(trace.readings["clearance (m)"][1:].min())
        assert flown.metrics["top_speed"][i] == pytest.approx(trace.readings["speed (m/s)"][1:].max())
        if trace.outcome == "success":
            assert np.linalg.norm(trace.position[-1] - goal) < 0.15
            assert (trace.readings["speed (m/s)"][-50:] < 0.3).all()


def test_a_watch_sees_every_step_that_counts_and_chosen_rows_become_traces(pilot: Act) -> None:
    seen: list[Tensor] = []
    flown = run_episodes(
        environment_of(8),
        pilot,
        traced=6,
        choose=lambda flown: [int(flown.steps[:6].argmax()), 7],
        watch=lambda transition, running: seen.append(running & transition.valid),
    )
    assert torch.stack(seen).sum(0).tolist() == flown.steps.tolist()
    (trace,) = flown.traces  # the last was not among those that were traced
    assert trace.episode == flown.steps[:6].argmax() and len(trace.position) == flown.steps[:6].max() + 1


def test_a_broken_world_ends_its_episode_alone(pilot: Act) -> None:
    environment = environment_of(8)
    usual = run_episodes(environment, pilot, traced=8)
    third = environment.sim.rows(torch.arange(8) == 3)
    steps = 0

    def breaking(observation: Observation) -> Tensor:
        nonlocal steps
        steps += 1
        if steps == 30:
            environment.sim.write("qvel", torch.full((1, 6), float("nan")), third)
        return pilot(observation)

    flown = run_episodes(environment, breaking, traced=8)
    assert flown.outcome[3] == "broken" and flown.steps[3] == 30
    assert np.isfinite(flown.metrics["smallest_clearance"]).all()
    assert len(flown.traces[3].position) == 30 and np.isfinite(flown.traces[3].position).all()
    others = np.arange(8) != 3
    assert flown.outcome[others].tolist() == usual.outcome[others].tolist()
    np.testing.assert_array_equal(flown.steps[others], usual.steps[others])


def test_a_failure_in_the_step_of_success_is_a_failure(pilot: Act, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the environment, which trains on it, sees it."""
    environment = environment_of(8)
    step = environment.step

    def doubtful(action: Tensor, *, restart: bool) -> Transition:
        transition = step(action, restart=restart)
        transition.values["ground"] = transition.values["ground"] | transition.values["success"]
        return transition

    monkeypatch.setattr(environment, "step", doubtful)
    flown = run_episodes(environment, pilot)
    assert flown.count("success") == 0 and flown.count("ground") > 0
