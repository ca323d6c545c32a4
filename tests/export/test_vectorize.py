"""Fewer nodes, the same results: on what a person could write, on random algebra, and on what is shipped."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from robo_ppo.export.bundle import parse_model
from robo_ppo.export.vectorize import vectorize
from robo_ppo.run.folder import shipped_policies
from robo_ppo_onboard.bundle import read_bundle

Array = np.ndarray


def session_of(model: onnx.ModelProto) -> Any:
    """The model on onnxruntime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def model_of(
    nodes: list[onnx.NodeProto], inputs: dict[str, int], outputs: dict[str, tuple[int, ...]], **fixed: Array
) -> onnx.ModelProto:
    """A graph of float tensors whose first axis is the batch."""

    def value(name: str, row: tuple[int, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *row])

    graph = helper.make_graph(
        nodes,
        "graph",
        [value(name, (size,)) for name, size in inputs.items()],
        [value(name, row) for name, row in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in fixed.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, rows: int = 5, seed: int = 0) -> list[Array]:
    """What onnxruntime computes from some numbers."""
    random = np.random.default_rng(seed)
    feed = {
        value.name: random.uniform(
            0.2, 2.0, (rows, *(axis.dim_value for axis in value.type.tensor_type.shape.dim[1:]))
        ).astype(np.float32)
        for value in model.graph.input
    }
    return session_of(model).run(None, feed)


def check_same(model: onnx.ModelProto) -> onnx.ModelProto:
    faster = vectorize(model)
    assert [v.name for v in faster.graph.output] == [v.name for v in model.graph.output]
    for rows in (1, 5):
        for was, now in zip(run(model, rows), run(faster, rows), strict=True):
            assert was.shape == now.shape
            np.testing.assert_allclose(now, was, rtol=2e-5, atol=2e-6)
    return faster


@pytest.mark.parametrize("name", shipped_policies())
def test_a_shipped_policy_has_few_nodes_and_keeps_its_weights(name: str) -> None:
    model = parse_model(read_bundle(shipped_policies()[name]).model)
    faster = check_same(model)
    assert len(faster.graph.node) <= 34
    kept = {tensor.name for tensor in faster.graph.initializer}
    assert {f"policy.actor.{layer}.weight" for layer in (0, 2, 4)} <= kept
    assert len(check_same(faster).graph.node) <= len(faster.graph.node), "nothing is left to do"


def test_a_rotation_is_a_few_products() -> None:
    class Rotation(torch.nn.Module):
        def forward(self, q: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            w, x, y, z = (q / q.norm(dim=1, keepdim=True)).unbind(1)
            a, b, c = v.unbind(1)
            rows = [
                (1 - 2 * (y * y + z * z)) * a + 2 * (x * y - w * z) * b + 2 * (x * z + w * y) * c,
                2 * (x * y + w * z) * a + (1 - 2 * (x * x + z * z)) * b + 2 * (y * z - w * x) * c,
                2 * (x * z - w * y) * a + 2 * (y * z + w * x) * b + (1 - 2 * (x * x + y * y)) * c,
            ]
            return torch.stack(rows, 1)

    from robo_ppo.export.onnx import to_onnx

    torch.manual_seed(0)
    q, v = torch.randn(6, 4), torch.randn(6, 3)
    model = to_onnx(Rotation(), {"q": q, "v": v}, ["turned"])
    assert len(model.graph.node) <= 12
    session = session_of(model)
    (turned,) = session.run(None, {"q": q.numpy(), "v": v.numpy()})
    np.testing.assert_allclose(turned, Rotation()(q, v).numpy(), atol=2e-6)


UNARY = ("Sqrt", "Abs", "Exp", "Tanh", "Sigmoid", "Relu", "Sin", "Neg")
BINARY = ("Add", "Sub", "Mul", "Div")


@st.composite
def graphs(draw: st.DrawFn) -> onnx.ModelProto:
    """Random algebra on tensors of 1 to 5 numbers: operations, pieces, and pieces put together."""
    fixed = {f"i{n}": np.array([n]) for n in range(6)} | {
        "two": np.array(2.0, np.float32),
        "low": np.array(0.4, np.float32),
    }
    sizes = {"a": 3, "b": 4, "c": 1}
    nodes: list[onnx.NodeProto] = []
    for step in range(draw(st.integers(3, 25))):
        name, source = f"t{step}", draw(st.sampled_from(sorted(sizes)))
        size = sizes[source]
        kind = draw(
            st.sampled_from(
                ["slice", "concat", "unary", "binary", "binary", "constant", "pow", "clip", "sum", "gather", "gemm"]
            )
        )
        if kind == "slice":
            start = draw(st.integers(0, size - 1))
            end = draw(st.integers(start + 1, size))
            nodes.append(helper.make_node("Slice", [source, f"i{start}", f"i{end}", "i1"], [name]))
            size = end - start
        elif kind == "concat":
            other = draw(st.sampled_from(sorted(sizes)))
            if size + sizes[other] > 5:
                continue
            nodes.append(helper.make_node("Concat", [source, other], [name], axis=1))
            size += sizes[other]
        elif kind == "unary":
            inner = f"{name}_positive"
            nodes.append(helper.make_node("Abs", [source], [inner]))
            squashed = f"{name}_squashed"
            nodes.append(helper.make_node("Tanh", [inner], [squashed]))
            nodes.append(helper.make_node(draw(st.sampled_from(UNARY)), [squashed], [name]))
        elif kind == "binary":
            other = draw(st.sampled_from([n for n, s in sorted(sizes.items()) if s in (size, 1)]))
            operation = draw(st.sampled_from(BINARY))
            if operation == "Div":
                nodes.append(helper.make_node("Exp", [other], [f"{name}_positive"]))
                other = f"{name}_positive"
            nodes.append(helper.make_node(operation, [source, other], [f"{name}_wide"]))
            nodes.append(helper.make_node("Tanh", [f"{name}_wide"], [name]))
        elif kind == "constant":
            values = np.array(
                draw(st.lists(st.sampled_from([-2.0, -0.5, 0.25, 1.0, 3.0]), min_size=size, max_size=size)), np.float32
            )
            fixed[f"{name}_values"] = draw(st.sampled_from([values, values[:1], values[None]]))
            operands = draw(st.permutations([source, f"{name}_values"]))
            nodes.append(helper.make_node(draw(st.sampled_from(["Add", "Sub", "Mul"])), operands, [name]))
        elif kind == "pow":
            nodes.append(helper.make_node("Pow", [source, "two"], [name]))
        elif kind == "clip":
            nodes.append(helper.make_node("Clip", [source, "low", draw(st.sampled_from(["", "two"]))], [name]))
        elif kind == "sum":
            nodes.append(helper.make_node("ReduceSum", [source, "i1"], [name], keepdims=1))
            size = 1
        elif kind == "gather":
            picked = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=5))
            fixed[f"{name}_picked"] = np.array(picked)
            nodes.append(helper.make_node("Gather", [source, f"{name}_picked"], [name], axis=1))
            size = len(picked)
        else:  # a network: stays as it is
            weights = np.linspace(-1.0, 1.0, size * 2, dtype=np.float32).reshape(size, 2)
            fixed[f"{name}_weights"] = weights
            nodes.append(helper.make_node("Gemm", [source, f"{name}_weights"], [name]))
            size = 2
        sizes[name] = size
    last = [name for name in sizes if name.startswith("t")][-3:]
    outputs: dict[str, tuple[int, ...]] = {f"out_{i}": (sizes[name],) for i, name in enumerate(last)}
    nodes += [helper.make_node("Identity", [name], [f"out_{i}"]) for i, name in enumerate(last)]
    if last and draw(st.booleans()):
        fixed["first"] = np.array(0)
        nodes.append(helper.make_node("Gather", [last[-1], "first"], ["single"], axis=1))
        outputs["single"] = ()
    if not last:
        nodes, outputs = [helper.make_node("Neg", ["a"], ["out"])], {"out": (3,)}
    return model_of(nodes, {"a": 3, "b": 4, "c": 1}, outputs, **fixed)


@given(graphs())
def test_random_algebra_gives_the_same(model: onnx.ModelProto) -> None:
    check_same(model)


def test_what_is_not_understood_stays() -> None:
    nodes = [
        helper.make_node("Greater", ["a", "b"], ["larger"]),
        helper.make_node("Where", ["larger", "a", "b"], ["chosen"]),
        helper.make_node("CumSum", ["chosen", "axis"], ["sums"]),
        helper.make_node("Mul", ["sums", "a"], ["out"]),
    ]
    faster = check_same(model_of(nodes, {"a": 3, "b": 3}, {"out": (3,)}, axis=np.array(1)))
    assert {"Greater", "Where", "CumSum"} <= {node.op_type for node in faster.graph.node}


def test_a_normalizer_that_subtracts_something_large_keeps_its_digits() -> None:
    """Folded into one product, x · 1e4 - 1e4 would lose four digits."""
    mean, scale = np.full(4, 1.0, np.float32), np.full(4, 1e4, np.float32)
    nodes = [
        helper.make_node("Sub", ["b", "mean"], ["difference"]),
        helper.make_node("Mul", ["difference", "scale"], ["out"]),
    ]
    faster = vectorize(model_of(nodes, {"b": 4}, {"out": (4,)}, mean=mean, scale=scale))
    session = session_of(faster)
    given = np.nextafter(np.ones((1, 4), np.float32), np.float32(2))
    np.testing.assert_array_equal(session.run(None, {"b": given})[0], (given - mean) * scale)


def test_wide_tensors_are_not_taken_apart() -> None:
    nodes = [helper.make_node("Mul", ["x", "x"], ["y"]), helper.make_node("Tanh", ["y"], ["out"])]
    faster = check_same(model_of(nodes, {"x": 100}, {"out": (100,)}))
    assert [node.op_type for node in faster.graph.node] == ["Mul", "Tanh"]


def test_bounds_that_are_computed_are_not_taken_for_constants() -> None:
    nodes = [helper.make_node("Clip", ["a", "low"], ["clipped"]), helper.make_node("Neg", ["clipped"], ["out"])]
    check_same(model_of(nodes, {"a": 3}, {"out": (3,)}, low=np.array(0.7, np.float32)))
    parts = [
        helper.make_node("ReduceMax", ["c"], ["bound"], keepdims=0),
        helper.make_node("Clip", ["a", "bound"], ["clipped"]),
        helper.make_node("Neg", ["clipped"], ["out"]),
    ]
    check_same(model_of(parts, {"a": 3, "c": 1}, {"out": (3,)}))


def test_a_tensor_with_other_rows_than_the_batch_stays_apart() -> None:
    nodes = [
        helper.make_node("Reshape", ["b", "tall"], ["rows"]),
        helper.make_node("Sqrt", ["rows"], ["roots"]),
        helper.make_node("Sqrt", ["a"], ["others"]),
        helper.make_node("Reshape", ["roots", "wide"], ["one"]),
        helper.make_node("Neg", ["others"], ["two"]),
    ]
    fixed = {"tall": np.array([-1, 2]), "wide": np.array([-1, 4])}
    check_same(model_of(nodes, {"a": 3, "b": 4}, {"one": (4,), "two": (3,)}, **fixed))


def test_a_graph_with_a_branch_is_left_alone() -> None:
    def branch(kind: str) -> onnx.GraphProto:
        result = helper.make_tensor_value_info("result", TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(kind, ["twice"], ["result"])], kind, [], [result])

    nodes = [
        helper.make_node("Add", ["a", "a"], ["twice"]),
        helper.make_node("If", ["yes"], ["out"], then_branch=branch("Neg"), else_branch=branch("Abs")),
    ]
    model = model_of(nodes, {"a": 3}, {"out": (3,)}, yes=np.array(True))
    assert check_same(model) == model
