"""The contract between a policy and a vehicle: what goes in, what comes out, and everything else that either must know.

A `Contract` says what every input and output means, which state the policy starts from, the limits of the safety net,
versions, where it was trained, how it did, and a golden sequence that every runtime must reproduce. In a bundle
(`robo_ppo.export.bundle`) it is one JSON document:

    text = contract_to_json(contract)                # one line of ASCII; float32 and float64 survive exactly
    assert contract_from_json(text) == contract      # ValueError names the place of whatever does not belong

Nothing here imports torch or onnx.
"""

import dataclasses
import json
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, cast, get_args, get_origin, get_type_hints

import numpy as np

from robo_ppo.errors import did_you_mean

SCHEMA = 1
STATE_IN, STATE_OUT = "state_in", "state_out"

Array = np.ndarray[tuple[Any, ...], np.dtype[np.float32]]  # in full: from NumPy 2.5 on, NDArray hides its class


@dataclass(frozen=True, kw_only=True)
class Port:
    """One input (a measurement) or output (a command) of the policy; shapes leave out the batch axis.

    `noise` (standard deviation), `bias`, `dropout` (probability) and `delay` (s, from and to; of a command, until it
    takes effect) say what the policy was trained with: to compare with what the vehicle shows, never to apply on board.
    `lower` and `upper` are the limits of an output, one number per element.
    """

    name: str
    shape: tuple[int, ...]
    unit: str
    frame: str | None = None
    quaternion_order: str | None = None
    noise: float | None = None
    bias: float | None = None
    dropout: float | None = None
    delay: tuple[float, float] | None = None
    lower: tuple[float, ...] | None = None
    upper: tuple[float, ...] | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        """Refuse what no vehicle could interpret."""
        _require_shape(self.name, self.shape)
        if self.name in (STATE_IN, STATE_OUT):
            raise ValueError(f"'{self.name}' is the name of the packed state, not of a port")
        if self.quaternion_order not in (None, "wxyz"):
            raise ValueError(f"{self.name}: quaternion order '{self.quaternion_order}', where only 'wxyz' is used")
        for label, value, most in (("noise", self.noise, math.inf), ("dropout", self.dropout, 1.0)):
            if value is not None and not 0.0 <= value <= most:
                raise ValueError(f"{self.name}: {label} {value} is out of range")
        if self.delay is not None and not 0.0 <= self.delay[0] <= self.delay[1]:
            raise ValueError(f"{self.name}: delay {self.delay} is not a range of seconds")
        for label, limits in (("lower", self.lower), ("upper", self.upper)):
            if limits is not None and len(limits) != math.prod(self.shape):
                raise ValueError(f"{self.name}: {len(limits)} {label} limits for shape {self.shape}")
        if self.lower and self.upper and any(low > high for low, high in zip(self.lower, self.upper, strict=True)):
            raise ValueError(f"{self.name}: a lower limit lies above its upper limit")


@dataclass(frozen=True, kw_only=True)
class StateSlice:
    """A named part of the packed state vector, in order; `initial` holds its values after a reset, flattened."""

    name: str
    shape: tuple[int, ...]
    initial: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check that the initial values fill the shape."""
        _require_shape(self.name, self.shape)
        if len(self.initial) != math.prod(self.shape):
            raise ValueError(f"state '{self.name}': {len(self.initial)} initial values for shape {self.shape}")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Where the weights come from; `config` is the run's resolved YAML.

    `learner` holds, flattened, what training needs to go on from this policy and the graph does not have, by the names
    of the learner's own tensors (`robo_ppo.export.weights`); a vehicle does not need it.
    """

    commit: str
    seed: int
    steps: int
    config: str
    learner: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])


@dataclass(frozen=True, kw_only=True, eq=False)
class Golden:
    """A sequence of T steps from the initial state, state fed back: finite float32 arrays `(T, *shape)` by port."""

    inputs: Mapping[str, Array]
    outputs: Mapping[str, Array]

    def __post_init__(self) -> None:
        """Check that every array is float32 and finite, so that JSON carries it exactly."""
        for name, values in (*self.inputs.items(), *self.outputs.items()):
            if values.dtype != np.float32 or not np.isfinite(values).all():
                raise ValueError(f"golden values of '{name}' are not finite float32")

    def __eq__(self, other: object) -> bool:
        """Equal when every array is, element by element."""
        if not isinstance(other, Golden):
            return NotImplemented
        return _same_arrays(self.inputs, other.inputs) and _same_arrays(self.outputs, other.outputs)


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Everything that a vehicle, a verifier or a reader needs to know about a policy.

    `control_period` is in seconds; `inputs` and `outputs` are in the order of the graph, which adds `state_in` and
    `state_out` at the end when there is a `state`; `limits` are those of the safety net by name; `evaluation` is plain
    JSON or None before the policy was evaluated; `sha256` is filled in by `write_bundle`.
    """

    schema: int = SCHEMA
    task: str
    robot: str
    control_period: float
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    state: tuple[StateSlice, ...]
    limits: Mapping[str, float]
    versions: Mapping[str, str]
    training: Training
    evaluation: Mapping[str, object] | None = None
    golden: Golden
    sha256: str = ""

    def __post_init__(self) -> None:
        """Check what the parts must be to one another."""
        if not self.control_period > 0.0:
            raise ValueError(f"control period {self.control_period} s is not positive")
        if not self.inputs or not self.outputs:
            raise ValueError("a policy needs at least one input and one output")
        for label, names in (
            ("ports", [port.name for port in (*self.inputs, *self.outputs)]),
            ("states", [part.name for part in self.state]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"two {label} share a name: {', '.join(sorted(names))}")
        _require_golden("inputs", self.inputs, self.golden.inputs)
        _require_golden("outputs", self.outputs, self.golden.outputs)
        if len({len(values) for values in (*self.golden.inputs.values(), *self.golden.outputs.values())}) != 1:
            raise ValueError("golden sequences differ in length")

    @property
    def initial_state(self) -> Array:
        """The packed state vector after a reset, shape (S,)."""
        return np.array([value for part in self.state for value in part.initial], dtype=np.float32)


def _require_shape(name: str, shape: tuple[int, ...]) -> None:
    if not name:
        raise ValueError("a name is empty")
    if any(size < 1 for size in shape):
        raise ValueError(f"'{name}' has shape {shape}; every axis needs at least one element")


def _require_golden(label: str, ports: Sequence[Port], values: Mapping[str, Array]) -> None:
    if list(values) != [port.name for port in ports]:
        raise ValueError(f"golden {label} are {', '.join(values)}, not {', '.join(port.name for port in ports)}")
    for port in ports:
        shape = values[port.name].shape
        if shape[1:] != port.shape or shape[:1] == (0,):
            raise ValueError(f"golden values of '{port.name}' have shape {shape}, not (steps, *{port.shape})")


def _same_arrays(one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    return list(one) == list(other) and all(np.array_equal(one[name], other[name]) for name in one)


def contract_to_json(contract: Contract) -> str:
    """The contract as one line of ASCII JSON with every key, the hash first; float32 and float64 survive exactly."""
    document = cast(dict[str, object], _to_json(contract))
    return json.dumps({"sha256": document.pop("sha256"), **document}, allow_nan=False)


def contract_from_json(text: str) -> Contract:
    """The contract from JSON with every key and no other; ValueError names the place of whatever does not belong."""
    document = cast(dict[str, object], _expect(dict, json.loads(text, parse_constant=_refuse_constant), "contract"))
    schema = document.get("schema")
    if type(schema) is int and schema != SCHEMA:  # a newer document may differ in anything else: say only this
        raise ValueError(f"its schema is {schema}; this version of robo_ppo reads schema {SCHEMA}")
    return _from_json(Contract, document, "contract")


def _to_json(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in cast(Mapping[str, object], value).items()}
    if isinstance(value, tuple):
        return [_to_json(item) for item in cast(tuple[object, ...], value)]
    return cast(Array, value).tolist() if isinstance(value, np.ndarray) else value


def _from_json(hint: Any, value: object, where: str) -> Any:
    """Build what the type `hint` asks for from parsed JSON, strictly; `where` is the path for messages."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is object:
        return value
    if origin is types.UnionType:  # `X | None`, the only union there is
        return None if value is None else _from_json(arguments[0], value, where)
    if dataclasses.is_dataclass(hint):
        return _record_from_json(cast(type, hint), value, where)
    if origin is Mapping:
        items = cast(dict[str, object], _expect(dict, value, where))
        return {key: _from_json(arguments[1], item, f"{where}.{key}") for key, item in items.items()}
    if origin is tuple:
        entries = cast(list[object], _expect(list, value, where))
        hints = [arguments[0]] * len(entries) if arguments[-1] is Ellipsis else arguments
        if len(entries) != len(hints):
            raise ValueError(f"{where} has {len(entries)} entries, not {len(hints)}")
        return tuple(_from_json(hints[i], entry, f"{where}[{i}]") for i, entry in enumerate(entries))
    if origin is np.ndarray:
        return _array_from_json(value, where)
    number = float(value) if hint is float and type(value) is int else value
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"{where} is not finite")
    return _expect(hint, number, where)


def _record_from_json(record: type, value: object, where: str) -> Any:
    given = cast(dict[str, object], _expect(dict, value, where))
    hints = _hints(record)
    for key in given:
        if key not in hints:
            raise ValueError(f"{where} has an unknown key '{key}' ({did_you_mean(key, hints)})")
    for key in hints:
        if key not in given:
            raise ValueError(f"{where} lacks the key '{key}'")
    fields = {key: _from_json(hint, given[key], f"{where}.{key}") for key, hint in hints.items()}
    try:
        return record(**fields)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _array_from_json(value: object, where: str) -> Array:
    try:
        exact = np.asarray(_expect(list, value, where))
    except ValueError as error:
        raise ValueError(f"{where} is not a list, or its rows differ in length") from error
    if exact.dtype.kind not in "if":
        raise ValueError(f"{where} holds something other than numbers")
    with np.errstate(over="ignore"):
        single = exact.astype(np.float32)
    if not np.array_equal(exact, single):
        raise ValueError(f"{where} holds a number that is not a float32")
    return single


def _expect(kind: type, value: object, where: str) -> object:
    if type(value) is not kind:
        shown = repr(value)
        raise ValueError(f"{where} is {shown if len(shown) <= 60 else shown[:57] + '...'}, which is no {kind.__name__}")
    return value


def _refuse_constant(text: str) -> object:
    raise ValueError(f"its metadata holds {text}, which is no JSON number")


@cache
def _hints(record: type) -> dict[str, Any]:
    return get_type_hints(record)
