"""The contract as JSON: exact, complete, and nothing else accepted."""

import dataclasses
import json
import math
from collections.abc import Callable, Iterator

import hypothesis.extra.numpy as npst
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_ppo_onboard.contract import (
    Contract,
    Fallback,
    Golden,
    Port,
    StateSlice,
    Training,
    contract_from_json,
    contract_to_json,
)

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SHAPES = st.lists(st.integers(1, 3), max_size=2).map(tuple) | st.just((4,))
SINGLES = st.floats(allow_nan=False, allow_infinity=False, width=32)
COMMANDS = st.lists(FLOATS, min_size=2, max_size=4, unique=True).map(sorted)
THROTTLES = COMMANDS.map(lambda points: tuple((x, i / len(points)) for i, x in enumerate(points)))
NAMES = st.text(min_size=1, max_size=8).filter(lambda name: name not in ("state_in", "state_out"))


@st.composite
def ports(draw: st.DrawFn, name: str) -> Port:
    shape = draw(SHAPES)
    size = math.prod(shape)
    limits = st.none() | st.lists(FLOATS, min_size=size, max_size=size)
    lower, upper = draw(limits), draw(limits)
    if lower is not None and upper is not None:
        lower, upper = np.minimum(lower, upper).tolist(), np.maximum(lower, upper).tolist()
    return Port(
        name=name,
        shape=shape,
        unit=draw(st.text(max_size=4)),
        frame=draw(st.none() | st.text(max_size=4)),
        quaternion_order=draw(st.sampled_from([None, "wxyz"])) if shape == (4,) else None,
        noise=draw(st.none() | st.floats(0, 10)),
        bias=draw(st.none() | FLOATS),
        dropout=draw(st.none() | st.floats(0, 1)),
        delay=draw(st.none() | st.tuples(st.floats(0, 1), st.floats(1, 2))),
        lower=None if lower is None else tuple(lower),
        upper=None if upper is None else tuple(upper),
        throttle=draw(st.none() | THROTTLES),
        note=draw(st.none() | st.text()),
    )


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    names = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    every = [draw(ports(name)) for name in names]
    cut = draw(st.integers(1, len(every) - 1))
    steps = draw(st.integers(1, 3))
    golden = {port.name: draw(npst.arrays(np.float32, (steps, *port.shape), elements=SINGLES)) for port in every}
    shape = draw(SHAPES)
    initial = tuple(draw(st.lists(SINGLES, min_size=math.prod(shape), max_size=math.prod(shape))))
    integers = st.integers(-(2**70), 2**70)
    return Contract(
        task=draw(st.text()),
        robot=draw(st.text()),
        control_period=draw(st.floats(1e-6, 10)),
        inputs=tuple(every[:cut]),
        outputs=tuple(every[cut:]),
        state=tuple(StateSlice(name=name, shape=shape, initial=initial) for name in draw(st.sets(NAMES, max_size=2))),
        limits=draw(st.dictionaries(st.text(), FLOATS, max_size=2)),
        fallback=Fallback(draw(st.text()), draw(st.dictionaries(st.text(), FLOATS, max_size=2))),
        versions=draw(st.dictionaries(st.text(), st.text(), max_size=2)),
        training=Training(commit=draw(st.text()), seed=draw(integers), steps=draw(integers), config=draw(st.text())),
        evaluation=draw(st.none() | st.dictionaries(st.text(), FLOATS | st.lists(st.text()) | st.none(), max_size=2)),
        golden=Golden(
            inputs={name: golden[name] for name in names[:cut]}, outputs={name: golden[name] for name in names[cut:]}
        ),
        sha256=draw(st.text(max_size=3)),
    )


@given(contracts())
@settings(max_examples=60, deadline=None)
def test_every_contract_survives_json_bit_for_bit(contract: Contract) -> None:
    text = contract_to_json(contract)
    again = contract_from_json(text)
    assert again == contract
    assert contract_to_json(again) == text
    for mine, theirs in (
        (contract.golden.inputs, again.golden.inputs),
        (contract.golden.outputs, again.golden.outputs),
    ):
        for name in mine:
            np.testing.assert_array_equal(mine[name].view(np.int32), theirs[name].view(np.int32))


def records(document: object) -> Iterator[dict[str, object]]:
    """Every object of the document whose keys the schema fixes."""
    if isinstance(document, list):
        for item in document:
            yield from records(item)
    if isinstance(document, dict):
        yield document
        for key, value in document.items():
            if key not in ("limits", "numbers", "versions", "evaluation", "inputs", "outputs") or isinstance(
                value, list
            ):
                yield from records(value)


def test_every_missing_unknown_or_mistyped_key_is_named(document: dict[str, object]) -> None:
    spoilt = 0
    for index, record in enumerate(records(document)):
        for key in record:
            for spoil in (lambda r, k: r.pop(k), lambda r, k: r.update({k + "x": 1}), lambda r, k: r.update({k: True})):
                copy = json.loads(json.dumps(document))
                spoil(list(records(copy))[index], key)
                with pytest.raises(ValueError, match=key):
                    contract_from_json(json.dumps(copy))
                spoilt += 1
    assert spoilt > 200


def test_a_contract_is_one_json_object() -> None:
    for text in ("[]", "3", "null", "", "{", "{}"):
        with pytest.raises(ValueError):
            contract_from_json(text)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(schema=2), "schema is 2; this version reads schema 1"),
        (lambda d: d.update(schema=True), r"contract\.schema is True, which is no int"),
        (lambda d: d.update(control_period=0), "control period"),
        (lambda d: d.update(control_period="0.02"), r"contract\.control_period is '0.02', which is no float"),
        (lambda d: d.update(inputs=[]), "at least one input"),
        (lambda d: d.update(inputs=d["inputs"] * 2), "share a name"),
        (lambda d: d["state"].append(d["state"][0]), "share a name"),
        (lambda d: d["inputs"].reverse(), "golden inputs are"),
        (lambda d: d["inputs"][1].update(quaternion_order="xyzw"), "only 'wxyz' is used"),
        (lambda d: d["inputs"][0].update(quaternion_order="wxyz"), r"position: a quaternion of shape \(3,\)"),
        (lambda d: d["outputs"][0].update(throttle=[[0.0, 0.0]]), "must rise from point to point"),
        (lambda d: d["outputs"][0].update(throttle=[[0.0, 0.5], [1.0, 0.5]]), "must rise from point to point"),
        (lambda d: d["outputs"][0].update(throttle=[[0.0, 0.0], [1.0, 1.1]]), "within 0 and 1"),
        (lambda d: d["outputs"][0].update(throttle=[[0.0, 0.0], [1.0]]), r"throttle\[1\] has 1 entries, not 2"),
        (lambda d: d["fallback"].update(kind=None), r"fallback\.kind is None, which is no str"),
        (lambda d: d["limits"].update(max_tilt_rad="1"), r"limits\.max_tilt_rad is '1', which is no float"),
        (lambda d: d["limits"].update(max_tilt_rad=10**400), r"limits\.max_tilt_rad is too large"),
        (lambda d: d["state"][0]["initial"].__setitem__(0, 1e39), "initial value is not a float32"),
        (lambda d: d.update(task="half of \ud83d"), "surrogate"),
        (lambda d: d["versions"].update({"\ud83d": ""}), "surrogate"),
        (lambda d: d["inputs"][0].update(delay=[0.02, 0.0]), "not a range of seconds"),
        (lambda d: d["inputs"][0].update(delay=[0.02]), r"delay has 1 entries, not 2"),
        (lambda d: d["inputs"][0].update(noise=-1.0), "noise -1.0 is out of range"),
        (lambda d: d["inputs"][0].update(dropout=1.5), "dropout 1.5 is out of range"),
        (lambda d: d["inputs"][0].update(shape=[0]), "at least one element"),
        (lambda d: d["inputs"][0].update(name=""), "name is empty"),
        (lambda d: d["inputs"][0].update(name="state_in"), "packed state"),
        (lambda d: d["inputs"][0].update(unti="m"), "unknown key 'unti' .did you mean unit"),
        (lambda d: d["outputs"][0].update(lower=[9.0]), "lower limit lies above"),
        (lambda d: d["outputs"][0].update(upper=[8.0, 8.0]), "2 upper limits"),
        (lambda d: d["state"][0]["initial"].pop(), "3 initial values"),
        (lambda d: d["golden"]["inputs"].pop("goal"), "golden inputs are position, attitude"),
        (lambda d: d["golden"]["outputs"]["thrust"].pop(), "differ in length"),
        (lambda d: d["golden"]["outputs"]["thrust"][0].pop(), "thrust"),
        (lambda d: d["golden"]["outputs"].update(thrust=[]), "golden values of 'thrust' have shape"),
        (lambda d: d["golden"]["outputs"]["thrust"].__setitem__(0, [0.1]), "not a float32"),
        (lambda d: d["golden"]["outputs"]["thrust"].__setitem__(0, [1e300]), "not a float32"),
        (lambda d: d["golden"]["outputs"]["thrust"].__setitem__(0, ["1"]), "other than numbers"),
        (lambda d: d["golden"]["outputs"]["thrust"].__setitem__(0, [None]), "other than numbers"),
        (lambda d: d["golden"]["outputs"]["thrust"].__setitem__(0, [True]), "other than numbers"),
        (lambda d: d["golden"]["outputs"]["thrust"].__setitem__(0, [10**400]), "not a float32"),
        (lambda d: d["golden"]["outputs"]["thrust"].__setitem__(0, [2**24 + 1]), "not a float32"),
    ],
)
def test_values_that_no_vehicle_could_use_are_refused(
    document: dict[str, object], change: Callable[[dict[str, object]], object], message: str
) -> None:
    copy = json.loads(json.dumps(document))
    change(copy)
    with pytest.raises(ValueError, match=message):
        contract_from_json(json.dumps(copy))


def test_a_key_may_not_stand_there_twice(contract: Contract) -> None:
    text = contract_to_json(contract)
    for key in ("sha256", "task", "max_tilt_rad"):
        twice = text.replace(f'"{key}": ', f'"{key}": 0, "{key}": ')
        with pytest.raises(ValueError, match=f"the key '{key}' twice"):
            contract_from_json(twice)


def test_nesting_without_end_is_refused(contract: Contract) -> None:
    deep = contract_to_json(contract).replace('"evaluation": null', '"evaluation": {"a": ' + "[" * 100_000)
    with pytest.raises(ValueError, match="nested without end"):
        contract_from_json(deep)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_only_finite_numbers_are_json(contract: Contract, number: str) -> None:
    text = contract_to_json(contract).replace('"control_period": 0.02', f'"control_period": {number}')
    with pytest.raises(ValueError, match="no finite number"):
        contract_from_json(text)
    anywhere = contract_to_json(contract).replace('"evaluation": null', f'"evaluation": {{"success": {number}}}')
    with pytest.raises(ValueError, match="no finite number"):
        contract_from_json(anywhere)


def test_values_that_json_cannot_carry_are_not_written(contract: Contract) -> None:
    with pytest.raises(ValueError, match="JSON"):
        contract_to_json(dataclasses.replace(contract, evaluation={"time_to_goal": math.nan}))
    with pytest.raises(ValueError, match="finite float32"):
        Golden(inputs={"x": np.array([[math.nan]], dtype=np.float32)}, outputs={})
    with pytest.raises(ValueError, match="finite float32"):
        Golden(inputs={"x": np.zeros((1, 1))}, outputs={})  # pyright: ignore[reportArgumentType]
