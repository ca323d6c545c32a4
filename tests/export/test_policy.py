"""The way from a trained model to a bundle: what flies is what trained, and the contract says what that is."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from robo_ppo.config import RunConfig
from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment
from robo_ppo.errors import UserError
from robo_ppo.export.bundle import write_bundle
from robo_ppo.export.policy import OnboardPolicy, export_policy, measured_sequence, ports
from robo_ppo.export.verify import compare_with_torch
from robo_ppo.export.weights import start_from_bundle, weights_of
from robo_ppo.learn.actor_critic import ActorCritic
from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose
from robo_ppo.run.evaluate import OnnxPilot
from robo_ppo.run.train import make_model
from robo_ppo_onboard.bundle import Bundle, read_bundle
from robo_ppo_onboard.contract import Training, contract_to_json
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.verify import verify
from tests.export.traces import texts_of, traces_in

ENVS = 20

# What no shipped task observes: values of the step before.
MEMORY = ("previous_goal_distance", "previous_velocity_heading", "previous_last_action", "previous_gyro")


def observing(config: RunConfig, *signals: str) -> RunConfig:
    config.task.observation.policy |= {name: {} for name in signals}
    return config


def trained(config: RunConfig, environment: Environment) -> ActorCritic:
    """A model that does something: random weights in its last layer, and a normaliser that has seen flights."""
    model = make_model(config, environment.observation_sizes, environment.action_size)
    generator = torch.Generator().manual_seed(1)
    last = model.actor[-1]
    assert isinstance(last, torch.nn.Linear)
    with torch.no_grad():
        last.weight.normal_(0.0, 0.05, generator=generator)
        model.log_std.add_(torch.randn(environment.action_size, generator=generator))
    normalizer = model.normalizer("policy")
    observation = environment.reset()
    for _ in range(1000 // environment.num_envs):
        action = torch.randn(environment.num_envs, environment.action_size, generator=generator)
        observation = environment.step(0.3 * action).observation
        seen = normalizer(observation["policy"])
        normalizer.update(seen, torch.ones(len(seen)))
    return model.eval()


def remembering(kind: str) -> RunConfig:
    """uav_nav with a policy that remembers."""
    with_memory = {
        "history": ("task.observation.history=8",),
        "gru": ("policy=gru",),
        "gru and history": ("policy=gru", "task.observation.history=3"),
    }
    return compose("task=uav_nav", *with_memory[kind])


def export(config: RunConfig, path: Path) -> tuple[Environment, ActorCritic, Bundle]:
    environment = build(config, "validation", ENVS, episodes=ENVS)
    model = trained(config, environment)
    generator = torch.Generator().manual_seed(0)
    actions = [0.3 * torch.randn(ENVS, environment.action_size, generator=generator) for _ in range(39)]
    samples = measured_sequence(environment, actions)
    training = Training(commit="abc", seed=config.seed, steps=7, config=folders.portable(config))
    bundle = export_policy(path, config.task.name, environment.interface, model, samples, folders.versions(), training)
    return environment, model, bundle


Exported = tuple[RunConfig, Environment, ActorCritic, Bundle, Path]


@pytest.fixture(scope="module")
def nav(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """uav_nav as shipped, exported from somebody's private folder."""
    folder = tmp_path_factory.mktemp("somebodys_secret")
    config = compose("task=uav_nav", f"runs={folder}", f"init={folder}/old.onnx", "policy.hidden=[64, 64]")
    config.task.action_delay = [0.0, 0.01]
    return config, *export(config, folder / "policy.onnx"), folder / "policy.onnx"


@pytest.mark.parametrize(
    ("make", "tolerance"),
    [
        (lambda: observing(compose("task=uav_hover", "robot.action=motors"), *MEMORY), 1e-5),
        (
            lambda: observing(compose("task=uav_nav", "randomization=none"), "previous_position", "previous_ranges"),
            1e-5,
        ),
        # Distances that differ in their last bit, differenced twice and then normalised, differ in more than that.
        (
            lambda: observing(
                compose("task=uav_hover", "task.entry_point=tests.export.remembering:Remembering"),
                *("gained_more", "previous_gained_more", "previous_gained"),
            ),
            2e-5,
        ),
    ],
    ids=["hover with memory", "nav that remembers what it measured", "memory of memory"],
)
def test_the_exported_file_flies_as_the_trainer_does(
    make: Callable[[], RunConfig], tolerance: float, tmp_path: Path
) -> None:
    """Hundreds of steps over several episodes, each began by the trainer; the file gets measurements alone.

    The tolerance is in the commands' own units, N and rad/s.
    """
    config = make()
    _, model, bundle = export(config, tmp_path / "policy.onnx")
    assert flown_apart(config, model, bundle) <= tolerance


def test_the_exported_file_flies_as_the_trainer_does_whatever_it_remembers(each_kind: Exported) -> None:
    config, _, model, bundle, _ = each_kind
    assert flown_apart(config, model, bundle) <= 1e-5


def flown_apart(config: RunConfig, model: ActorCritic, bundle: Bundle) -> float:
    """The largest difference of a command between trainer and file, over episodes of two seconds."""
    short = dataclasses.replace(config, task=dataclasses.replace(config.task, episode_seconds=2.0))
    environment = build(short, "validation", 8, episodes=500)
    interface, policy = environment.task.robot.action, Policy(bundle)
    observation = environment.reset()
    state, hidden = policy.initial_state(8), model.initial_state(8)
    worst, ends = 0.0, 0
    with torch.no_grad():
        for _ in range(300):
            acts, hidden = model.policy(model.normalizers["policy"](observation["policy"]), hidden)
            expected = interface.command(acts.mean).numpy()
            measured = {name: values.numpy() for name, values in environment.measured.items()}
            commands, state = policy(measured, state)
            worst = max(worst, float(np.abs(np.stack(list(commands.values()), 1) - expected).max()))
            transition = environment.step(acts.mean)
            observation, ended = transition.observation, (transition.terminated | transition.truncated).numpy()
            state = np.where(ended[:, None], policy.initial_state(8), state)
            hidden = torch.where(torch.from_numpy(ended).unsqueeze(1), 0.0, hidden)
            ends += int(ended.sum())
    assert ends > 16
    return worst


_KINDS = ("feed-forward", "gru and history")
_ALONE = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("history", "gru")]


@pytest.fixture(scope="module", params=[*_KINDS, *_ALONE])
def each_kind(request: pytest.FixtureRequest, nav: Exported, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    if request.param == "feed-forward":
        return nav
    path = tmp_path_factory.mktemp("kinds") / "policy.onnx"
    config = observing(remembering(request.param), "previous_velocity_heading")
    return config, *export(config, path), path


def test_five_hundred_steps_in_a_row(each_kind: Exported) -> None:
    """Bundle and torch, each from its own state all the way, on what vehicles measure that a good policy flies."""
    _, environment, model, bundle, _ = each_kind
    pilot = OnnxPilot(environment, read_bundle(folders.shipped_policies()["uav_nav"]))
    module, policy = OnboardPolicy(environment.onboard, model, environment.interface.action).eval(), Policy(bundle)
    state = policy.initial_state(environment.num_envs)
    torchs = torch.from_numpy(state.copy())
    observation, worst = environment.reset(), 0.0
    assert observation["policy"].shape[1] == environment.onboard.size
    with torch.no_grad():
        for _ in range(500):
            measured = {name: values.clone() for name, values in environment.measured.items()}
            commands, state = policy({name: values.numpy() for name, values in measured.items()}, state)
            *expected, torchs = module(**measured, state_in=torchs)
            for command, of_torch in zip(commands.values(), expected, strict=True):
                worst = max(worst, float(np.abs(command - of_torch.numpy()).max()))
            error = np.abs(state - torchs.numpy()) / np.maximum(np.abs(state), 1.0)
            worst = max(worst, float(error.max()))
            observation = environment.step(pilot.act(observation), restart=False).observation
    assert worst <= 1e-5
    if model.memory is not None:
        *_, hidden = torchs.split(module.state_sizes, 1)
        assert hidden.shape[1] == 64 and hidden.abs().max() > 0.5


def test_ten_thousand_measurements(nav: Exported) -> None:
    _, environment, model, bundle, path = nav
    actions = [torch.zeros(ENVS, environment.action_size)] * 499
    samples = measured_sequence(environment, actions)
    assert all(len(values) == 10_000 for values in samples.values())
    module = OnboardPolicy(environment.onboard, model, environment.task.robot.action)
    assert compare_with_torch(Policy(bundle), module, samples, steps=2) <= 1e-5
    assert verify(path).passed


def test_the_contract_is_the_tasks(nav: Exported) -> None:
    config, environment, _, bundle, _ = nav
    contract = bundle.contract
    assert (contract.task, contract.robot, contract.control_period) == ("uav_nav", "crazyflie", 0.02)
    ports = {port.name: port for port in contract.inputs}
    assert set(ports) == {"position", "goal", "attitude", "velocity", "gyro", "ranges"}
    assert {name: (port.shape, port.unit, port.frame) for name, port in ports.items()} == {
        "position": ((3,), "m", "world"),
        "goal": ((3,), "m", "world"),
        "attitude": ((4,), "1", "body to world"),
        "velocity": ((3,), "m/s", "world"),
        "gyro": ((3,), "rad/s", "body"),
        "ranges": ((config.task.settings.get("sectors", 16),), "m", "heading"),
    }
    assert [name for name, port in ports.items() if port.quaternion_order] == ["attitude"]
    for name, errors in config.task.measurements.items():
        port = ports[name]
        assert (port.noise, port.bias, port.dropout) == (errors.noise, errors.bias, errors.dropout)
        assert port.delay == tuple(errors.delay)
    action = environment.task.robot.action
    assert [(port.name, port.unit, port.delay, port.lower, port.upper) for port in contract.outputs] == [
        (name, unit, (0.0, 0.01), (low,), (high,))
        for name, unit, low, high in zip(action.names, action.units, action.lower, action.upper, strict=True)
    ]
    robot = environment.task.robot
    assert [port.throttle for port in contract.outputs] == [action.throttle, None, None, None]
    assert action.throttle is not None
    # The robot's and the task's, but nothing that would need a measurement that the policy has not.
    assert contract.limits == {**robot.limits, **environment.task.limits()}
    assert contract.limits.keys() > robot.limits.keys()
    assert contract.fallback == robot.fallback
    ranges = ports.pop("ranges")
    assert ranges.lower == (-(ranges.noise or 0.0) * 8.0,) * ranges.size
    assert not [name for name, port in ports.items() if port.lower or port.upper]
    assert [(part.name, part.shape) for part in contract.state] == [("last_action", (4,))]
    assert len(contract.golden.inputs["position"]) == 32


def test_stronger_randomization_shows_in_the_contract() -> None:
    inputs, _ = ports(build(compose("task=uav_hover", "randomization=strong"), "train", 1, episodes=1).interface)
    velocity = next(port for port in inputs if port.name == "velocity")
    assert (velocity.noise, velocity.delay) == (0.1, (0.0, 0.04))


def test_nothing_of_this_machine_is_in_the_file(
    nav: Exported,
) -> None:
    *_, path = nav
    model = onnx.load(path)
    config = json.loads(model.metadata_props[0].value)["training"]["config"]
    assert config.count("resume: null") == config.count("init: null") == config.count("runs: runs") == 1
    assert not traces_in(model)
    assert not [text for text in texts_of(model) if "secret" in text]


def test_what_only_the_simulator_knows_does_not_fly(tmp_path: Path) -> None:
    config = observing(compose("task=uav_nav"), "clearance")
    with pytest.raises(
        UserError, match=r"'clearance'.*on board: clearance → .* → columns is known to the simulator"
    ) as e:
        export(config, tmp_path / "policy.onnx")
    assert "critic" in str(e.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UserError, match=r"'previous_wind'.*wind"):
        export(observing(compose("task=uav_hover"), "previous_wind"), tmp_path / "policy.onnx")


def test_a_wrong_export_leaves_the_earlier_file(nav: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, environment, model, bundle, _ = nav
    path = tmp_path / "policy.onnx"
    path.write_bytes(bundle.model)
    samples = measured_sequence(environment, [torch.zeros(ENVS, 4)])
    training = Training(commit="", seed=0, steps=0, config="")
    monkeypatch.setattr("robo_ppo.export.policy.to_onnx", lambda *_: onnx.load_from_string(bundle.model))
    faults = {"compare_with_torch": (1e-3, "differs from the trained one by 1.00e-03"), "same_policy": (False, "back")}
    for function, (answer, message) in faults.items():
        with monkeypatch.context() as patch:
            patch.setattr(f"robo_ppo.export.policy.{function}", lambda *_, answer=answer: answer)
            with pytest.raises((UserError, RuntimeError), match=message):
                export_policy(path, "x", environment.interface, model, samples, {}, training)
        assert path.read_bytes() == bundle.model
        assert [file.name for file in tmp_path.iterdir()] == ["policy.onnx"]


def test_training_can_start_from_a_bundle(each_kind: Exported) -> None:
    """Bit for bit, but for the critic, which starts afresh."""
    config, environment, model, bundle, path = each_kind
    fresh = make_model(config, environment.observation_sizes, environment.action_size)
    critic = {name: tensor.clone() for name, tensor in fresh.state_dict().items() if "critic" in name}
    start_from_bundle(fresh, path)
    original, started = model.state_dict(), fresh.state_dict()
    for name, tensor in started.items():
        expected = critic[name] if name in critic else original[name]
        if name == "log_std":
            expected = expected.clamp(*fresh.log_std_bounds)
        assert tensor.dtype == expected.dtype and torch.equal(tensor, expected), name
    assert started["normalizers.policy.count"] == 1000
    assert set(weights_of(bundle)) == {name for name in original if "critic" not in name}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.hidden=[32, 32]", r"actor\.0\.weight has the shape \(64, \d+\) there and \(32, \d+\) here"),
        ("policy.hidden=[64, 64, 64]", r"actor\.4\.weight has the shape \(4, 64\) there and \(64, 64\) here"),
        ("task=uav_hover", r"has the shape .* there and .* here"),
        ("policy.hidden=[64]", r"actor\.2\.weight has the shape"),
        ("policy=gru", r"it has no memory\.input\.weight"),
        ("task.observation.history=2", r"normalizers\.policy\.mean has the shape \(44,\) there and \(88,\) here"),
    ],
)
def test_a_bundle_that_does_not_fit_is_refused(nav: Exported, override: str, message: str) -> None:
    *_, path = nav
    config = compose(override)
    environment = build(config, "train", 1, episodes=1)
    model = make_model(config, environment.observation_sizes, environment.action_size)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UserError, match=message):
        start_from_bundle(model, path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_bundle_without_the_learners_part_is_refused(nav: Exported, tmp_path: Path) -> None:
    _, _, model, bundle, _ = nav
    bare = dataclasses.replace(bundle.contract.training, learner={})
    contract = dataclasses.replace(bundle.contract, training=bare)
    write_bundle(tmp_path / "bare.onnx", onnx.load_from_string(bundle.model), contract)
    assert '"learner": {}' in contract_to_json(contract)
    with pytest.raises(UserError, match="without what training needs"):
        start_from_bundle(model, tmp_path / "bare.onnx")
