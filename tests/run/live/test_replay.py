"""The last step of a world that broke: replayed, it breaks as it did, in the same field, for every rank."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from robo_ppo.config import RunConfig
from robo_ppo.env.broken import LARGEST
from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment
from robo_ppo.env.vector import BrokenWorld
from robo_ppo.errors import UserError
from robo_ppo.run import checkpoint
from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose
from robo_ppo.run.live.replay import STATE, load, replay

N = 6


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return compose("task=uav_hover", "randomization=strong", "seed=3")


def started(config: RunConfig, steps: int) -> Environment:
    """The second of two ranks, some steps into its training."""
    environment = build(config, "train", N, rank=1, ranks=2)
    environment.level.fill_(0.6)
    environment.reset()
    act(environment, range(steps))
    return environment


def act(environment: Environment, steps: range) -> None:
    for step in steps:
        noise = torch.rand(N, 4, generator=torch.Generator().manual_seed(step))
        environment.step(2.0 * noise - 1.0, restart=False)


def break_world(environment: Environment, field: str, value: float) -> BrokenWorld:
    """Let the next step break the world of row 4."""
    values = environment.sim.bind(field).clone()
    values[4, -1] = value
    environment.sim.write(field, values)
    act(environment, range(99, 100))
    return broken(environment)


def broken(environment: Environment) -> BrokenWorld:
    world = environment.take_broken_world()
    assert world is not None
    return world


def test_the_same_field_breaks_first(config: RunConfig) -> None:
    world = break_world(started(config, 10), "qvel", 4e5)
    replayed = replay(config, world)
    assert world.first_field == "qvel"
    found = replayed.first(STATE)
    assert found is not None and found[1] == "qvel" and 1 <= found[0] <= 4
    assert replayed.verdict().endswith("training said qvel")


def test_a_state_that_was_broken_before_the_step(config: RunConfig) -> None:
    world = break_world(started(config, 1), "qvel", torch.inf)
    assert replay(config, world).first() == (0, "qvel") == (0, world.first_field)


def test_an_action_that_is_not_a_number(config: RunConfig) -> None:
    environment = started(config, 3)
    action = torch.zeros(N, 4)
    action[2, 1] = torch.nan
    environment.step(action)
    world = broken(environment)
    replayed = replay(config, world)
    assert replayed.first() == (0, "ctrl") == (0, world.first_field)
    assert replayed.verdict().startswith("ctrl ran away first, before the step: ctrl[1] (roll_rate)")


def test_every_substep_is_that_of_the_training(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is taken for the end of the world is set so low that a flight goes on behind it, for a twin to tell."""
    twin, environment = started(config, 12), started(config, 12)
    fastest = float(twin.sim.bind("qvel").abs().amax())
    act(twin, range(12, 13))
    monkeypatch.setattr("robo_ppo.env.broken.LARGEST", 0.8 * fastest)
    act(environment, range(12, 13))
    world = broken(environment)
    row = world.episode // 2  # of the second of two ranks
    monkeypatch.undo()
    substeps = replay(config, world).substeps
    assert [substep.number for substep in substeps] == [0, 1, 2, 3, 4]
    # Its mass, motors and drag are those of its episode, and so the twin's.
    np.testing.assert_allclose(substeps[-1].qpos, twin.sim.bind("qpos")[row], atol=2e-6)
    found, truth = substeps[-1].largest["qvel"].value, twin.sim.bind("qvel")[row]
    assert found == pytest.approx(float(truth[truth.abs().argmax()]), rel=1e-4)
    assert substeps[0].largest["qvel"].value != pytest.approx(found, rel=1e-3)
    assert "nothing ran away here" in replay(config, world).verdict()
    goal = next(shape for shape in replay(config, world).shapes if shape.role == "goal")
    assert goal.position == pytest.approx(tuple(world.state["goal_position"].tolist()))


def test_it_is_found_in_its_run(config: RunConfig, tmp_path: Path) -> None:
    world = break_world(started(config, 5), "qvel", 4e5)
    folders.save_config(config, tmp_path)
    path = tmp_path / "broken_worlds" / f"episode_{world.episode}_step_{world.step}.pt"
    checkpoint.write(path, dataclasses.asdict(world))
    table = load(str(path)).table().splitlines()
    assert table[0] == f"episode {world.episode} of the training, step {world.step}: from the state before it"
    assert table[2].split() == ["substep", "ctrl", "qfrc_applied", "actuator_force", "qacc", "qvel", "qpos"]
    assert [line.split()[0] for line in table[3:8]] == ["0", "1", "2", "3", "4"]
    assert "!" not in table[3] and "!" in table[7]
    assert all(float(cell.rstrip("!")) >= LARGEST for cell in " ".join(table[3:8]).split() if cell.endswith("!"))


def test_what_is_no_dump_is_refused(config: RunConfig, tmp_path: Path) -> None:
    world = break_world(started(config, 2), "qvel", 4e5)
    path = tmp_path / "broken_worlds" / "episode.pt"
    with pytest.raises(UserError, match=r"there is no .*episode\.pt; a training keeps"):
        load(str(path))
    checkpoint.write(path, {"model": {}})
    with pytest.raises(UserError, match="is not a world that broke in training: it lacks 'episode'"):
        load(str(path))
    checkpoint.write(path, dataclasses.asdict(world))
    with pytest.raises(UserError, match="must lie in broken_worlds/ of its run"):
        load(str(path))
    folders.save_config(compose("task=uav_hover", "robot.action=motors"), tmp_path)
    with pytest.raises(UserError, match="does not fit the task of its run: act"):
        load(str(path))
    without = {name: value for name, value in world.state.items() if name != "hold_time"}
    with pytest.raises(UserError, match="does not fit the task of its run: hold_time is missing"):
        replay(config, dataclasses.replace(world, state=without))
