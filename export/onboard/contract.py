"""The contract between a policy and a vehicle: what goes in, what comes out, and everything else that either must know.

A `Contract` says what every input and output means, which state the policy starts from, the limits of the safety net
and its fallback, versions, where it was trained, how it did, and a golden sequence that every runtime must reproduce.
In a bundle (`robo_ppo_onboard.bundle`) it is one JSON document:

    text = contract_to_json(contract)                # one line of ASCII; float32 and float64 survive exactly
    assert contract_from_json(text) == contract      # ValueError names the place of whatever does not belong
"""

import collections.abc
import dataclasses
import json
import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

from .errors import did_you_mean

SCHEMA = 1
STATE_IN, STATE_OUT = "state_in", "state_out"
LARGEST = float(np.finfo(np.float32).max)

if TYPE_CHECKING:
    Array = np.ndarray[Tuple[Any, ...], np.dtype[np.float32]]  # in full: from NumPy 2.5 on, NDArray hides its class
else:
    Array = np.ndarray  # which cannot be subscripted under Python 3.8


@dataclass(frozen=True)
class Port:
    """One input (a measurement) or output (a command) of the policy; shapes leave out the batch axis.

    `noise` (standard deviation), `bias`, `dropout` (probability) and `delay` (s, from and to; of a command, until it
    takes effect) say what the policy was trained with: to compare with what the vehicle shows, never to apply on board.
    `lower` and `upper` are limits, one number per element: of an output, what may be commanded; of an input, what the
    sensor can say at all. `throttle` maps a command of thrust to a part of full throttle: points (command, 0 to 1),
    both increasing, linear between them.
    """

    name: str
    shape: Tuple[int, ...]
    unit: str
    frame: Optional[str] = None
    quaternion_order: Optional[str] = None
    noise: Optional[float] = None
    bias: Optional[float] = None
    dropout: Optional[float] = None
    delay: Optional[Tuple[float, float]] = None
    lower: Optional[Tuple[float, ...]] = None
    upper: Optional[Tuple[float, ...]] = None
    throttle: Optional[Tuple[Tuple[float, float], ...]] = None
    note: Optional[str] = None

    def __post_init__(self) -> None:
        """Refuse what no vehicle could interpret."""
        _require_shape(self.name, self.shape)
        if self.name in (STATE_IN, STATE_OUT):
            raise ValueError(f"'{self.name}' is the name of the packed state, not of a port")
        if self.quaternion_order not in (None, "wxyz"):
            raise ValueError(f"{self.name}: quaternion order '{self.quaternion_order}', where only 'wxyz' is used")
        if self.quaternion_order is not None and self.shape != (4,):
            raise ValueError(f"{self.name}: a quaternion of shape {self.shape}, not (4,)")
        for label, value, most in (("noise", self.noise, math.inf), ("dropout", self.dropout, 1.0)):
            if value is not None and not 0.0 <= value <= most:
                raise ValueError(f"{self.name}: {label} {value} is out of range")
        if self.delay is not None and not 0.0 <= self.delay[0] <= self.delay[1]:
            raise ValueError(f"{self.name}: delay {self.delay} is not a range of seconds")
        for label, limits in (("lower", self.lower), ("upper", self.upper)):
            if limits is not None and len(limits) != self.size:
                raise ValueError(f"{self.name}: {len(limits)} {label} limits for shape {self.shape}")
        if self.lower and self.upper and any(low > high for low, high in zip(self.lower, self.upper)):
            raise ValueError(f"{self.name}: a lower limit lies above its upper limit")
        if self.throttle is not None:
            _require_throttle(self.name, self.throttle)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class StateSlice:
    """A named part of the packed state vector, in order; `initial` holds its values after a reset, flattened."""

    name: str
    shape: Tuple[int, ...]
    initial: Tuple[float, ...]

    def __post_init__(self) -> None:
        """Check that the initial values fill the shape."""
        _require_shape(self.name, self.shape)
        if len(self.initial) != math.prod(self.shape):
            raise ValueError(f"state '{self.name}': {len(self.initial)} initial values for shape {self.shape}")
        if any(abs(value) > LARGEST for value in self.initial):
            raise ValueError(f"state '{self.name}': an initial value is not a float32")


@dataclass(frozen=True)
class Fallback:
    """What flies when the policy may not: the law named `kind` (`robo_ppo_onboard.safety.fallback`) and its numbers."""

    kind: str
    numbers: Mapping[str, float]


@dataclass(frozen=True)
class Training:
    """Where the weights come from; `config` is the run's resolved YAML.

    `learner` holds, flattened, what training needs to go on from this policy and the graph does not have, by the names
    of the learner's own tensors (`robo_ppo.export.weights`); a vehicle does not need it.
    """

    commit: str
    seed: int
    steps: int
    config: str
    learner: Mapping[str, Tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True)
class Contract:
    """Everything that a vehicle, a verifier or a reader needs to know about a policy.

    `control_period` is in seconds; `inputs` and `outputs` are in the order of the graph, which adds `state_in` and
    `state_out` at the end when there is a `state`; `limits` are those of the safety net by name
    (`robo_ppo_onboard.safety.limits`); `evaluation` is plain JSON or None before the policy was evaluated; `sha256` is
    filled in when the bundle is written.
    """

    task: str
    robot: str
    control_period: float
    inputs: Tuple[Port, ...]
    outputs: Tuple[Port, ...]
    state: Tuple[StateSlice, ...]
    limits: Mapping[str, float]
    fallback: Fallback
    versions: Mapping[str, str]
    training: Training
    golden: Golden
    evaluation: Optional[Mapping[str, object]] = None
    schema: int = SCHEMA
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


def _require_throttle(name: str, points: Sequence[Tuple[float, float]]) -> None:
    increasing = all(a[0] < b[0] and a[1] < b[1] for a, b in zip(points, points[1:]))
    if len(points) < 2 or not increasing or points[0][1] < 0.0 or points[-1][1] > 1.0:
        raise ValueError(f"{name}: throttle {points} must rise from point to point, within 0 and 1")


def _require_shape(name: str, shape: Tuple[int, ...]) -> None:
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
    document = cast(Dict[str, object], _to_json(contract))
    first = {key: document.pop(key) for key in ("sha256", "schema")}
    return json.dumps({**first, **document}, allow_nan=False)


def contract_from_json(text: str) -> Contract:
    """The contract from JSON with every key and no other; ValueError names the place of whatever does not belong."""
    document = cast(Dict[str, object], _expect(dict, _parse(text), "contract"))
    schema = document.get("schema")
    if type(schema) is int and schema != SCHEMA:  # a newer document may differ in anything else: say only this
        raise ValueError(f"its schema is {schema}; this version reads schema {SCHEMA}")
    return _from_json(Contract, document, "contract")


def _parse(text: str) -> object:
    """Plain JSON: finite numbers, every key once, and text that any other program can hold."""
    try:
        value: object = json.loads(
            text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_finite, strict=True
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("its metadata holds half of a surrogate pair, which is no text") from error
    except RecursionError as error:
        raise ValueError("its metadata is nested without end") from error
    return value


def _unique(pairs: List[Tuple[str, object]]) -> Dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"its metadata has the key '{max(keys, key=keys.count)}' twice in one object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"its metadata holds {text}, which is no finite number")
    return number


def _to_json(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _to_json(item) for key, item in cast(Mapping[str, object], value).items()}
    if isinstance(value, tuple):
        return [_to_json(item) for item in cast(Tuple[object, ...], value)]
    return cast(Array, value).tolist() if isinstance(value, np.ndarray) else value


def _from_json(hint: Any, value: object, where: str) -> Any:
    """Build what the type `hint` asks for from parsed JSON, strictly; `where` is the path for messages."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is object:
        return value
    if origin is Union:  # `Optional[X]`, the only union there is
        return None if value is None else _from_json(arguments[0], value, where)
    if dataclasses.is_dataclass(hint):
        return _record_from_json(cast(type, hint), value, where)
    if origin is collections.abc.Mapping:
        items = cast(Dict[str, object], _expect(dict, value, where))
        return {key: _from_json(arguments[1], item, f"{where}.{key}") for key, item in items.items()}
    if origin is tuple:
        entries = cast(List[object], _expect(list, value, where))
        hints = [arguments[0]] * len(entries) if arguments[-1] is Ellipsis else arguments
        if len(entries) != len(hints):
            raise ValueError(f"{where} has {len(entries)} entries, not {len(hints)}")
        return tuple(_from_json(hints[i], entry, f"{where}[{i}]") for i, entry in enumerate(entries))
    if hint is np.ndarray:
        return _array_from_json(value, where)
    if hint is float and type(value) is int:  # as some programs write 1.0
        try:
            return float(value)
        except OverflowError as error:
            raise ValueError(f"{where} is too large for a number") from error
    return _expect(hint, value, where)


def _record_from_json(record: type, value: object, where: str) -> Any:
    given = cast(Dict[str, object], _expect(dict, value, where))
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
    _require_numbers(_expect(list, value, where), where)
    try:
        exact = np.asarray(value, dtype=np.float64)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{where} has rows that differ in length, or a number that is not a float32") from error
    with np.errstate(over="ignore"):
        single = exact.astype(np.float32)
    if not np.array_equal(exact, single):
        raise ValueError(f"{where} holds a number that is not a float32")
    return single


def _require_numbers(value: object, where: str) -> None:
    if isinstance(value, list):
        for item in cast(List[object], value):
            _require_numbers(item, where)
    elif type(value) not in (float, int):
        raise ValueError(f"{where} holds something other than numbers")


def _expect(kind: type, value: object, where: str) -> object:
    if type(value) is not kind:
        shown = repr(value)
        raise ValueError(f"{where} is {shown if len(shown) <= 60 else shown[:57] + '...'}, which is no {kind.__name__}")
    return value


@lru_cache(maxsize=None)
def _hints(record: type) -> Dict[str, Any]:
    return get_type_hints(record)
