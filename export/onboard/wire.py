"""What a reader of bundles needs of an ONNX file, from its bytes alone: no onnx, no protobuf, no code of the model.

    model = read_model(data)                # ValueError where the bytes are no ONNX model
    model.metadata["robo_ppo"]              # → Text(value, start): and where the text lies in the bytes
    model.inputs[0]                         # → Value(name="position", kind="FLOAT", shape=("batch", 3))

Protocol buffers are a list of numbered fields, each a varint, 4 or 8 bytes, or a length and so many bytes, which may be
another such list. The numbers are those of onnx.proto3 (ONNX IR version 3 and later). Stricter than protocol buffers
are in general: a field that a message has once may not stand there twice, nor be of another kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, NamedTuple, Union

Dimension = Union[str, int]

# Which fields of a message hold other messages that may, however deep, hold the values of a tensor.
_CHILDREN: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "function": {7: "node", 11: "attribute"},
    "training": {1: "graph", 2: "graph"},
    "tensor": {},
}
_GRAPH, _METADATA = 7, 14  # of a model
_INITIALIZER, _INPUT, _OUTPUT = 5, 11, 12  # of a graph
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_DEEPEST = 64
_KINDS = {1: "FLOAT", 7: "INT64", 9: "BOOL", 10: "FLOAT16", 11: "DOUBLE", 16: "BFLOAT16"}
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


class Field(NamedTuple):
    """One field of a message: its number and wire type, and where its bytes lie (a varint stands in `value`)."""

    number: int
    kind: int
    start: int
    end: int
    value: int


class Text(NamedTuple):
    """A text, and where its first byte lies in the file."""

    value: str
    start: int


class Value(NamedTuple):
    """An input or output of the graph; an axis is a size or a name."""

    name: str
    kind: str
    shape: tuple[Dimension, ...]


@dataclass(frozen=True)
class Model:
    """What is known of a model; `external` names a tensor whose values lie in another file, if there is one."""

    metadata: dict[str, Text]
    inputs: tuple[Value, ...]  # without those that the file holds values for
    outputs: tuple[Value, ...]
    external: str | None


def read_model(data: bytes) -> Model:
    """Read the bytes of a file; ValueError where they are no ONNX model."""
    try:
        return _model(data, Field(0, _BYTES, 0, len(data), 0))
    except ValueError as error:  # a text that is no UTF-8 is one, too
        raise ValueError(
            f"it cannot be parsed as an ONNX model: truncated, altered or another kind of file ({error})"
        ) from error


def _model(data: bytes, whole: Field) -> Model:
    metadata: dict[str, Text] = {}
    for entry in _all(data, whole, _METADATA):
        key = _text(data, entry, 1).value
        if key in metadata:
            raise ValueError(f"its metadata has the key '{key}' twice")
        metadata[key] = _text(data, entry, 2)
    graph = _one(data, whole, _GRAPH)
    if graph is None:
        raise ValueError("no graph")
    held = {_text(data, tensor, _TENSOR_NAME).value for tensor in _all(data, graph, _INITIALIZER)}
    inputs = (_value(data, part) for part in _all(data, graph, _INPUT))
    return Model(
        metadata=metadata,
        inputs=tuple(value for value in inputs if value.name not in held),
        outputs=tuple(_value(data, part) for part in _all(data, graph, _OUTPUT)),
        external=next(_external(data, "model", whole, 0), None),
    )


def _fields(data: bytes, message: Field) -> Iterator[Field]:
    """The fields of a message, one after another."""
    start, end = message.start, message.end
    while start < end:
        key, start = _varint(data, start, end)
        number, kind = key >> 3, key & 7
        length = value = 0
        if kind == _VARINT:
            value, start = _varint(data, start, end)
        elif kind == _BYTES:
            length, start = _varint(data, start, end)
        elif kind in (_EIGHT_BYTES, _FOUR_BYTES):
            length = 8 if kind == _EIGHT_BYTES else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if number == 0:
            raise ValueError("a field without a number")
        if length > end - start:
            raise ValueError("a field that is longer than what holds it")
        yield Field(number, kind, start, start + length, value)
        start += length


def _varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    """An unsigned number in groups of seven bits, the lowest first, and where it ends."""
    if start < end and data[start] < 0x80:  # as nearly all are
        return data[start], start + 1
    value = 0
    for count in range(10):
        if start + count >= end:
            raise ValueError("a number that is cut off")
        byte = data[start + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, start + count + 1
    raise ValueError("a number that is too long")


def _all(data: bytes, message: Field, number: int, kind: int = _BYTES) -> Iterator[Field]:
    """Every field of that number, which must be of that kind."""
    for field in _fields(data, message):
        if field.number == number:
            if field.kind != kind:
                raise ValueError(f"a field {number} of kind {field.kind}, not {kind}")
            yield field


def _one(data: bytes, message: Field, number: int, kind: int = _BYTES) -> Field | None:
    """The field of that number, if there is one."""
    found = _all(data, message, number, kind)
    field = next(found, None)
    if next(found, None) is not None:
        raise ValueError(f"a field {number} that stands there twice")
    return field


def _text(data: bytes, message: Field, number: int) -> Text:
    """The field of that number as text; empty where there is none."""
    field = _one(data, message, number)
    return Text("", 0) if field is None else Text(data[field.start : field.end].decode("utf-8"), field.start)


def _value(data: bytes, message: Field) -> Value:
    """A ValueInfoProto: its name, the type of its elements, its shape."""
    found: Field | None = message
    for number in (2, 1):  # its type, which is that of a tensor
        found = None if found is None else _one(data, found, number)
    kind = shape = None
    if found is not None:
        kind, shape = _one(data, found, 1, _VARINT), _one(data, found, 2)
    number = 0 if kind is None else kind.value
    axes = () if shape is None else tuple(_dimension(data, axis) for axis in _all(data, shape, 1))
    return Value(_text(data, message, 1).value, _KINDS.get(number, f"type {number}"), axes)


def _dimension(data: bytes, axis: Field) -> Dimension:
    size, name = _one(data, axis, 1, _VARINT), _text(data, axis, 2).value
    if size is not None and name:
        raise ValueError("an axis with a size and a name")
    return size.value if size is not None else name or "?"


def _external(data: bytes, kind: str, message: Field, depth: int) -> Iterator[str]:
    """Names of all tensors whose values lie in another file."""
    if depth > _DEEPEST:
        raise ValueError("messages nested without end")
    if kind == "tensor":
        parts = _fields(data, message)
        if any(part.number == _EXTERNAL_DATA or (part.number == _DATA_LOCATION and part.value) for part in parts):
            yield _text(data, message, _TENSOR_NAME).value
    for field in _fields(data, message):
        child = _CHILDREN[kind].get(field.number)
        if child is not None and field.kind == _BYTES:
            yield from _external(data, child, field, depth + 1)
