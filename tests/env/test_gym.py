"""Gymnasium both ways: its environments against themselves, our tasks against its own checkers."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from robo_ppo.env.build import build, make_environment
from robo_ppo.env.gym import GymEnvironment, GymSettings, TaskEnv, TaskVectorEnv, check_spaces
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose

HOVER = compose("task=uav_hover", "task.episode_seconds=0.5", "randomization=none")
PENDULUM = compose("task=gymnasium", "env_id=Pendulum-v1")
LIMIT = 7  # steps


class Counter(gymnasium.Env[Any, Any]):
    """Observes (age, start, last action); ends where the action says so, which its time limit may do first."""

    metadata: dict[str, Any] = {"render_modes": [], "render_fps": 10}  # noqa: RUF012
    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 1.0], np.float32))

    def __init__(self, **options: Any) -> None:
        self.render_mode = options.get("render_mode")
        self.age, self.start = 0, 0.0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, Any]:
        super().reset(seed=seed)
        self.age, self.start = 0, float(self.np_random.uniform(1.0, 2.0))
        return np.array([0.0, self.start, 0.0]), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Any]:
        self.age += 1
        return np.array([self.age, self.start, action[0]]), float(action[0]), bool(action[1] > 0.9), False, {}


gymnasium.register("Counter-v0", Counter, max_episode_steps=LIMIT)
gymnasium.register("Endless-v0", Counter)
gymnasium.register(
    "Timeless-v0", type("Timeless", (Counter,), {"metadata": {"render_modes": []}}), max_episode_steps=LIMIT
)


def counter(num_envs: int, mode: AutoresetMode = AutoresetMode.SAME_STEP) -> GymEnvironment:
    vector = SyncVectorEnv([lambda: gymnasium.make("Counter-v0")] * num_envs, autoreset_mode=mode)
    return GymEnvironment(vector, "Counter-v0", control_period=0.1, max_episode_steps=LIMIT)


def test_a_step_is_what_the_environments_did_by_themselves() -> None:
    """Against the same environments stepped one by one, with the same seeds."""
    environment = make_environment(PENDULUM, "train", 3)
    assert isinstance(environment, GymEnvironment)
    seeds: list[int] = []
    reset = environment._vector.reset
    environment._vector.reset = lambda *, seed, options=None: (seeds.extend(seed), reset(seed=seed))[1]  # type: ignore
    observation = environment.reset(first_id=5)
    alone = [gymnasium.make("Pendulum-v1") for _ in range(3)]
    first = np.stack([env.reset(seed=seed)[0] for env, seed in zip(alone, seeds, strict=True)])
    np.testing.assert_array_equal(observation["policy"], first)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        action = torch.rand(3, 1, generator=generator) * 3.0 - 1.5
        transition = environment.step(action)
        command = 2.0 * action.clamp(-1.0, 1.0).numpy()
        steps = [env.step(c) for env, c in zip(alone, command, strict=True)]
        np.testing.assert_array_equal(transition.observation["policy"], np.stack([step[0] for step in steps]))
        np.testing.assert_allclose(transition.reward, [float(step[1]) for step in steps], rtol=1e-6)
    assert environment.episode_ids().tolist() == [5, 6, 7]
    assert environment.interface.control_period == 0.05


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_time_limits_are_seen_with_the_last_observation(mode: AutoresetMode) -> None:
    environment = counter(2, mode)
    environment.reset()
    ages: list[float] = []
    for step in range(1, 2 * LIMIT + 1):
        transition = environment.step(torch.tensor([[0.5, -1.0], [0.5, -1.0]]))
        assert transition.final_observation["critic"][0, 0] == (
            0.0 if not transition.valid[0] else ages[-1] + 1 if ages and ages[-1] < LIMIT else 1.0
        )
        ages.append(float(transition.final_observation["critic"][0, 0]))
        assert transition.reward.tolist() == [1.0 * float(transition.valid[0])] * 2
        assert not bool(transition.terminated.any())
        if step == LIMIT:
            assert transition.truncated.tolist() == [True, True]
            began = transition.observation["critic"][0, 0]
            assert began == (0.0 if mode == AutoresetMode.SAME_STEP else LIMIT)
    totals = environment.take_totals()
    whole = 2 * LIMIT if mode == AutoresetMode.SAME_STEP else LIMIT
    assert float(totals.episodes) == 2 * (whole // LIMIT)
    assert float(totals.returns) == float(totals.terms) == float(totals.steps) == 2.0 * whole
    assert float(totals.outcomes["timeout"]) == float(totals.episodes)


def test_an_end_is_no_time_limit_and_actions_have_the_environments_own_bounds() -> None:
    environment = counter(2)
    environment.reset()
    transition = environment.step(torch.tensor([[-3.0, 1.0], [0.25, 0.0]]))
    assert transition.terminated.tolist() == [True, False]
    assert transition.reward.tolist() == [-2.0, 0.5]
    assert transition.final_observation["policy"][:, 2].tolist() == [-2.0, 0.5]
    assert transition.observation["policy"][0].tolist()[::2] == [0.0, 0.0]
    assert environment.outcomes(transition)["terminated"].tolist() == [True, False]
    assert float(environment.take_totals().outcomes["terminated"]) == 1.0


@pytest.mark.parametrize(("action", "what"), [([float("nan"), 0.0], "reward"), ([0.0, 0.0], "observation")])
def test_what_is_not_finite_is_refused(action: list[float], what: str) -> None:
    class Broken(Counter):
        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Any]:
            observation, reward, terminated, truncated, infos = super().step(action)
            if what == "observation" and self.age == 2:
                observation[1] = np.inf
            return observation, reward, terminated, truncated, infos

    vector = SyncVectorEnv([Broken] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    environment = GymEnvironment(vector, "Broken-v0", control_period=0.1, max_episode_steps=LIMIT)
    environment.reset()
    environment.step(torch.zeros(2, 2))
    with pytest.raises(UserError, match=rf"Broken-v0: the {what} in step 2 of an episode is not finite: "):
        environment.step(torch.tensor([[0.0, 0.0], action]))


def test_closing_closes_what_was_wrapped() -> None:
    environment = counter(2)
    environment.close()
    assert environment._vector.closed


def test_seeds_are_those_of_split_seed_and_episode() -> None:
    def starts(split: Any, seed: int, first: int, **ranks: Any) -> list[float]:
        environment = GymEnvironment.make(GymSettings("Counter-v0"), split, seed, 4, **ranks)
        return environment.reset(first)["policy"][:, 1].tolist()

    validation = starts("validation", 0, 0)
    assert validation == starts("validation", 3, 0)
    assert validation[2:] == starts("validation", 0, 2)[:2]
    assert validation[::2] == starts("validation", 0, 0, rank=0, ranks=2)[:2]
    assert validation[1::2] == starts("validation", 0, 0, rank=1, ranks=2)[:2]
    training = starts("train", 0, 0)
    assert len({*validation, *training, *starts("train", 1, 0), *starts("test", 0, 0)}) == 16


def test_a_resumed_run_begins_episodes_that_were_not_run_before() -> None:
    environment = counter(4)
    first = environment.reset()["policy"][:, 1].tolist()
    again = environment.restore(environment.snapshot())["policy"][:, 1].tolist()
    more = environment.restore(environment.snapshot())["policy"][:, 1].tolist()
    assert len({*first, *again, *more}) == 12


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["env_id=CartPole-v1"], r"CartPole-v1 has the actions Discrete\(2\); a Gaussian policy needs a Box"),
        (["env_id=HalfCheetah-v9"], "env_id=HalfCheetah-v9: .*HalfCheetah"),
        (["env_id=nowhere:Thing-v0"], "env_id=nowhere:Thing-v0: .*nowhere"),
        (["env_id=Endless-v0"], r"Endless-v0 has no time limit; give it one with \+task.settings.max_episode_steps"),
        (["env_id=Timeless-v0"], r"does not say how long a step takes; do so with \+task.settings.control_period"),
        (["env_id=Pendulum-v1", "+task.settings.kwargs.gravvity=1"], "env_id=Pendulum-v1: .*gravvity"),
        (["env_id=Pendulum-v1", "+task.settings.horizon=1"], "task.settings has no 'horizon'"),
        (["env_id=Pendulum-v1", "robot=crazyflie"], "robot is for tasks of signals; Pendulum-v1 brings its own"),
        (["env_id=Pendulum-v1", "debug=true"], "debug is for tasks of signals"),
        (["env_id=Pendulum-v1", "task.episode_seconds=3"], "task.episode_seconds is for tasks of signals"),
        (["env_id=Pendulum-v1", "task.decimation=3"], "task.decimation is for tasks of signals"),
        (["env_id=Pendulum-v1", "task.curriculum.start=0.5"], "task.curriculum is for tasks of signals"),
        (["env_id=Pendulum-v1", "randomization.measurement_errors=2"], "randomization.measurement_errors is for tasks"),
        (["env_id=Pendulum-v1", "task.settings.kwargs=3"], "task.settings.kwargs must be a map, not 3"),
        (["env_id=Pendulum-v1", "task.settings.env_id=3"], "task.settings.env_id must be a text, not 3"),
        (["env_id=Pendulum-v1", "randomization=nominal"], "randomization.parameters is for tasks of signals"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_environment(compose("task=gymnasium", *overrides), "train", 1)


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (spaces.Box(0, 255, (64, 64, 3), np.uint8), spaces.Box(-1.0, 1.0, (2,)), "observes pictures or grids"),
        (spaces.Discrete(5), spaces.Box(-1.0, 1.0, (2,)), r"has the observations Discrete\(5\)"),
        (spaces.Box(-1.0, 1.0, (3,)), spaces.Box(-np.inf, np.inf, (2,)), "has actions without bounds"),
        (spaces.Box(-1.0, 1.0, (3,)), spaces.MultiDiscrete([2, 3]), "needs a Box of continuous actions"),
        (
            spaces.Dict({"a": spaces.Dict({"eye": spaces.Box(0.0, 1.0, (8, 8))})}),
            spaces.Box(-1.0, 1.0, (2,)),
            "observes pictures or grids",
        ),
    ],
)
def test_spaces_that_do_not_fit_are_refused(observation: Any, action: Any, message: str) -> None:
    odd = type("Odd", (Counter,), {"observation_space": observation, "action_space": action})
    gymnasium.register("Odd-v0", odd, max_episode_steps=LIMIT)
    try:
        with pytest.raises(UserError, match=message):
            GymEnvironment.make(GymSettings("Odd-v0"), "train", 0, 1)
    finally:
        del gymnasium.registry["Odd-v0"]


def test_an_action_that_cannot_change_is_refused() -> None:
    """Its place in the range of the others could not be told."""
    stuck = spaces.Box(np.array([0.0, 1.0], np.float32), np.array([1.0, 1.0], np.float32))
    with pytest.raises(UserError, match="Odd has actions that cannot change"):
        check_spaces("Odd", spaces.Box(-1.0, 1.0, (3,)), stuck)


def test_observations_in_several_parts_become_one_vector() -> None:
    parts = spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,)), "b": spaces.Box(-1.0, 1.0, (1,))})

    class InParts(Counter):
        observation_space = parts

        def reset(self, **options: Any) -> Any:
            return {"a": np.array([0.1, 0.2], np.float32), "b": np.array([0.3], np.float32)}, {}

    gymnasium.register("InParts-v0", InParts, max_episode_steps=LIMIT)
    try:
        environment = GymEnvironment.make(GymSettings("InParts-v0"), "train", 0, 2)
        np.testing.assert_allclose(environment.reset()["policy"], [[0.1, 0.2, 0.3]] * 2)
    finally:
        del gymnasium.registry["InParts-v0"]


@pytest.mark.filterwarnings("ignore:.*A Box observation space (minimum|maximum) value is.*infinity")
@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes")
def test_a_task_of_ours_passes_gymnasiums_own_checks() -> None:
    check_env(TaskEnv(build(HOVER, "train", 1)), skip_render_check=True)


def test_many_of_ours_are_what_gymnasium_makes_of_single_ones() -> None:
    """The same episodes: Gymnasium's own vector environment of `TaskEnv`s, against `TaskVectorEnv`."""
    ours = TaskVectorEnv(build(HOVER, "validation", 3))
    assert ours.action_space == SyncVectorEnv([lambda: TaskEnv(build(HOVER, "validation", 1))] * 3).action_space
    observation, _ = ours.reset(seed=0)
    singles = [TaskEnv(build(HOVER, "validation", 1)) for _ in range(3)]
    for number, single in enumerate(singles):
        single._next_id = number
    first = np.stack([single.reset()[0] for single in singles])
    # Sensors draw their noise from one generator for all environments: what they do not disturb is the same.
    quiet = slice(13, 17)  # last_action
    assert observation.shape == first.shape and observation.dtype == first.dtype == np.float32
    rng = np.random.default_rng(0)
    ended = np.zeros(3, bool)
    for _ in range(40):
        actions = rng.uniform(-1.0, 1.0, (3, 4)).astype(np.float32)
        observation, reward, terminated, truncated, infos = ours.step(actions)
        ended = terminated | truncated
        theirs = [single.step(action) for single, action in zip(singles, actions, strict=True)]
        np.testing.assert_allclose(reward, [step[1] for step in theirs], atol=1e-5)
        assert terminated.tolist() == [step[2] for step in theirs]
        assert truncated.tolist() == [step[3] for step in theirs]
        last = infos["final_obs"] if ended.any() else observation
        np.testing.assert_allclose(last[:, quiet], np.stack([step[0] for step in theirs])[:, quiet], atol=1e-6)
        if ended.any():
            assert infos["_final_obs"].tolist() == ended.tolist()
            assert np.abs(observation[ended] - infos["final_obs"][ended]).max() > 0.01
            break
    assert ended.any()


def test_whoever_resets_gets_whole_episodes() -> None:
    """Also of the training split, whose environments begin at random ages for our own learner."""
    limit = 25
    single, many = TaskEnv(build(HOVER, "train", 1)), TaskVectorEnv(build(HOVER, "train", 4))
    single.reset(seed=2**40)
    many.reset(seed=1)
    for step in range(1, limit + 1):
        *_, terminated, truncated, _ = single.step(np.zeros(4, np.float32))
        *_, cut, _ = many.step(np.zeros((4, 4), np.float32))
        assert truncated == (step == limit and not terminated)
        assert not cut.any() or step == limit
        if terminated:
            break


def test_a_seed_repeats_episodes_and_another_one_has_others() -> None:
    environments = TaskVectorEnv(build(HOVER, "train", 4))
    first, again = environments.reset(seed=3)[0], environments.reset(seed=3)[0]
    np.testing.assert_array_equal(first, again)
    later = environments.reset()[0]
    other = environments.reset(seed=4)[0]
    assert all(np.abs(first - values)[:, 0].min() > 0 for values in (later, other))
