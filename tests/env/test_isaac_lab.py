"""Isaac Lab's environments for our learner, on a double that keeps Isaac Lab's rules (`isaac_lab_double`)."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from robo_ppo.env.build import affordable, make_environment
from robo_ppo.env.isaac_lab import IsaacLabEnvironment, IsaacLabSettings
from robo_ppo.env.isaac_lab_launch import Simulation
from robo_ppo.env.scenes import Split
from robo_ppo.errors import UserError
from robo_ppo.export.policy import ports
from robo_ppo.run.compose import compose
from tests.env.isaac_lab_double import FORCE, RAIL, STEPS, CartCfg, CartEnv

aten = torch.ops.aten
DOUBLE = "tests.env.isaac_lab_double:"
HERE = f"+task.settings.launcher={DOUBLE}DoubleLauncher"


@pytest.fixture(autouse=True)
def one_simulation_per_test() -> Iterator[None]:
    yield
    if Simulation._living is not None:
        Simulation._living._close()


def make(num_envs: int, split: Split = "train", name: str = "Cart-v0", **settings: Any) -> IsaacLabEnvironment:
    given = IsaacLabSettings(DOUBLE + name, 4, launcher=f"{DOUBLE}DoubleLauncher", **settings)
    return IsaacLabEnvironment.make(given, split, 0, num_envs)


def cart(environment: IsaacLabEnvironment) -> CartEnv:
    unwrapped: Any = environment._simulation.unwrapped
    return unwrapped


def push(environment: IsaacLabEnvironment, value: float) -> torch.Tensor:
    return torch.full((environment.num_envs, 1), value)


def test_a_step_is_what_the_simulation_did() -> None:
    """Against the double alone, with the same seed and the same actions."""
    environment = make(4, "test")
    seeds: list[int] = []
    simulated = environment._simulation.environment
    reset = simulated.reset
    simulated.reset = lambda *, seed=None: (seeds.append(seed), reset(seed=seed))[1]  # type: ignore
    first = environment.reset()["policy"]
    pushes = [torch.rand(4, 1, generator=torch.Generator().manual_seed(n)) * 3.0 - 1.5 for n in range(STEPS - 1)]
    steps = [environment.step(action) for action in pushes]
    environment.close()
    Simulation._living._close()  # type: ignore  # no second one would start
    cfg = CartCfg()
    cfg.scene.num_envs, cfg.seed = 4, 0
    alone = CartEnv(cfg)
    assert torch.equal(first, alone.reset(seed=seeds[0])[0]["policy"])
    for action, transition in zip(pushes, steps, strict=True):
        found, reward, *_ = alone.step(5.0 * action.clamp(-1.0, 1.0))
        torch.testing.assert_close(transition.observation["policy"], found["policy"])
        torch.testing.assert_close(transition.reward, reward)
        assert bool(transition.valid.all())
    alone.close()


@pytest.mark.parametrize("name", ["Cart-v0", "OldCart-v0"])
def test_a_time_limit_is_seen_with_the_last_observation(name: str) -> None:
    """Isaac Lab 3 tells it; of Isaac Lab 2, the one before stands for it."""
    environment = make(3, "validation", name)
    observation = environment.reset()
    for _ in range(STEPS - 1):
        transition = environment.step(push(environment, 0.1))
        observation = transition.observation
        assert not transition.truncated.any()
        assert torch.equal(transition.final_observation["critic"], observation["critic"])
    before, transition = observation, environment.step(push(environment, 0.1))
    assert transition.truncated.all()
    position, velocity = before["critic"][:, 0], before["critic"][:, 1]
    final = transition.final_observation["critic"]
    if name == "OldCart-v0":
        assert torch.equal(final, before["critic"])
    else:
        assert bool((final[:, 0] > position).all()) and bool((final[:, 1] > velocity).all())
    assert transition.observation["critic"][:, 1].tolist() == [0.0] * 3  # a new episode, at rest
    assert environment.outcomes(transition)["timeout"].tolist() == [True] * 3


class NoWaiting(TorchDispatchMode):
    """Refuses what an accelerator would have to be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func.overloadpacket not in (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten._to_copy)
        return func(*args, **(kwargs or {}))


def test_nothing_in_a_step_waits_for_the_device() -> None:
    environment = make(3)
    environment.reset()
    cart(environment).episode_length_buf.fill_(STEPS - 1)
    action = push(environment, 0.5)
    done = environment._simulation.environment.step(torch.full((4, 1), 0.5))
    environment._simulation.environment.step = lambda _action: done  # type: ignore  # what Isaac Lab does is its own
    with NoWaiting():
        transition = environment.step(action)
    assert transition.truncated.all() and float(environment.take_totals().episodes) == 3.0


def test_what_the_simulation_writes_into_again_stays_as_it_was() -> None:
    environment = make(4, "validation")
    environment.reset()
    first = environment.step(push(environment, 0.5))
    kept = first.reward.clone()
    environment.step(push(environment, -1.0))
    assert torch.equal(first.reward, kept)


def test_an_end_is_no_time_limit_and_a_stale_last_observation_is_not_used() -> None:
    environment = make(4, "validation")
    environment.reset()
    body = cart(environment)
    body.position[1] = RAIL
    body.velocity[1] = 1.0
    transition = environment.step(push(environment, 0.0))
    assert transition.terminated.tolist() == [False, True, False, False]
    assert float(transition.final_observation["policy"][1, 0]) > RAIL
    assert abs(float(transition.observation["policy"][1, 0])) <= 1.0
    assert environment.outcomes(transition)["terminated"].tolist() == [False, True, False, False]
    following = environment.step(push(environment, 0.0))  # extras still hold the observation of the step before
    assert torch.equal(following.final_observation["policy"], following.observation["policy"])
    totals = environment.take_totals()
    assert (float(totals.episodes), float(totals.steps), float(totals.outcomes["terminated"])) == (1.0, 1.0, 1.0)
    assert float(totals.returns) == pytest.approx(float(transition.reward[1]))
    assert environment.unfinished_terms().item() == pytest.approx(
        float(transition.reward.sum() + following.reward.sum() - transition.reward[1])
    )


def test_a_finite_horizon_has_nothing_after_its_time_limit() -> None:
    environment = make(2, "validation", cfg={"is_finite_horizon": True})
    environment.reset()
    transition = [environment.step(push(environment, 0.0)) for _ in range(STEPS)][-1]
    assert transition.terminated.all() and not transition.truncated.any()
    assert environment.outcomes(transition)["timeout"].all()
    assert not environment.outcomes(transition)["terminated"].any()


def test_training_and_validation_have_one_simulation_in_turn() -> None:
    made = CartEnv.made
    training, validation = make(4), make(2, "validation")
    assert CartEnv.made == made + 1, "a second one would have been refused"
    training.reset()
    training.step(push(training, 0.0))
    started = validation.reset()["policy"].clone()
    assert started.shape == (2, 4)
    validation.step(push(validation, 0.0), restart=False)
    transition = training.step(push(training, 1.0))
    assert not transition.valid.any() and not (transition.terminated | transition.truncated).any()
    assert transition.reward.tolist() == [0.0] * 4
    assert transition.observation["policy"][:, 1].tolist() == [0.0] * 4, "new episodes, which the action has not moved"
    assert training.step(push(training, 1.0)).valid.all()
    assert float(training.take_totals().episodes) == 0.0, "what was cut short does not count"
    assert torch.equal(validation.reset()["policy"], started), "the episodes of validation are always the same"
    validation.close()
    training.close()
    assert CartEnv.living, "kept for whoever comes next"
    assert make(3, "test").num_envs == 3 and CartEnv.made == made + 1


def test_rows_that_are_not_ours_do_nothing() -> None:
    environment = make(2, "validation")
    environment.reset()
    environment.step(push(environment, 1.0))
    assert cart(environment).last_action.squeeze(1).tolist() == [5.0, 5.0, 0.0, 0.0]


def test_what_does_not_fit_beside_the_living_simulation_is_refused() -> None:
    training = make(4)
    with pytest.raises(UserError, match=r"one simulation per process, and this one has 4 .* at most num_envs"):
        make(5, "validation")
    training.close()
    made = CartEnv.made
    assert make(5, "validation").num_envs == 5 and CartEnv.made == made + 1


def test_training_begins_at_random_ages_and_others_at_the_beginning() -> None:
    environment = make(64)
    environment.reset()
    ages = cart(environment).episode_length_buf
    assert len(ages.unique()) > 10 and int(ages.max()) < STEPS
    make(64, "validation").reset()
    assert not ages.any()


def test_seeds_tell_splits_runs_and_episodes_apart() -> None:
    first = make(4).reset()["policy"].clone()
    again = make(4).reset()["policy"].clone()
    later, test = make(4).reset(4)["policy"].clone(), make(4, "test").reset()["policy"].clone()
    environment = make(4)
    resumed = environment.restore(environment.snapshot())["policy"]
    assert torch.equal(first, again)
    for other in (later, test, resumed):
        assert not torch.isclose(first[:, 0], other[:, 0]).any()


def test_what_the_managers_report_is_logged_once() -> None:
    environment = make(4)
    environment.reset()
    cart(environment).episode_length_buf.copy_(torch.tensor([STEPS - 1, 0, 0, 0]))
    transition = environment.step(push(environment, 0.0))
    environment.step(push(environment, 0.0))
    log = environment.take_log()
    assert log["isaac_lab/Episode_Reward/near"] == pytest.approx(float(transition.reward[0]))
    assert log["isaac_lab/Episode_Termination/off_the_rail"] == 0.0
    assert environment.take_log() == {}


def test_a_reward_that_is_not_finite_is_refused_where_episodes_are_measured() -> None:
    environment = make(4, "validation")
    environment.reset()
    cart(environment).target[2] = torch.nan
    with pytest.raises(UserError, match="Cart-v0: a reward is not finite"):
        environment.step(push(environment, 0.0), restart=False)


def test_the_contract_names_the_terms_the_joints_and_what_they_get() -> None:
    interface = make(4).interface
    measured, commanded = ports(interface)
    assert [(p.name, p.shape, p.unit, p.frame, p.note) for p in measured] == [
        ("joint_pos", (1,), "rad", None, "joints: slider"),
        ("joint_vel", (1,), "rad/s", None, "joints: slider"),
        ("target", (1,), "1", None, None),
    ]
    assert [(p.name, p.unit, p.lower, p.upper) for p in commanded] == [
        ("joint_effort_slider", "N·m", (-5.0 * FORCE,), (5.0 * FORCE,))
    ]
    assert interface.control_period == pytest.approx(0.04)


def test_on_board_the_observation_is_the_environments_own() -> None:
    """Of the measurements and of what the controller itself remembers, its last action."""
    environment = make(4, "validation")
    environment.reset()
    action = torch.tensor([[0.3], [-2.0], [1.0], [0.0]])
    transition = environment.step(action)
    known = environment.measured | {"last_action": action.clamp(-1.0, 1.0)}
    observation, _ = environment.interface.onboard.observe(known)
    assert torch.equal(observation, transition.observation["policy"])
    assert set(environment.measured) == {"joint_pos", "joint_vel", "target"}


def test_what_states_no_terms_is_one_measurement() -> None:
    environment = make(4, "validation", "DirectCart-v0")
    observation = environment.reset()
    assert (
        environment.observation_sizes == {"policy": 4, "critic": 2} == {n: o.shape[1] for n, o in observation.items()}
    )
    assert environment.observed == ("observation",) * 2
    measured, commanded = ports(environment.interface)
    assert [(p.name, p.shape) for p in measured] == [("observation", (4,))]
    assert [(p.name, p.unit, p.lower, p.upper) for p in commanded] == [("action_0", "1", (-0.5,), (1.0,))]
    environment.step(push(environment, -1.0))
    assert cart(environment).last_action.tolist() == [[-0.5]] * 4


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [f"env_id={DOUBLE}Cart-v1", HERE],
            "Cart-v1: no such environment is registered; did you mean .*Cart-v0",
        ),
        (["env_id=nowhere:Thing-v0", HERE], "env_id=nowhere:Thing-v0: No module named 'nowhere'"),
        (["env_id=Pendulum-v1", HERE], "env_id=Pendulum-v1 is not an environment of Isaac Lab's"),
        ([f"env_id={DOUBLE}Cart-v0", "+task.settings.launcher=tests.env.isaac_lab_double:Nobody"], "no such class"),
        ([f"env_id={DOUBLE}Cart-v0", "+task.settings.launcher=tests.env.isaac_lab_double:CartEnv"], "not a Launcher"),
        ([f"env_id={DOUBLE}Cart-v0", HERE, "task.settings.action_limit=0"], "action_limit must be greater than 0"),
        ([f"env_id={DOUBLE}Cart-v0", HERE, "+task.settings.cfg.rayl=1"], "task.settings.cfg: '/rayl' is not a field"),
        (
            [f"env_id={DOUBLE}Cart-v0", HERE, "task.settings.policy_groups=[polisy]"],
            "Cart-v0: there is no observation group 'polisy'; did you mean policy",
        ),
    ],
)
def test_mistakes_are_told(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_environment(compose("task=isaac_lab", "device=cpu", "num_envs=4", *overrides), "train", 4)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="device=cuda:0, but torch finds no CUDA device here; device=cpu"):
        make(4, device="cuda:0")


def test_as_many_at_once_as_are_simulated() -> None:
    config = compose("task=isaac_lab", "env_id=Isaac-Cartpole", "num_envs=512")
    assert affordable(config, 1000) == 512 and affordable(config, 100) == 100
