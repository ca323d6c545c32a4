"""What a reader of bundles needs of an ONNX file, from its bytes alone: no onnx, no protobuf, no code of the model.

    model = read_model(data)                # ValueError where the bytes are no ONNX model
    model.metadata["robo_ppo"]              # → Text(value, start): and where the text lies in the bytes
    model.inputs[0]                         # → Value(name="position", kind="FLOAT", shape=("batch", 3))

Protocol buffers are a list of numbered fields, each a varint, 4 or 8 bytes, or a length and so many bytes, which may be
another such list. The numbers are those of onnx.proto3 (ONNX IR version 3 and later).
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
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_DEEPEST = 64
_KINDS = {1: "FLOAT", 7: "INT64", 9: "BOOL", 10: "FLOAT16", 11: "DOUBLE", 16: "BFLOAT16"}


class Field(NamedTuple):
    """One field of a message: its number, and where its bytes lie (a number stands in `value`)."""

    number: int
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
    repeated: bool  # whether a metadata key stands there twice
    inputs: tuple[Value, ...]  # without those that the file holds values for
    outputs: tuple[Value, ...]
    external: str | None


def read_model(data: bytes) -> Model:
    """Read the bytes of a file; ValueError where they are no ONNX model."""
    try:
        top = list(_fields(data, 0, len(data)))
        entries = [_metadata(data, field) for field in top if field.number == 14]
        graphs = [field for field in top if field.number == 7]
        if len(graphs) != 1:
            raise ValueError(f"{len(graphs)} graphs where a model has one")
        parts = list(_fields(data, graphs[0].start, graphs[0].end))
        held = {_string(data, part, _TENSOR_NAME) for part in parts if part.number == 5}
        inputs = [_value(data, part) for part in parts if part.number == 11]
        outputs = [_value(data, part) for part in parts if part.number == 12]
        external = next(_external(data, "model", 0, len(data), 0), None)
    except (ValueError, IndexError) as error:  # a text that is no UTF-8 is a ValueError, too
        raise ValueError(
            f"it cannot be parsed as an ONNX model: truncated, altered or another kind of file ({error})"
        ) from error
    return Model(
        metadata=dict(entries),
        repeated=len(dict(entries)) != len(entries),
        inputs=tuple(value for value in inputs if value.name not in held),
        outputs=tuple(outputs),
        external=external,
    )


def _fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """The fields of the message that lies between two places."""
    while start < end:
        key, start = _varint(data, start, end)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise ValueError("a field without a number")
        if kind == 0:
            value, start = _varint(data, start, end)
            yield Field(number, start, start, value)
            continue
        if kind == 2:
            length, start = _varint(data, start, end)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if start + length > end:
            raise ValueError("a field that is longer than the file")
        yield Field(number, start, start + length, 0)
        start += length


def _varint(data: bytes, start: int, end: int) -> tuple[int, int]:
    """An unsigned number in groups of seven bits, the lowest first, and where it ends."""
    value = 0
    for count in range(10):
        if start + count >= end:
            raise ValueError("a number that is cut off")
        byte = data[start + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value, start + count + 1
    raise ValueError("a number that is too long")


def _string(data: bytes, message: Field, number: int) -> str:
    """The last field of that number as text; empty where there is none."""
    return next(iter(_strings(data, message, number)[::-1]), Text("", 0)).value


def _strings(data: bytes, message: Field, number: int) -> list[Text]:
    found = [field for field in _fields(data, message.start, message.end) if field.number == number]
    return [Text(data[field.start : field.end].decode("utf-8"), field.start) for field in found]


def _metadata(data: bytes, entry: Field) -> tuple[str, Text]:
    values = _strings(data, entry, 2)
    if len(values) != 1:
        raise ValueError("a metadata entry without one value")
    return _string(data, entry, 1), values[0]


def _value(data: bytes, message: Field) -> Value:
    """A ValueInfoProto: its name, the type of its elements, its shape."""
    kind, shape = 0, []
    for tensor in _inside(data, message, 2, 1):
        for field in _fields(data, tensor.start, tensor.end):
            kind = field.value if field.number == 1 else kind
        shape = [_dimension(data, axis) for axis in _inside(data, tensor, 2, 1)]
    return Value(_string(data, message, 1), _KINDS.get(kind, f"type {kind}"), tuple(shape))


def _dimension(data: bytes, axis: Field) -> Dimension:
    size: Dimension = "?"
    for field in _fields(data, axis.start, axis.end):
        if field.number == 1:
            size = field.value
        elif field.number == 2:
            size = data[field.start : field.end].decode("utf-8")
    return size


def _inside(data: bytes, message: Field, *path: int) -> Iterator[Field]:
    """All messages that are reached from another one by fields of these numbers."""
    for field in _fields(data, message.start, message.end):
        if field.number == path[0]:
            if len(path) == 1:
                yield field
            else:
                yield from _inside(data, field, *path[1:])


def _external(data: bytes, kind: str, start: int, end: int, depth: int) -> Iterator[str]:
    """Names of all tensors whose values lie in another file."""
    if depth > _DEEPEST:
        raise ValueError("messages nested without end")
    children = _CHILDREN[kind]
    for field in _fields(data, start, end):
        if field.number in children:
            child = children[field.number]
            yield from _external(data, child, field.start, field.end, depth + 1)
            if child == "tensor":
                parts = list(_fields(data, field.start, field.end))
                if any(p.number == _EXTERNAL_DATA or (p.number == _DATA_LOCATION and p.value) for p in parts):
                    yield _string(data, field, _TENSOR_NAME)
