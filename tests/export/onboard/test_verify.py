"""The golden sequence run again: it passes where it must, and sees what it must."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from robo_ppo.errors import UserError
from robo_ppo.export.bundle import write_bundle
from robo_ppo_onboard.contract import Contract
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


def test_differences_are_parts_of_large_limits(path: Path, model: onnx.ModelProto, contract: Contract) -> None:
    """Where a command goes to 500, single precision leaves some 1e-4 of it open."""
    off = {name: values + np.float32(4e-4) for name, values in contract.golden.outputs.items()}
    large = tuple(dataclasses.replace(port, upper=(500.0,) * len(port.upper or ())) for port in contract.outputs)
    golden = dataclasses.replace(contract.golden, outputs=off)
    for outputs, passes in ((contract.outputs, False), (large, True)):
        write_bundle(path, model, dataclasses.replace(contract, outputs=outputs, golden=golden))
        assert verify(path).passed == passes
