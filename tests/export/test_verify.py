"""Golden sequences and the comparison with torch: they pass where they must, and see what they must."""

import copy
import dataclasses
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from robo_ppo.errors import UserError
from robo_ppo.export.bundle import write_bundle
from robo_ppo.export.verify import compare_with_torch, record_golden
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.contract import Contract
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.verify import Verification, verify


def test_a_fresh_export_reproduces_its_golden_sequence(path: Path) -> None:
    result = verify(path)
    assert result.passed
    assert result.steps == 12
    assert list(result.errors) == ["thrust", "body_rates"]
    assert result.max_error == max(result.errors.values()) <= 1e-5


@pytest.mark.parametrize("factor", [1.01, math.nan])
def test_changed_weights_under_a_fresh_hash_are_found(
    path: Path, model: onnx.ModelProto, contract: Contract, factor: float
) -> None:
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    tensor = next(tensor for tensor in changed.graph.initializer if tensor.name.endswith("3.weight"))
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(factor), tensor.name))
    write_bundle(path, changed, contract)
    assert not verify(path).passed


def test_a_damaged_bundle_is_refused_before_it_runs(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError):
        verify(path)


def test_nan_never_passes() -> None:
    assert not Verification(math.nan, {}, 1, math.inf).passed


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


def test_differences_are_parts_of_large_limits(path: Path, model: onnx.ModelProto, contract: Contract) -> None:
    """Where a command goes to 500, single precision leaves some 1e-4 of it open."""
    off = {name: values + np.float32(4e-4) for name, values in contract.golden.outputs.items()}
    large = tuple(dataclasses.replace(port, upper=(500.0,) * len(port.upper or ())) for port in contract.outputs)
    golden = dataclasses.replace(contract.golden, outputs=off)
    for outputs, passes in ((contract.outputs, False), (large, True)):
        write_bundle(path, model, dataclasses.replace(contract, outputs=outputs, golden=golden))
        assert verify(path).passed == passes


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
