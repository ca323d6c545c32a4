"""The reader of ONNX files against the onnx library, and against bytes that are no model."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper
from onnx.external_data_helper import uses_external_data

from robo_ppo.export.bundle import every_message
from robo_ppo_onboard.wire import _CHILDREN, Dimension, Model, Value, read_model

SHIPPED = sorted((Path(__file__).parents[3] / "policies").glob("*.onnx"))
KINDS = [onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64, onnx.TensorProto.BOOL]


def value_of(info: onnx.ValueInfoProto) -> Value:
    kind = onnx.TensorProto.DataType.Name(info.type.tensor_type.elem_type)
    axes: list[Dimension] = []
    for axis in info.type.tensor_type.shape.dim:
        axes.append(axis.dim_value if axis.HasField("dim_value") else axis.dim_param or "?")
    return Value(info.name, kind, tuple(axes))


def as_onnx_sees_it(model: onnx.ModelProto) -> tuple[dict[str, str], list[Value], list[Value], list[str]]:
    held = {tensor.name for tensor in model.graph.initializer}
    inputs = [value_of(info) for info in model.graph.input if info.name not in held]
    tensors = [message for message in every_message(model) if isinstance(message, onnx.TensorProto)]
    external = [tensor.name for tensor in tensors if uses_external_data(tensor)]
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    return metadata, inputs, [value_of(info) for info in model.graph.output], external


def assert_same(data: bytes, model: onnx.ModelProto) -> Model:
    read = read_model(data)
    metadata, inputs, outputs, external = as_onnx_sees_it(model)
    assert {key: text.value for key, text in read.metadata.items()} == metadata
    for text in read.metadata.values():
        assert data[text.start :].startswith(text.value.encode())
    assert list(read.inputs) == inputs
    assert list(read.outputs) == outputs
    assert read.external == external[0] if external else read.external is None
    return read


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_policies_are_read_as_onnx_reads_them(path: Path) -> None:
    data = path.read_bytes()
    read = assert_same(data, onnx.load_from_string(data))
    assert list(read.metadata) == ["robo_ppo"]
    assert read.external is None


NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
AXES = st.integers(0, 2**40) | NAMES | st.none()


@st.composite
def values(draw: st.DrawFn) -> onnx.ValueInfoProto:
    axes = draw(st.lists(AXES, max_size=3))
    return helper.make_tensor_value_info(draw(NAMES), draw(st.sampled_from(KINDS)), axes)


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    inputs = draw(st.lists(values(), max_size=4, unique_by=lambda info: info.name))
    held = draw(st.sets(st.sampled_from([info.name for info in inputs]))) if inputs else set[str]()
    tensors = [numpy_helper.from_array(np.arange(3, dtype=np.float32), name) for name in sorted(held)]
    graph = helper.make_graph([], draw(st.text(max_size=3)), inputs, draw(st.lists(values(), max_size=4)), tensors)
    model = helper.make_model(graph, producer_name=draw(st.text(max_size=3)))
    helper.set_model_props(model, draw(st.dictionaries(NAMES, st.text(max_size=40), max_size=3)))
    return model


@given(models())
@settings(max_examples=40, deadline=None)
def test_every_model_is_read_as_onnx_reads_it(model: onnx.ModelProto) -> None:
    assert_same(model.SerializeToString(), model)


def tensor(name: str = "far", *, location: bool = True) -> onnx.TensorProto:
    """A tensor whose values lie elsewhere: it says so, or has only the place."""
    made = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[2])
    made.external_data.add(key="location", value="weights.bin")
    if location:
        made.data_location = onnx.TensorProto.EXTERNAL
    return made


def graph_with(**parts: object) -> onnx.GraphProto:
    return onnx.GraphProto(name="g", **parts)  # pyright: ignore[reportArgumentType]


def node_with(attribute: onnx.AttributeProto) -> onnx.NodeProto:
    return onnx.NodeProto(op_type="Any", output=["y"], attribute=[attribute])


def attribute(**parts: object) -> onnx.AttributeProto:
    return onnx.AttributeProto(name="a", **parts)  # pyright: ignore[reportArgumentType]


def model_with(*nodes: onnx.NodeProto, **parts: object) -> onnx.ModelProto:
    return onnx.ModelProto(graph=graph_with(node=list(nodes), **parts))


SPARSE = onnx.SparseTensorProto(values=tensor(), dims=[4])
SPARSE_INDICES = onnx.SparseTensorProto(values=tensor("near"), indices=tensor(), dims=[4])
SPARSE_INDICES.values.ClearField("external_data")
SPARSE_INDICES.values.ClearField("data_location")


@pytest.mark.parametrize(
    "model",
    [
        model_with(initializer=[tensor()]),
        model_with(sparse_initializer=[SPARSE]),
        model_with(sparse_initializer=[SPARSE_INDICES]),
        model_with(node_with(attribute(t=tensor()))),
        model_with(node_with(attribute(tensors=[tensor()]))),
        model_with(node_with(attribute(sparse_tensor=SPARSE))),
        model_with(node_with(attribute(sparse_tensors=[SPARSE]))),
        model_with(node_with(attribute(g=graph_with(initializer=[tensor()])))),
        model_with(node_with(attribute(graphs=[graph_with(node=[node_with(attribute(t=tensor()))])]))),
        onnx.ModelProto(graph=graph_with(), functions=[onnx.FunctionProto(node=[node_with(attribute(t=tensor()))])]),
        onnx.ModelProto(graph=graph_with(), functions=[onnx.FunctionProto(attribute_proto=[attribute(t=tensor())])]),
        onnx.ModelProto(
            graph=graph_with(),
            training_info=[onnx.TrainingInfoProto(initialization=graph_with(initializer=[tensor()]))],
        ),
        onnx.ModelProto(
            graph=graph_with(), training_info=[onnx.TrainingInfoProto(algorithm=graph_with(initializer=[tensor()]))]
        ),
    ],
    ids=lambda model: "",
)
def test_values_in_another_file_are_found_wherever_they_are(model: onnx.ModelProto) -> None:
    assert read_model(model.SerializeToString()).external == "far"
    assert_same(model.SerializeToString(), model)


def test_a_place_in_another_file_alone_is_enough() -> None:
    model = model_with(initializer=[tensor(location=False)])
    assert read_model(model.SerializeToString()).external == "far"


def test_every_message_that_may_hold_a_tensor_is_looked_into() -> None:
    """The table of nested messages against onnx's own description, which a later version may extend."""
    names = {
        "ModelProto": "model",
        "GraphProto": "graph",
        "NodeProto": "node",
        "AttributeProto": "attribute",
        "SparseTensorProto": "sparse",
        "FunctionProto": "function",
        "TrainingInfoProto": "training",
        "TensorProto": "tensor",
    }

    def holds_tensors(descriptor: object, seen: tuple[object, ...] = ()) -> bool:
        fields = descriptor.fields  # pyright: ignore[reportAttributeAccessIssue]
        inner = [field.message_type for field in fields if field.message_type is not None]
        return descriptor.name == "TensorProto" or any(  # pyright: ignore[reportAttributeAccessIssue]
            holds_tensors(message, (*seen, descriptor)) for message in inner if message not in seen
        )

    for name, ours in names.items():
        fields = getattr(onnx, name).DESCRIPTOR.fields
        expected = {
            field.number: names[field.message_type.name]
            for field in fields
            if field.message_type is not None and holds_tensors(field.message_type)
        }
        assert _CHILDREN[ours] == expected, name


@given(st.binary(max_size=400))
@example(b"")
@example(b"\x3a\x00")
@example(b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\xff" * 20)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_model_or_a_value_error(data: bytes) -> None:
    try:
        read_model(data)
    except ValueError as error:
        assert "cannot be parsed as an ONNX model" in str(error)


def spoil(data: bytes, draw: Callable[[st.SearchStrategy[int]], int]) -> bytes:
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(changed) - 1))
        way = draw(st.integers(0, 3))
        if way == 0:
            changed[place] = draw(st.integers(0, 255))
        elif way == 1:
            del changed[place:]
        elif way == 2:
            del changed[place : place + draw(st.integers(1, 9))]
        else:
            changed[place:place] = bytes([draw(st.integers(0, 255))])
        if not changed:
            break
    return bytes(changed)


SMALL = model_with(
    node_with(attribute(g=graph_with(initializer=[numpy_helper.from_array(np.ones(2, np.float32), "w")]))),
    input=[helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 3])],
    output=[helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch"])],
)
helper.set_model_props(SMALL, {"robo_ppo": "{}", "other": "text"})


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_what_is_read_of_a_spoilt_model_is_what_onnx_reads(data: st.DataObject) -> None:
    """Whatever this reader accepts and onnx accepts, both understand in the same way."""
    spoilt = spoil(SMALL.SerializeToString(), data.draw)
    try:
        read = read_model(spoilt)
    except ValueError:
        return
    model = onnx.ModelProto()
    try:
        model.ParseFromString(spoilt)
        metadata, inputs, outputs, external = as_onnx_sees_it(model)
    except Exception:
        return  # stricter than this reader; onnxruntime then refuses it, too
    assert {key: text.value for key, text in read.metadata.items()} == metadata
    assert [value.name for value in read.inputs] == [value.name for value in inputs]
    assert [value.shape for value in read.outputs] == [value.shape for value in outputs]
    assert not external or read.external is not None


def test_nested_without_end_is_refused() -> None:
    data = b""
    for _ in range(200):  # a node with an attribute with a graph with a node …
        for number in (6, 5, 1):
            data = bytes([number << 3 | 2]) + varint(len(data)) + data
    data = b"\x3a" + varint(len(data)) + data
    with pytest.raises(ValueError, match="nested without end"):
        read_model(data)


def test_many_small_fields_take_no_memory() -> None:
    data = b"\x08\x01" * 10_000
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="no graph"):
            read_model(data)
        assert tracemalloc.get_traced_memory()[1] < 50_000
    finally:
        tracemalloc.stop()


def varint(number: int) -> bytes:
    groups: list[int] = []
    while True:
        number, low = number >> 7, number & 0x7F
        groups.append(low | (0x80 if number else 0))
        if not number:
            return bytes(groups)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.metadata_props.add(key="robo_ppo", value="{}"), "the key 'robo_ppo' twice"),
        (lambda model: model.ClearField("graph"), "no graph"),
    ],
)
def test_what_a_model_may_not_have(change: Callable[[onnx.ModelProto], object], message: str) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(SMALL)
    change(model)
    with pytest.raises(ValueError, match=message):
        read_model(model.SerializeToString())


def test_two_graphs_are_refused_though_protobuf_would_merge_them() -> None:
    with pytest.raises(ValueError, match="field 7 that stands there twice"):
        read_model(SMALL.SerializeToString() + onnx.ModelProto(graph=graph_with()).SerializeToString())
