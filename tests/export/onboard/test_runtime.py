"""The runner: one vehicle or many, and a clear word when the measurements are not the contract's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robo_ppo.export.bundle import write_bundle
from robo_ppo.export.onnx import to_onnx
from robo_ppo.export.verify import compare_with_torch, record_golden
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.contract import Contract, Fallback, Port, Training
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.verify import verify


@pytest.fixture
def policy(path: Path) -> Policy:
    return Policy(read_bundle(path))


def measurements(policy: Policy, rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(rows)
    return {port.name: random.normal(size=(rows, *port.shape)) for port in policy.contract.inputs}


def test_many_vehicles_fly_as_each_would_alone(policy: Policy) -> None:
    together = measurements(policy, 5)
    state = policy.initial_state(5)
    alone = [policy.initial_state() for _ in range(5)]
    for _ in range(4):
        commands, state = policy(together, state)
        for row in range(5):
            own, alone[row] = policy({name: values[row : row + 1] for name, values in together.items()}, alone[row])
            for name, command in own.items():
                np.testing.assert_allclose(command[0], commands[name][row], atol=1e-6)
            np.testing.assert_allclose(alone[row][0], state[row], atol=1e-6)


def test_the_initial_state_is_the_contracts(policy: Policy) -> None:
    expected = np.array([[0.1, -0.2, 0.3, 0.0, 0.0, 0.0, 1.0]], dtype=np.float32)
    np.testing.assert_array_equal(policy.initial_state(2), np.repeat(expected, 2, axis=0))
    assert policy.initial_state().dtype == np.float32


def test_commands_come_by_name_in_order(policy: Policy) -> None:
    commands, state = policy(measurements(policy, 2), policy.initial_state(2))
    assert [(name, values.shape, values.dtype) for name, values in commands.items()] == [
        ("thrust", (2, 1), np.float32),
        ("body_rates", (2, 3), np.float32),
    ]
    assert state.shape == (2, 7)


def test_threads_do_not_change_the_result(path: Path) -> None:
    one, two = Policy(read_bundle(path)), Policy(read_bundle(path), threads=2)
    commands, _ = one(measurements(one, 64), one.initial_state(64))
    again, _ = two(measurements(two, 64), two.initial_state(64))
    np.testing.assert_allclose(commands["thrust"], again["thrust"], atol=1e-6)


def test_wrong_measurements_are_named(policy: Policy) -> None:
    good, state = measurements(policy, 2), policy.initial_state(2)
    with pytest.raises(ValueError, match="needs the measurement 'goal'; given: position, attitude"):
        policy({name: good[name] for name in ("position", "attitude")}, state)
    with pytest.raises(ValueError, match="no measurement 'goals': did you mean goal"):
        policy({**good, "goals": good["goal"]}, state)
    with pytest.raises(ValueError, match=r"'attitude' has shape \(2, 3\); expected \(2, 4\)"):
        policy({**good, "attitude": good["attitude"][:, :3]}, state)
    with pytest.raises(ValueError, match=r"'position' has shape \(2, 3\); expected \(1, 3\)"):
        policy(good, policy.initial_state(1))
    with pytest.raises(ValueError, match=r"'state_in' has shape \(2, 5\); expected \(2, 7\)"):
        policy(good, state[:, :5])


class Gain(nn.Module):
    """A policy without state that takes one number."""

    def forward(self, height: Tensor) -> Tensor:
        return 2.0 * height[:, None]


def test_a_policy_may_have_no_state_and_a_scalar_input(tmp_path: Path) -> None:
    heights = {"height": np.linspace(0.0, 1.0, 6, dtype=np.float32)}
    contract = Contract(
        task="hold",
        robot="x500",
        control_period=0.02,
        inputs=(Port(name="height", shape=(), unit="m"),),
        outputs=(Port(name="thrust", shape=(1,), unit="N"),),
        state=(),
        limits={},
        fallback=Fallback("constant", {"thrust": 0.5}),
        versions={},
        training=Training(commit="", seed=0, steps=0, config=""),
        golden=record_golden(Gain(), heights, ["thrust"]),
    )
    model = to_onnx(Gain(), {"height": torch.zeros(1)}, ["thrust"])
    write_bundle(tmp_path / "gain.onnx", model, contract)
    policy = Policy(read_bundle(tmp_path / "gain.onnx"))
    commands, state = policy(heights, policy.initial_state(6))
    np.testing.assert_array_equal(commands["thrust"], 2.0 * heights["height"][:, None])
    assert state.shape == (6, 0)
    assert verify(tmp_path / "gain.onnx").max_error == 0.0
    assert compare_with_torch(policy, Gain(), heights) == 0.0
