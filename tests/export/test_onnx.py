"""The exporter: order, names and shapes as asked, nothing of this machine inside, nothing printed."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from robo_ppo.export.onnx import to_onnx
from tests.export.traces import ROOT, traces_in


def signature(values) -> list[tuple[str, list[object]]]:
    return [
        (value.name, [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim])
        for value in values
    ]


def test_inputs_and_outputs_are_in_the_order_given(model: onnx.ModelProto) -> None:
    assert signature(model.graph.input) == [
        ("position", ["batch", 3]),
        ("attitude", ["batch", 4]),
        ("goal", ["batch", 3]),
        ("state_in", ["batch", 7]),
    ]
    assert signature(model.graph.output) == [
        ("thrust", ["batch", 1]),
        ("body_rates", ["batch", 3]),
        ("state_out", ["batch", 7]),
    ]
    onnx.checker.check_model(model, full_check=True)


def test_nothing_of_this_machine_is_left_inside(model: onnx.ModelProto) -> None:
    assert not traces_in(model)


def test_what_tells_of_a_machine_is_found_wherever_it_stands(model: onnx.ModelProto) -> None:
    for text in ("/home/me/x", f"{ROOT}/a", "see nav.py", 'File "<stdin>"', str(Path.home()), "at /tmp", r"C:\Users"):
        for field in ("doc_string", "op_type"):
            told = onnx.ModelProto()
            told.CopyFrom(model)
            setattr(told.graph.node[-1], field, text)
            assert traces_in(told), (text, field)
        told = onnx.ModelProto()
        told.CopyFrom(model)
        told.metadata_props.add(key="robo_ppo", value=json.dumps({"training": {"config": [text]}}))
        assert traces_in(told), text


class Odd(nn.Module):
    """Any names, an input that is not used, an output that is an input, and one tensor given twice."""

    def forward(self, **signals: Tensor) -> tuple[Tensor, ...]:
        action = signals["state_in"] + signals["b"].sum(dim=(1, 2))[:, None]
        return action, signals["a"], action


def test_unused_inputs_and_shared_outputs_stay(capfd: pytest.CaptureFixture[str]) -> None:
    examples = {
        "unused": torch.zeros(1, 2),
        "b": torch.zeros(1, 2, 2),
        "a": torch.zeros(1),
        "state_in": torch.ones(1, 1),
    }
    module = Odd()
    assert module.training
    model = to_onnx(module, examples, ["motors", "copy", "state_out"])
    assert module.training  # as it was
    assert [name for name, _ in signature(model.graph.input)] == list(examples)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for rows in (1, 2, 7):
        feed = {name: np.full((rows, *value.shape[1:]), 0.5, np.float32) for name, value in examples.items()}
        motors, copy, state = session.run(None, feed)
        np.testing.assert_array_equal(motors, np.full((rows, 1), 2.5))
        np.testing.assert_array_equal(copy, feed["a"])
        np.testing.assert_array_equal(state, motors)
    assert capfd.readouterr() == ("", "")


class Fixed(nn.Module):
    """Works for one number of rows, as no policy may: `len` is a constant to the exporter, `shape[0]` is not."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x.sum(dim=0, keepdim=True).expand(len(x), 3),)


def test_a_module_with_a_fixed_batch_does_not_export() -> None:
    with pytest.raises(Exception, match=r"Constraints violated \(batch\)"):
        to_onnx(Fixed(), {"x": torch.zeros(2, 3)}, ["y"])
