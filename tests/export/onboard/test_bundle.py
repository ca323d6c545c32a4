"""Reading a bundle: whatever is not exactly what was written is refused with the reason."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import onnx.external_data_helper
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_ppo.errors import UserError
from robo_ppo.export.bundle import write_bundle
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.contract import Contract
from robo_ppo_onboard.runtime import Policy

Forge = Callable[[onnx.ModelProto, str], Path]


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory, model: onnx.ModelProto, contract: Contract) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "policy.onnx"
    write_bundle(path, model, contract)
    return path


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_truncated_file_is_refused(written: Path, data: st.DataObject) -> None:
    whole = written.read_bytes()
    cut = written.with_name("cut.onnx")
    cut.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(UserError, match=r"cut\.onnx is not a usable policy bundle"):
        read_bundle(cut)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_file_with_any_byte_changed_is_refused(written: Path, data: st.DataObject) -> None:
    changed = bytearray(written.read_bytes())
    middle = changed.index(b'{"sha256": "')
    positions = st.integers(0, len(changed) - 1) | st.integers(middle - 16, middle + 90)
    changed[data.draw(positions)] ^= data.draw(st.integers(1, 255))
    spoilt = written.with_name("spoilt.onnx")
    spoilt.write_bytes(changed)
    with pytest.raises(UserError, match=r"spoilt\.onnx is not a usable policy bundle"):
        read_bundle(spoilt)


def test_bytes_at_the_end_are_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\x00")
    with pytest.raises(UserError, match="cannot be parsed"):
        read_bundle(path)


def test_what_is_no_bundle_is_refused(tmp_path: Path, model: onnx.ModelProto) -> None:
    with pytest.raises(UserError, match=r"cannot read the policy bundle .*nowhere.*No such file"):
        read_bundle(tmp_path / "nowhere.onnx")
    with pytest.raises(UserError, match="Is a directory"):
        read_bundle(tmp_path)
    other = tmp_path / "other.onnx"
    other.write_text("This is a letter.\n")
    with pytest.raises(UserError, match="cannot be parsed as an ONNX model"):
        read_bundle(other)
    other.write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot be parsed as an ONNX model.*no graph"):
        read_bundle(other)
    other.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match="no robo_ppo metadata"):
        read_bundle(other)


def test_a_sealed_file_is_still_checked(forge: Forge, model: onnx.ModelProto, document: dict[str, object]) -> None:
    read_bundle(forge(model, json.dumps(document)))  # the forger's work is good
    with pytest.raises(UserError, match="schema is 2; this version reads schema 1"):
        read_bundle(forge(model, json.dumps({**document, "schema": 2, "new": 0})))
    with pytest.raises(UserError, match="unknown key 'colour'"):
        read_bundle(forge(model, json.dumps({**document, "colour": "red"})))
    with pytest.raises(UserError, match="lacks the key 'robot'"):
        read_bundle(forge(model, json.dumps({key: value for key, value in document.items() if key != "robot"})))
    with pytest.raises(UserError, match="not a usable policy bundle"):
        read_bundle(forge(model, json.dumps({**document, "control_period": 10**400})))
    with pytest.raises(UserError, match="not a usable policy bundle"):
        read_bundle(forge(model, json.dumps(document)[:-1] + ', "deep": ' + "[" * 100_000))


def rename(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "place"


def reorder(model: onnx.ModelProto) -> None:
    inputs = list(model.graph.input)
    del model.graph.input[:]
    model.graph.input.extend([inputs[2], inputs[1], inputs[0], inputs[3]])


def reshape(model: onnx.ModelProto) -> None:
    model.graph.output[1].type.tensor_type.shape.dim[1].dim_value = 4


def fix_batch(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 1


def forget_shape(model: onnx.ModelProto) -> None:
    model.graph.output[0].type.tensor_type.ClearField("shape")


def widen(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def drop_state(model: onnx.ModelProto) -> None:
    del model.graph.output[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, r"inputs place FLOAT\(batch, 3\).* its contract says position FLOAT\(batch, 3\)"),
        (reorder, r"inputs goal FLOAT\(batch, 3\), attitude FLOAT"),
        (reshape, r"body_rates FLOAT\(batch, 4\)"),
        (fix_batch, r"attitude FLOAT\(1, 4\)"),
        (forget_shape, r"thrust FLOAT\(\)"),
        (widen, r"position DOUBLE\(batch, 3\)"),
        (drop_state, r"contract says .*state_out FLOAT\(batch, 7\)"),
    ],
)
def test_a_graph_that_is_not_the_contracts_is_refused(
    forge: Forge,
    tmp_path: Path,
    model: onnx.ModelProto,
    contract: Contract,
    document: dict[str, object],
    change: Callable[[onnx.ModelProto], None],
    message: str,
) -> None:
    changed = copy_of(model)
    change(changed)
    with pytest.raises(UserError, match=message):
        read_bundle(forge(changed, json.dumps(document)))
    with pytest.raises(ValueError, match=message):
        write_bundle(tmp_path / "policy.onnx", changed, contract)
    assert not (tmp_path / "policy.onnx").exists()


def test_weights_in_another_file_are_refused(
    forge: Forge, model: onnx.ModelProto, document: dict[str, object], tmp_path: Path
) -> None:
    outside = copy_of(model)
    onnx.external_data_helper.convert_model_to_external_data(outside, location="weights.bin", size_threshold=0)
    onnx.save(outside, tmp_path / "outside.onnx")
    outside = onnx.load(tmp_path / "outside.onnx", load_external_data=False)
    with pytest.raises(UserError, match="one self-contained file"):
        read_bundle(forge(outside, json.dumps(document)))


def test_weights_in_another_file_are_found_inside_nested_graphs(
    forge: Forge, model: onnx.ModelProto, document: dict[str, object]
) -> None:
    nested = copy_of(model)
    tensor = onnx.TensorProto(name="hidden", data_location=onnx.TensorProto.EXTERNAL)
    branch = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["y"], value=tensor)], "branch", [], [])
    nested.graph.node.append(onnx.helper.make_node("If", ["c"], [], then_branch=branch, else_branch=branch))
    with pytest.raises(UserError, match="'hidden' lie in another file"):
        read_bundle(forge(nested, json.dumps(document)))


def test_reading_and_running_need_no_more_than_what_is_on_board(path: Path) -> None:
    code = (
        "import sys; from robo_ppo_onboard.verify import verify; assert verify(sys.argv[1]).passed;"
        "assert not {'torch', 'onnx', 'google', 'yaml', 'hydra', 'mujoco'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_a_bundle_that_onnxruntime_refuses_is_a_users_mistake(forge: Forge, model: onnx.ModelProto, document) -> None:
    broken = copy_of(model)
    broken.graph.node[0].op_type = "Conncat"
    with pytest.raises(UserError, match=r"onnxruntime cannot load .*Conncat"):
        Policy(read_bundle(forge(broken, json.dumps(document))))
