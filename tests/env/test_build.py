"""From a configuration to an environment: what is wrong in it ends in one message."""

from typing import Any

import pytest

from robo_ppo.env.build import build, make_task
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from tests.env.toy import config, environment


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": ("gapp",)}, "no signal 'gapp'; did you mean gap"),
        ({"critic": ("wayy",)}, "no signal 'wayy'; did you mean way"),
        ({"policy": ()}, "the policy observes nothing"),
        ({"measurements": {"plase": {}}}, "there is no measurement 'plase'; did you mean place"),
        ({"measurements": {"gap": {}}}, "there is no measurement 'gap'"),
        ({"measurements": {"place": {"noise": -1.0}}}, "measurements.place: noise and bias must be ≥ 0"),
        ({"reward": {"gian": {"weight": 1.0}}}, "no reward term 'gian'; did you mean gain"),
        ({"reward": {"effort": {"weight": 1.0}}}, "reward.effort needs the setting power"),
        (
            {"reward": {"wrong_shape": {"weight": 1.0}}},
            r"'wrong_shape' must return one value per environment.*toy_terms.py",
        ),
        ({"ranges": {"mas": [0.9, 1.1]}}, "no parameter 'mas' to randomize; did you mean mass"),
        (
            {"ranges": {"mass": [1.1, 0.9]}},
            r"randomization.parameters.mass must be \[lowest, highest\], not \[1.1, 0.9\]",
        ),
        ({"ranges": {"mass": [1.0]}}, "randomization.parameters.mass must be"),
        ({"ranges": {"mass": [-0.5, 1.0]}}, "randomization.parameters.mass are factors, so they must be ≥ 0"),
        ({"errors": -1.0}, "randomization.measurement_errors must be ≥ 0, not -1.0"),
        ({"action_delay": [0.1]}, r"task.action_delay must be \[shortest, longest\] in seconds, not \[0.1\]"),
        ({"action_delay": [0.1, 0.0]}, "task.action_delay must be"),
        ({"settings": {"visit": 2}}, "task.settings has no 'visit'; did you mean visits"),
        ({"settings": {"visits": "many"}}, "task.settings.visits must be a whole number, not 'many'"),
        ({"settings": {"visits": 2.5}}, "task.settings.visits must be a whole number, not 2.5"),
        ({"settings": {"near": True}}, "task.settings.near must be a number, not True"),
        ({"timestep": 0.0}, "task.timestep must be greater than 0"),
        ({"decimation": 0}, "task.decimation must be at least 1"),
        ({"seconds": 0.01}, "task.episode_seconds=0.01 is less than one control step"),
        ({"entry_point": "tests.env.toy"}, "task.entry_point=tests.env.toy: .*; it must be 'module:Class'"),
        ({"entry_point": "tests.env.nothing:Visits"}, "No module named .*; it must be 'module:Class'"),
        ({"entry_point": "tests.env.toy:Visit"}, "task.entry_point=tests.env.toy:Visit: .*; it must be 'module:Class'"),
        ({"entry_point": "tests.env.toy:Cart"}, "task.entry_point=tests.env.toy:Cart is not a Task"),
        ({"robot": "tests.env.toy:Visits"}, "robot.entry_point=tests.env.toy:Visits is not a Robot"),
        (
            {"entry_point": "tests.env.toy:EndsByNumber"},
            r"'success' ends episodes: it must be one bool .*, not float32 \(\)",
        ),
        (
            {"entry_point": "tests.env.toy:EndsByAxis"},
            r"'success' ends episodes: it must be one bool .*, not bool \(1,\)",
        ),
        ({"entry_point": "tests.env.toy:EndsByLetters"}, r"failures must be a tuple, as \('too_far',\)"),
    ],
)
def test_mistakes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        environment(4, **changes)


@pytest.mark.parametrize(
    ("num_envs", "episodes", "name"), [(0, 4, "num_envs"), (-1, 4, "num_envs"), (4, 0, "episodes")]
)
def test_nothing_to_do_is_refused(num_envs: int, episodes: int, name: str) -> None:
    with pytest.raises(UserError, match=f"{name} must be at least 1"):
        environment(num_envs, episodes=episodes)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sim.backend=mujoco"], "sim.backend=mujoco; did you mean"),
        (["robot.action=rates"], "robot.action=rates: crazyflie has no such action interface; did you mean body_rates"),
        (["task.settings.columns=[4]"], r"task.settings.columns must be a list like \[4, 8\], not \[4\]"),
        (["task.settings.columns=[4.5,8]"], r"task.settings.columns must be a list like \[4, 8\]"),
        (["task.settings.room=large"], r"task.settings.room must be a list like \[8.0, 8.0, 3.0\], not 'large'"),
        (["task.settings.sectors=24.5"], "task.settings.sectors must be a whole number"),
    ],
)
def test_mistakes_in_the_shipped_tasks_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(compose("task=uav_nav", *overrides), "validation", 2, episodes=2)


@pytest.mark.parametrize("group", ["policy", "critic"])
def test_a_signal_can_be_added_on_the_command_line(group: str) -> None:
    run = compose("task=uav_hover", f"+task.observation.{group}.speed={{}}")
    assert "speed" in getattr(run.task.observation, group)


def test_a_signal_can_be_removed_on_the_command_line() -> None:
    run = compose("task=uav_hover", "~task.observation.policy.height")
    assert "height" not in run.task.observation.policy


def test_settings_reach_the_task() -> None:
    task = make_task(config(settings={"visits": 7, "near": 1}))
    assert task.settings.visits == 7 and task.settings.near == 1  # pyright: ignore[reportAttributeAccessIssue]
    nav = make_task(compose("task=uav_nav", "task.settings.columns=[5,6]", "task.settings.gap=1"))
    assert nav.settings.columns == (5, 6) and nav.settings.gap == 1  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("task", ["uav_nav", "uav_hover"])
@pytest.mark.parametrize("action", ["body_rates", "motors"])
@pytest.mark.parametrize("randomization", ["none", "nominal", "strong"])
def test_everything_shipped_can_be_composed_and_steps(task: str, action: str, randomization: str) -> None:
    import torch

    run = compose(f"task={task}", f"robot.action={action}", f"randomization={randomization}")
    env = build(run, "train", 3, episodes=8)
    observation = env.reset()
    for _ in range(3):
        observation = env.step(torch.zeros(3, 4)).observation
    assert all(torch.isfinite(group).all() for group in observation.values())
    assert observation["policy"].shape == (3, env.observation_sizes["policy"])
    env.onboard.refuse_to_export()
    assert bool(env.bank.columns.get("model.mass") is None) == (randomization == "none")
