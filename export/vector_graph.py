"""Writes forms (`robo_ppo.export.forms`) as the nodes of a graph, with as few of them as it can.

graph = VectorGraph({"position": (3,)})
name = graph.vector(forms)            # a tensor (batch, len(forms)), with every node that it takes
"""

import itertools
import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robo_ppo.export.forms import Form, Number, Objects

if TYPE_CHECKING:
    import onnx

_Row = tuple[int, ...]
_NARROW = 32  # numbers in a row of which a diagonal matrix costs less than another node
_WIDE = 96  # numbers side by side from which what is needed is picked out before it is multiplied


class VectorGraph:
    """Nodes and constants, and which tensor holds which number."""

    def __init__(self, rows: dict[str, _Row], taken: Collection[str] = ()) -> None:
        """`rows` are the shapes of a row of the tensors that exist already, at least one; all names are in `taken`."""
        self._rows = dict(rows)
        prefixes = (f"vector{number or ''}" for number in itertools.count())
        self._prefix = next(p for p in prefixes if not any(name.startswith(f"{p}_") for name in taken))
        self._nodes: list[onnx.NodeProto] = []
        self._fixed: dict[str, NDArray[Any]] = {}
        self._places: dict[Number, tuple[str, int]] = {}
        self._vectors: dict[tuple[Form, ...], str] = {}
        self._done: dict[tuple[object, ...], str] = {}
        self._buses: set[tuple[str, ...]] = set()

    def keep(self, node: "onnx.NodeProto", fixed: dict[str, NDArray[Any]]) -> None:
        """Take a node over as it is, with the constants that it uses."""
        self._nodes.append(node)
        self._fixed |= fixed

    def tensor(self, forms: Objects) -> str:
        """A tensor (batch, *shape) of an array of forms."""
        whole = self._whole(forms)
        if whole is not None:
            return whole
        name = self.vector(list(forms.flat))
        if forms.ndim == 1:
            return name
        if forms.ndim == 0:
            return self._node("Squeeze", [name, self._constant(np.array([1]))], ())
        return self._node("Reshape", [name, self._constant(np.array([-1, *forms.shape]))], forms.shape)

    def vector(self, forms: Sequence[Form]) -> str:
        """A tensor (batch, k) of k forms, computed before where it was."""
        key = tuple(forms)
        if key not in self._vectors:
            self._compute(key)
            self._vectors[key] = self._assembled(key)
        return self._vectors[key]

    def give(self, outputs: Sequence[tuple[str, Objects | None]]) -> None:
        """End the graph with its outputs."""
        vectors = [forms for _, forms in outputs if forms is not None and forms.ndim]
        singles = [forms for _, forms in outputs if forms is not None and not forms.ndim]
        self._compute([form for forms in (*vectors, *singles) for form in forms.flat])
        together = self.vector([forms.item() for forms in singles]) if singles else ""
        taken = 0
        for name, forms in outputs:
            if forms is None or self._whole(forms) == name:
                continue
            if forms.ndim:
                self._nodes.append(_node("Identity", [self.tensor(forms)], name))
            else:
                self._nodes.append(_node("Gather", [together, self._constant(np.array(taken))], name, axis=1))
                taken += 1

    def replace_in(self, graph: "onnx.GraphProto") -> None:
        """Put these nodes and constants in the place of a graph's own."""
        from onnx import numpy_helper

        del graph.node[:], graph.initializer[:]
        graph.node.extend(self._nodes)
        self._rename_outputs(graph)
        used = {name for node in graph.node for name in node.input}
        graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in self._fixed.items() if name in used)

    def _rename_outputs(self, graph: "onnx.GraphProto") -> None:
        """Where an output is another tensor's copy, that tensor takes its name."""
        fixed = {value.name for value in (*graph.input, *graph.output)} | set(self._fixed)
        for node in [node for node in graph.node if node.op_type == "Identity"]:
            source, name = node.input[0], node.output[0]
            if source in fixed:
                continue
            graph.node.remove(node)
            for other in graph.node:
                other.input[:] = [name if used == source else used for used in other.input]
                other.output[:] = [name if made == source else made for made in other.output]
            fixed.add(name)

    def _whole(self, forms: Objects) -> str | None:
        """The tensor that these forms are, in its own shape and order."""
        places = [self._place(form) for form in forms.flat]
        if not places or None in places:
            return None
        tensor = places[0][0] if places[0] else ""
        is_whole = self._rows[tensor] == forms.shape and places == [(tensor, i) for i in range(forms.size)]
        return tensor if is_whole else None

    def _place(self, form: Form) -> tuple[str, int] | None:
        number = form.single
        return None if number is None else number.place or self._places.get(number)

    def _compute(self, forms: Sequence[Form]) -> None:
        """Every operation behind the forms: the shallow ones first, all of one kind together."""
        wanted: dict[Number, None] = {}

        def need(form: Form) -> None:
            for number, _ in form.terms:
                if number.place is None and number not in self._places and number not in wanted:
                    for argument in number.arguments:
                        need(argument)
                    wanted[number] = None

        for form in forms:
            need(form)
        groups = grouped(list(wanted))
        for place in reversed(range(len(groups))):
            groups[place] = _as_asked_for(groups[place], groups[place + 1 :])
        for numbers in groups:
            self._operate(numbers)

    def _operate(self, numbers: Sequence[Number]) -> None:
        """One node for numbers of one kind, each as often as it is there."""
        kind, settings = numbers[0].kind, numbers[0].settings
        inputs = [self.vector(column) for column in zip(*(number.arguments for number in numbers), strict=True)]
        inputs += [self._constant(np.array(bound, np.float32)) if math.isfinite(bound) else "" for bound in settings]
        name = self._node(kind, inputs, (len(numbers),))
        self._vectors[tuple(Form(0.0, ((number, 1.0),)) for number in numbers)] = name
        for i, number in enumerate(numbers):
            self._places.setdefault(number, (name, i))

    def _assembled(self, forms: tuple[Form, ...]) -> str:
        """A vector of forms whose operations are done."""
        places = [self._place(form) for form in forms]
        found = [place for place in places if place is not None]
        sizes = {tensor: self._size(tensor) for tensor, _ in found}
        is_joined = [(tensor, i) for tensor, size in sizes.items() for i in range(size)] == found
        if len(found) == len(forms) and (is_joined or sum(sizes.values()) > _WIDE):
            return self._picked(found)
        stretched = self._stretched(forms)
        if stretched is not None:
            return stretched
        numbers = list(dict.fromkeys(number for form in forms for number, _ in form.terms))
        sources = [number.place or self._places[number] for number in numbers]
        tensors = sorted({tensor for tensor, _ in sources}) or [next(iter(self._rows))]  # of a constant: any, times 0
        wide = sum(self._size(tensor) for tensor in tensors)
        if wide > _WIDE:
            bus, column, wide = self._picked(sources), {n: i for i, n in enumerate(numbers)}, len(numbers)
        else:
            # What has been put together for something else serves here too.
            wider = [b for b in self._buses if set(b) >= set(tensors) and sum(map(self._size, b)) <= _WIDE]
            tensors = list(min(wider, key=lambda b: sum(map(self._size, b)), default=tuple(tensors)))
            start, wide = self._starts(tensors), sum(map(self._size, tensors))
            bus = self._concat(tensors)
            column = {n: start[tensor] + i for n, (tensor, i) in zip(numbers, sources, strict=True)}
        weights, bias = np.zeros((wide, len(forms))), np.array([form.constant for form in forms])
        for i, form in enumerate(forms):
            for number, weight in form.terms:
                weights[column[number], i] += weight
        inputs = [bus, self._constant(weights.astype(np.float32))]
        inputs += [self._constant(bias.astype(np.float32))] if bias.any() else []
        return self._node("Gemm", inputs, (len(forms),))

    def _picked(self, places: Sequence[tuple[str, int]]) -> str:
        """Numbers that exist, in this order."""
        tensors = list(dict.fromkeys(tensor for tensor, _ in places))
        in_order = [(tensor, i) for tensor in tensors for i in range(self._size(tensor))]
        bus = self._concat(tensors)
        if list(places) == in_order:
            return bus
        start = self._starts(tensors)
        columns = [start[tensor] + i for tensor, i in places]
        if columns == list(range(columns[0], columns[0] + len(columns))):
            bounds = [self._constant(np.array([n])) for n in (columns[0], columns[-1] + 1, 1)]
            return self._node("Slice", [bus, *bounds], (len(places),))
        return self._node("Gather", [bus, self._constant(np.array(columns))], (len(places),), axis=1)

    def _stretched(self, forms: tuple[Form, ...]) -> str | None:
        """One tensor scaled and shifted number by number, where that is what is asked for, and a matrix is not less."""
        numbers = [form.terms[0][0] if len(form.terms) == 1 else None for form in forms]
        places = [None if number is None else number.place or self._places.get(number) for number in numbers]
        if None in places or len({place[0] for place in places if place}) != 1:
            return None
        tensor = places[0][0] if places[0] else ""
        if [place[1] for place in places if place] != list(range(self._size(tensor))):
            return None
        scale = np.array([form.terms[0][1] for form in forms], np.float32)
        shift = np.array([form.constant for form in forms], np.float32)
        if scale.all() and (scale != 1.0).any() and shift.any() and len(forms) <= _NARROW:
            return None
        name = self._flat(tensor)
        for kind, values, changes in (("Mul", scale, (scale != 1.0).any()), ("Add", shift, shift.any())):
            if changes:
                same = values if (values != values[0]).any() else values[:1]
                name = self._node(kind, [name, self._constant(same)], (len(forms),))
        return name

    def _starts(self, tensors: Sequence[str]) -> dict[str, int]:
        """Where each begins when they are put together."""
        return dict(zip(tensors, np.cumsum([0, *map(self._size, tensors)])[:-1].tolist(), strict=True))

    def _concat(self, tensors: Sequence[str]) -> str:
        self._buses.add(tuple(tensors))
        flat = [self._flat(tensor) for tensor in tensors]
        if len(flat) == 1:
            return flat[0]
        return self._node("Concat", flat, (sum(map(self._size, tensors)),), axis=1)

    def _flat(self, tensor: str) -> str:
        size = self._size(tensor)
        if len(self._rows[tensor]) == 1:
            return tensor
        return self._node("Reshape", [tensor, self._constant(np.array([-1, size]))], (size,))

    def _size(self, tensor: str) -> int:
        return math.prod(self._rows[tensor])

    def _constant(self, values: NDArray[Any]) -> str:
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._done:
            self._done[key] = f"{self._prefix}_constant_{len(self._done)}"
            self._fixed[self._done[key]] = values
        return self._done[key]

    def _node(self, kind: str, inputs: Sequence[str], row: _Row, **settings: int) -> str:
        """The result of a node, made once for the same inputs."""
        key = (kind, *inputs, *settings.items())
        if key not in self._done:
            name = f"{self._prefix}_{kind.lower()}_{len(self._nodes)}"
            self._nodes.append(_node(kind, inputs, name, **settings))
            self._rows[name] = row
            self._done[key] = name
        return self._done[key]


def _node(kind: str, inputs: Sequence[str], output: str, **settings: int) -> "onnx.NodeProto":
    from onnx import helper

    attributes: dict[str, Any] = dict(settings)
    return helper.make_node(kind, list(inputs), [output], name=f"node_{output}", **attributes)


def grouped(numbers: Sequence[Number]) -> list[list[Number]]:
    """Operations in an order in which they can be done, those in one list at once.

    `numbers` hold what the others need. An operation that others wait for is done as late as they allow, together with
    those of its kind that cannot be done at another time; one that only the end waits for, as early.
    """
    last = max((number.depth for number in numbers), default=0)
    latest = dict.fromkeys(numbers, last)
    awaited: set[Number] = set()
    for number in sorted(numbers, key=lambda number: -number.depth):
        for argument in {other for form in number.arguments for other, _ in form.terms} & latest.keys():
            latest[argument] = min(latest[argument], latest[number] - 1)
            awaited.add(argument)
    groups: dict[tuple[int, str, tuple[float, ...]], list[Number]] = {}

    def key(number: Number, level: int) -> tuple[int, str, tuple[float, ...]]:
        return level, number.kind, number.settings

    for number in sorted(numbers, key=lambda number: latest[number] - number.depth):
        levels = range(number.depth, latest[number] + 1)
        there = [level for level in levels if key(number, level) in groups]
        level = (there[-1] if number in awaited else there[0]) if there else number.depth
        groups.setdefault(key(number, level), []).append(number)
    order = {number: i for i, number in enumerate(numbers)}
    return [sorted(group, key=order.__getitem__) for _, group in sorted(groups.items(), key=lambda item: item[0][0])]


def _as_asked_for(numbers: Sequence[Number], later: Sequence[Sequence[Number]]) -> list[Number]:
    """The numbers in the order, and as often, as one later operation takes them, if one takes these and no others.

    To compute a number eight times costs less than to pick it out eight times, or to broadcast it.
    """
    for group in later:
        for column in zip(*(number.arguments for number in group), strict=True):
            singles = [form.single for form in column]
            if set(singles) == set(numbers):
                return [number for number in singles if number is not None]
    return list(numbers)
