"""Makes an exported graph fast for one vehicle: the algebra on single numbers becomes a few operations on vectors.

    faster = vectorize(model)                                    # same inputs, outputs and, up to rounding, results

torch exports an observation as it is written: a rotation takes quaternions and vectors apart, multiplies and adds
number by number, and puts them together again. For one vehicle every such node costs onnxruntime about a third of a
microsecond, whatever it computes. Here small tensors are read as what each of their numbers is
(`robo_ppo.export.forms`); all operations of one kind that can be done at the same time become one, and sums of what
they give one matrix product.

What is not understood stays as it is, networks and normalisers among it. The result is compared with torch by whoever
exports (`robo_ppo.export.verify`).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from robo_ppo.export.forms import Form, Forms, Objects, constants
from robo_ppo.export.vector_graph import VectorGraph
from robo_ppo_onboard.bundle import BATCH

if TYPE_CHECKING:
    import onnx

OPERATED = 32  # numbers in a row: operations on more are left as they are
SUMMED = 64  # numbers in a row: sums of more are left as they are
LARGE = 4096  # numbers in a row: tensors of more are not looked into
OFFSET = 32.0  # a scaled difference loses digits where what was subtracted is as large as this

_UNARY = ("Sqrt", "Abs", "Exp", "Log", "Tanh", "Sigmoid", "Relu", "Sin", "Cos")
_Row = tuple[int, ...]


def vectorize(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """A model that computes the same with fewer nodes; every tensor's first axis is the batch, of any size."""
    import onnx

    if any(a.HasField("g") or a.graphs for node in model.graph.node for a in node.attribute):
        return model  # a branch or a loop may use any tensor of the graph around it
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    reader = _Reader(inferred.graph)
    reader.read()
    result = type(model)()
    result.CopyFrom(model)
    del result.graph.value_info[:]
    reader.written.replace_in(result.graph)
    onnx.checker.check_model(result, full_check=True)
    return result


@dataclass
class _Node:
    """A node with what is known of it."""

    proto: "onnx.NodeProto"
    settings: dict[str, Any]

    @property
    def inputs(self) -> list[str]:
        return list(self.proto.input)


class _Reader:
    """Goes through a graph once: reads what it understands into forms, and writes the rest down as it stands."""

    def __init__(self, graph: "onnx.GraphProto") -> None:
        from onnx import numpy_helper

        self.graph, self.forms = graph, Forms()
        self.fixed = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.rows = _row_shapes(graph)
        self.known: dict[str, Objects] = {}
        taken = {*self.fixed, *(name for node in graph.node for name in node.output)}
        self.written = VectorGraph(self.rows, taken)

    def read(self) -> None:
        """All nodes, then what the graph gives."""
        import onnx

        for value in self.graph.input:
            self._given(value.name)
        for proto in self.graph.node:
            settings = {a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute}
            node = _Node(proto, settings)
            results = self._understood(node)
            if results is None:
                self._keep(node)
            else:
                self.known |= dict(zip(proto.output, results, strict=True))
        self.written.give([(value.name, self.known.get(value.name)) for value in self.graph.output])

    def _given(self, name: str) -> None:
        """A tensor that exists under its own name."""
        row = self.rows.get(name)
        if row is not None and math.prod(row) <= LARGE:
            self.known[name] = self.forms.leaf(name, row)

    def _keep(self, node: _Node) -> None:
        kept = type(node.proto)()
        kept.CopyFrom(node.proto)
        if kept.op_type == "Concat" and node.settings.get("axis") == 1:
            kept.input[:] = self._joined(node.inputs)
        else:
            kept.input[:] = [self._named(name) for name in node.inputs]
        self.written.keep(kept, {name: self.fixed[name] for name in kept.input if name in self.fixed})
        for name in kept.output:
            self._given(name)

    def _named(self, name: str) -> str:
        """A tensor with these numbers, in its own shape."""
        if name not in self.known:
            return name
        return self.written.tensor(self.known[name])

    def _joined(self, names: Sequence[str]) -> list[str]:
        """What is to be put side by side, with neighbours that are computed here as one."""
        joined: list[str] = []
        run: list[Form] = []
        for name in (*names, ""):
            forms = self.known.get(name)
            if forms is not None and forms.ndim == 1 and len(forms) <= SUMMED:
                run += list(forms)
                continue
            joined += [self.written.vector(run)] if run else []
            joined += [self._named(name)] if name else []
            run = []
        return joined

    def _understood(self, node: _Node) -> list[Objects] | None:
        """The numbers of a node's results; None where it stays."""
        reader = _STRUCTURE.get(node.proto.op_type) or _ARITHMETIC.get(node.proto.op_type)
        rows = [self.rows.get(name) for name in node.proto.output]
        if reader is None or any(row is None or math.prod(row) > LARGE for row in rows):
            return None
        if not any(name in self.known for name in node.inputs):
            return None
        if any(name and name not in self.known and name not in self.fixed for name in node.inputs):
            return None
        results = reader(self, node)
        if results is None or [forms.shape for forms in results] != rows:
            return None
        if node.proto.op_type not in _ARITHMETIC:
            return results
        return results if all(_is_small(forms, node.proto.op_type) for forms in results) else None

    def operand(self, name: str, rank: int) -> Objects | None:
        """A float operand of arithmetic as forms that broadcast within rows of `rank` axes."""
        if name in self.known:
            return self.known[name] if self.known[name].ndim == rank else None
        values = self.fixed[name]
        if values.dtype != np.float32 or values.ndim > rank + 1:
            return None
        if values.ndim == rank + 1:
            if values.shape[0] != 1 and rank:
                return None
            return constants(values.reshape(values.shape[1:])) if values.shape[0] == 1 else None
        return constants(values)

    def integers(self, node: _Node, place: int) -> list[int] | None:
        """A constant list of whole numbers among the inputs, None where there is none."""
        name = node.inputs[place] if len(node.inputs) > place else ""
        return [int(value) for value in self.fixed[name].ravel()] if name in self.fixed else None

    def scalar(self, node: _Node, place: int, otherwise: float) -> float:
        """A constant number among the inputs."""
        name = node.inputs[place] if len(node.inputs) > place else ""
        return float(self.fixed[name].ravel()[0]) if name in self.fixed else otherwise


_Result = list[Objects] | None


def _is_small(forms: Objects, kind: str) -> bool:
    """Whether it pays to write these forms anew, and loses nothing."""
    is_result = any(form.single is not None and form.single.kind == kind for form in forms.flat)
    keeps_digits = kind in ("Add", "Sub") or all(abs(form.constant) <= OFFSET for form in forms.flat)
    return forms.size <= (OPERATED if is_result else SUMMED) and keeps_digits


def _row_shapes(graph: "onnx.GraphProto") -> dict[str, _Row]:
    """Shapes of rows of float tensors whose first axis is the batch."""
    found: dict[str, _Row] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        sizes = [axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim]
        is_batch = bool(sizes) and tensor.shape.dim[0].dim_param == BATCH
        if tensor.elem_type == 1 and is_batch and None not in sizes[1:]:
            found[value.name] = tuple(cast(list[int], sizes[1:]))
    return found


def _pair(combine: Callable[[_Reader, Objects, Objects], Objects | None]) -> Callable[[_Reader, _Node], _Result]:
    def read(reader: _Reader, node: _Node) -> _Result:
        rank = max(reader.known[name].ndim for name in node.inputs if name in reader.known)
        one, other = (reader.operand(name, rank) for name in node.inputs)
        if one is None or other is None:
            return None
        result = combine(reader, *np.broadcast_arrays(one, other))
        return None if result is None else [result]

    return read


def _each(combine: Callable[[Form, Form], Form]) -> Callable[[_Reader, Objects, Objects], Objects]:
    whole = np.frompyfunc(combine, 2, 1)
    return lambda _, one, other: np.asarray(whole(one, other), dtype=object)


def _multiplied(reader: _Reader, one: Objects, other: Objects) -> Objects:
    def product(a: Form, b: Form) -> Form:
        if not a.terms or not b.terms:
            return b * a.constant if not a.terms else a * b.constant
        return reader.forms.number("Mul", (a, b))

    return np.asarray(np.frompyfunc(product, 2, 1)(one, other), dtype=object)


def _divided(reader: _Reader, one: Objects, other: Objects) -> Objects | None:
    if all(not form.terms and form.constant for form in other.flat):
        return np.asarray(np.frompyfunc(lambda a, b: a * (1.0 / b.constant), 2, 1)(one, other), dtype=object)
    return reader.forms.apply("Div", one, other)


def _power(reader: _Reader, node: _Node) -> _Result:
    base = reader.known.get(node.inputs[0])
    if base is None or reader.scalar(node, 1, 0.0) != 2.0:
        return None
    return [_multiplied(reader, base, base)]


def _unary(reader: _Reader, node: _Node) -> _Result:
    return [reader.forms.apply(node.proto.op_type, reader.known[node.inputs[0]])]


def _clip(reader: _Reader, node: _Node) -> _Result:
    if any(name and name not in reader.fixed for name in node.inputs[1:]):
        return None
    bounds = reader.scalar(node, 1, -math.inf), reader.scalar(node, 2, math.inf)
    return [reader.forms.apply("Clip", reader.known[node.inputs[0]], settings=bounds)]


def _summed(reader: _Reader, node: _Node) -> _Result:
    forms, axes = reader.known[node.inputs[0]], reader.integers(node, 1)
    if forms.ndim != 1 or axes not in ([1], [-1]):
        return None
    total = sum(forms.tolist(), Form())
    result = np.empty((1,), dtype=object)
    result[0] = total
    return [result if node.settings.get("keepdims", 1) else result.reshape(())]


def _slice(reader: _Reader, node: _Node) -> _Result:
    forms = reader.known[node.inputs[0]]
    starts, ends, axes, steps = (reader.integers(node, place) for place in (1, 2, 3, 4))
    if starts is None or ends is None or axes is None:
        return None
    cut = [slice(None)] * forms.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps or [1] * len(axes), strict=True):
        place = axis - 1 if axis > 0 else forms.ndim + axis
        if axis == 0 or place < 0 or step < 1:
            return None
        cut[place] = slice(start, end, step)
    return [forms[tuple(cut)]]


def _reshaped(reader: _Reader, node: _Node) -> _Result:
    """Squeeze, Unsqueeze, Reshape, Flatten: numbers keep their order, and the batch its place."""
    forms, row = reader.known[node.inputs[0]], reader.rows[node.proto.output[0]]
    axes = reader.integers(node, 1) if node.proto.op_type in ("Squeeze", "Unsqueeze") else [1]
    if axes is None or 0 in axes or math.prod(row) != forms.size:
        return None
    return [forms.reshape(row)]


def _joined(reader: _Reader, node: _Node) -> _Result:
    parts = [reader.known.get(name) for name in node.inputs]
    axis = int(node.settings["axis"])
    if axis == 0 or any(part is None for part in parts):
        return None
    together = np.concatenate(cast(list[Objects], parts), axis - 1 if axis > 0 else axis)
    return [together] if together.size <= SUMMED else None


def _gathered(reader: _Reader, node: _Node) -> _Result:
    indices, axis = reader.fixed.get(node.inputs[1]), int(node.settings.get("axis", 0))
    if indices is None or axis < 1 or node.inputs[0] not in reader.known:
        return None
    return (
        [np.take(reader.known[node.inputs[0]], indices, axis - 1)]
        if indices.ndim
        else [_scalar_taken(reader.known[node.inputs[0]], int(indices), axis - 1)]
    )


def _scalar_taken(forms: Objects, index: int, axis: int) -> Objects:
    taken = forms.take([index], axis)
    return taken.reshape(taken.shape[:axis] + taken.shape[axis + 1 :])


def _split(reader: _Reader, node: _Node) -> _Result:
    forms, axis = reader.known[node.inputs[0]], int(node.settings.get("axis", 0))
    if axis < 1:
        return None
    sizes = [reader.rows[name][axis - 1] for name in node.proto.output]
    return list(np.split(forms, np.cumsum(sizes)[:-1].tolist(), axis - 1))


_STRUCTURE: dict[str, Callable[[_Reader, _Node], _Result]] = {
    "Slice": _slice,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Reshape": _reshaped,
    "Flatten": _reshaped,
    "Concat": _joined,
    "Gather": _gathered,
    "Split": _split,
    "Identity": lambda reader, node: [reader.known[node.inputs[0]]],
}
_ARITHMETIC: dict[str, Callable[[_Reader, _Node], _Result]] = {
    "Add": _pair(_each(lambda a, b: a + b)),
    "Sub": _pair(_each(lambda a, b: a + b * -1.0)),
    "Mul": _pair(_multiplied),
    "Div": _pair(_divided),
    "Neg": lambda reader, node: [np.asarray(reader.known[node.inputs[0]] * -1.0, dtype=object)],
    "Pow": _power,
    "Clip": _clip,
    "ReduceSum": _summed,
    **dict.fromkeys(_UNARY, _unary),
}
