"""What a policy of Isaac Lab's measures and commands, as its contract states it."""

from types import SimpleNamespace
from typing import Any

import gymnasium
import pytest
import torch

from robo_ppo.env.isaac_lab_terms import action_bounds, interface_of, observation_terms
from robo_ppo.errors import UserError


class Walker:
    """What the interface is read from, of a robot with more to tell; it does not move."""

    step_dt = 0.02

    def __init__(self, *, enable_corruption: bool = False, **terms: dict[str, Any]) -> None:
        shapes = {name: term["shape"] for name, term in terms.items()}
        policy: dict[str, Any] = {
            name: {"params": {}} | term | {"func": SimpleNamespace(__name__=term["func"])}
            for name, term in terms.items()
        }
        policy["enable_corruption"] = enable_corruption
        self.cfg = SimpleNamespace(observations={"policy": policy})
        self.observation_manager = SimpleNamespace(
            active_terms={"policy": list(terms)},
            group_obs_term_dim={"policy": list(shapes.values())},
            group_obs_concatenate={"policy": True},
        )
        self.scene = {"robot": SimpleNamespace(joint_names=["hip", "knee", "wheel"])}
        command = type("UniformVelocityCommand", (), {})()
        self.command_manager = SimpleNamespace(get_term=lambda name: command)
        size = sum(shape[0] for shape in shapes.values())
        box = gymnasium.spaces.Box
        self.single_observation_space = gymnasium.spaces.Dict({"policy": box(-1.0, 1.0, (size,))})
        self.single_action_space: Any = box(float("-inf"), float("inf"), (3,))


def terms_of(**terms: Any) -> dict[str, Any]:
    found = observation_terms(Walker(**terms), ["policy"])  # type: ignore
    return {term.name: term for term in found}


def test_units_and_frames_of_isaac_labs_own_functions() -> None:
    asset = SimpleNamespace(name="robot", joint_ids=[2, 0])
    found = terms_of(
        base_lin_vel={"func": "base_lin_vel", "shape": (3,)},
        turning={"func": "base_ang_vel", "shape": (3,), "scale": 0.25},
        velocity_commands={"func": "generated_commands", "shape": (3,), "params": {"command_name": "base_velocity"}},
        joints={"func": "joint_pos_rel", "shape": (2,), "params": {"asset_cfg": asset}},
        own={"func": "my_own", "shape": (1,)},
        previous_heights={"func": "height_scan", "shape": (4,)},
        noisy_actions={"func": "last_action", "shape": (3,), "scale": 2.0},
        last_action={"func": "last_action", "shape": (3,)},
    )
    assert {n: (t.quantity.unit, t.quantity.frame, t.note, t.is_last_action) for n, t in found.items()} == {
        "base_lin_vel": ("m/s", "body", "", False),
        "turning": ("rad/s × 0.25", "body", "", False),
        "velocity_commands": ("m/s, m/s, rad/s", "body", "", False),
        "joints": ("rad", "", "joints: wheel, hip", False),
        "own": ("1", "", "", False),
        "policy_previous_heights": ("m", "", "", False),
        "noisy_actions": ("1", "", "", False),
        "policy_last_action": ("1", "", "", True),
    }


def test_the_contract_states_the_noise_and_delay_of_training() -> None:
    def uniform(width: float, **more: Any) -> Any:
        return SimpleNamespace(operation="add", n_min=-width, n_max=width, **more)

    gaussian = SimpleNamespace(operation="add", std=0.2)
    terms: dict[str, Any] = {
        "a": {"func": "base_lin_vel", "shape": (3,), "noise": uniform(0.3)},
        "b": {"func": "base_ang_vel", "shape": (3,), "noise": gaussian, "scale": 0.5, "delay_max_lag": 2},
        "c": {"func": "x", "shape": (1,), "noise": SimpleNamespace(noise_cfg=gaussian, bias_noise_cfg=uniform(0.3))},
        "d": {"func": "x", "shape": (1,), "noise": SimpleNamespace(operation="scale", std=0.2)},
    }
    walker: Any = Walker(enable_corruption=True, **terms)
    found = [(t.errors.noise, t.errors.bias, t.errors.delay, t.note) for t in observation_terms(walker, ["policy"])]
    deviation = pytest.approx(0.3 / 3.0**0.5)
    assert found == [
        (deviation, 0.0, [0.0, 0.0], ""),
        (pytest.approx(0.1), 0.0, [0.0, 0.04], ""),
        (pytest.approx(0.2), deviation, [0.0, 0.0], ""),
        (0.0, 0.0, [0.0, 0.0], "trained with noise of its own kind (SimpleNamespace)"),
    ]
    assert [t.errors.noise for t in observation_terms(Walker(**terms), ["policy"])] == [0.0] * 4  # type: ignore


def test_a_position_command_is_what_the_joints_get_unless_their_map_cannot_be_read() -> None:
    def interface(term: Any) -> Any:
        walker: Any = Walker(own={"func": "my_own", "shape": (1,)})
        walker.action_manager = SimpleNamespace(active_terms=["legs"], action_term_dim=[3], get_term=lambda _name: term)
        return interface_of("W", walker, observation_terms(walker, ["policy"]), action_bounds(walker, 4.0)).action

    position: Any = type("JointPositionAction", (), {})()
    position.cfg, position._joint_names = SimpleNamespace(clip=None), ["hip", "knee", "wheel"]
    position._scale, position._offset = 0.5, torch.tensor([[0.1, -0.2, 0.0]] * 8)
    found = interface(position)
    assert found.names == ("legs_hip", "legs_knee", "legs_wheel") and found.units == ("rad",) * 3
    assert found.lower == pytest.approx((-1.9, -2.2, -2.0)) and found.upper == pytest.approx((2.1, 1.8, 2.0))
    for change in ({"_scale": -0.5}, {"_offset": torch.rand(8, 3)}, {"cfg": SimpleNamespace(clip={".*": (-1, 1)})}):
        before = {name: getattr(position, name) for name in change}
        vars(position).update(change)
        found = interface(position)
        assert (found.units, found.lower, found.upper) == (("1",) * 3, (-4.0,) * 3, (4.0,) * 3)
        vars(position).update(before)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("single_action_space", gymnasium.spaces.Discrete(3), r"its actions are Discrete\(3\)"),
        ("single_action_space", gymnasium.spaces.Box(0.0, 0.0, (2,)), "some cannot change"),
    ],
)
def test_actions_that_do_not_fit_are_refused(attribute: str, value: Any, message: str) -> None:
    walker: Any = Walker(own={"func": "my_own", "shape": (1,)})
    setattr(walker, attribute, value)
    with pytest.raises(UserError, match=message):
        action_bounds(walker, 5.0)


def test_pictures_are_refused() -> None:
    with pytest.raises(UserError, match=r"observation term 'eye' \(policy\) has the shape \(64, 64, 3\)"):
        terms_of(eye={"func": "image", "shape": (64, 64, 3)})
