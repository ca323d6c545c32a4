"""Golden sequences recorded from torch, and the comparison with torch: they see what they must."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robo_ppo.export.verify import compare_with_torch, record_golden
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.runtime import Policy


def test_ten_thousand_measurements_agree_with_torch(path: Path, module: nn.Module) -> None:
    policy = Policy(read_bundle(path), threads=2)
    random = np.random.default_rng(0)
    shapes = {port.name: port.shape for port in policy.contract.inputs}
    samples = {name: 3.0 * random.normal(size=(10_000, *shape)).astype(np.float32) for name, shape in shapes.items()}
    assert compare_with_torch(policy, module, samples, steps=4) <= 1e-5


def test_a_difference_that_only_a_state_shows_is_found(path: Path, module: nn.Module) -> None:
    policy = Policy(read_bundle(path))
    samples = {port.name: np.ones((4, *port.shape), np.float32) for port in policy.contract.inputs}

    class Forgetful(nn.Module):
        """As the policy, but for rows whose state is not the initial one."""

        def forward(self, position: Tensor, attitude: Tensor, goal: Tensor, state_in: Tensor) -> tuple[Tensor, ...]:
            initial = torch.tensor(policy.initial_state())
            thrust, rates, state = module(position, attitude, goal, state_in)
            return torch.where((state_in == initial).all(-1, keepdim=True), thrust, thrust + 0.5), rates, state

    assert compare_with_torch(policy, Forgetful(), samples, steps=1) <= 1e-5
    assert compare_with_torch(policy, Forgetful(), samples, steps=2) == pytest.approx(0.5 / 8.0, abs=1e-5)


def test_a_difference_in_the_weights_is_found(path: Path, module: nn.Module) -> None:
    other = copy.deepcopy(module)
    with torch.no_grad():
        next(other.parameters()).mul_(1.01)
    policy = Policy(read_bundle(path))
    samples = {port.name: np.ones((4, *port.shape), np.float32) for port in policy.contract.inputs}
    assert compare_with_torch(policy, other, samples) > 1e-4


class Sum(nn.Module):
    """An integrator, whose golden sequence has a closed form."""

    def forward(self, x: Tensor, state_in: Tensor) -> tuple[Tensor, Tensor]:
        total = state_in + x
        return total, total


def test_the_golden_sequence_feeds_the_state_back() -> None:
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    golden = record_golden(Sum(), {"x": x}, ["y"], np.array([10.0, 20.0], dtype=np.float32))
    np.testing.assert_array_equal(golden.inputs["x"], x)
    np.testing.assert_array_equal(golden.outputs["y"], np.cumsum(x, axis=0) + np.array([10.0, 20.0]))
    assert golden.outputs["y"].dtype == np.float32


def test_recording_leaves_the_module_in_its_mode() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Dropout().eval())

    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (self.inner(x),)

    golden = record_golden(Wrapper(), {"x": np.ones((3, 2), np.float32)}, ["y"])
    np.testing.assert_array_equal(golden.outputs["y"], np.ones((3, 2)))
    assert [part.training for part in module] == [True, False]
