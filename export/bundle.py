"""The bundle: one ONNX file that carries a policy and the whole contract between the policy and a vehicle.

The graph takes measurements and `state_in` and gives commands and `state_out`; everything between is inside it. The
metadata is one JSON document, a `Contract`: what every input and output means, the state the policy starts from,
limits, versions, where it was trained, how it did, and a golden sequence that every runtime must reproduce.

    bundle = read_bundle("policy.onnx")            # refuses, with the reason, what it cannot vouch for
    policy = bundle.policy()
    state = policy.initial_state()
    commands, state = policy({"position": position, "attitude": attitude}, state)

Reading checks the SHA-256 of the file, every key and type of the contract, and the contract against the graph. The hash
stands inside the file it covers, computed with its own 64 characters set to zero. It proves **integrity, not
authenticity**: it shows that a file was damaged or edited by accident, not who made it; anyone can seal a file anew.

Nothing here imports torch; a policy without state has neither `state_in` nor `state_out`.
"""

import dataclasses
import hashlib
import json
import math
import os
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from robo_ppo.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import onnx

SCHEMA = 1
METADATA_KEY = "robo_ppo"
STATE_IN, STATE_OUT = "state_in", "state_out"
BATCH = "batch"

Array = NDArray[np.float32]

_SEAL = '{"sha256": "'
_UNSEALED = "0" * 64


@dataclass(frozen=True, kw_only=True)
class Port:
    """One input (a measurement) or output (a command) of the policy; shapes leave out the batch axis.

    `noise` (standard deviation), `bias`, `dropout` (probability) and `delay` (s, from and to) say what the policy was
    trained with: to compare with what the vehicle shows, never to apply on board. `lower` and `upper` are the limits
    of an output, one number per element.
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
    """Where the weights come from; `config` is the run's resolved YAML."""

    commit: str
    seed: int
    steps: int
    config: str


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


@dataclass(frozen=True)
class Bundle:
    """A bundle that passed every check: its contract and the bytes of the ONNX model."""

    contract: Contract
    model: bytes

    def policy(self, threads: int = 1) -> "Policy":
        """The policy, ready to run on the CPU with this many threads; one is the fastest for a single vehicle."""
        return Policy(self, threads)


def write_bundle(path: str | Path, model: "onnx.ModelProto", contract: Contract) -> Contract:
    """Seal the model with its contract and write it atomically; gives the contract with its hash filled in.

    A contract that does not fit the graph is a ValueError; a full disk or a folder without write permission is a
    UserError, and an earlier file at `path` is left as it was.
    """
    data = _seal(model, contract)
    sealed = _open(data).contract
    _write_atomically(Path(path), data)
    return sealed


def read_bundle(path: str | Path) -> Bundle:
    """Read a bundle and check all of it; UserError with the reason for anything unknown, missing or altered."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the policy bundle {path}: {error.strerror}") from error
    try:
        return _open(data)
    except (ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"{path} is not a usable policy bundle: {error}") from error


def replace_evaluation(path: str | Path, evaluation: Mapping[str, object]) -> Contract:
    """Rewrite a bundle with the result of its evaluation (plain JSON, finite numbers) and a new hash."""
    bundle = read_bundle(path)
    return write_bundle(path, _parse(bundle.model), dataclasses.replace(bundle.contract, evaluation=evaluation))


def _seal(model: "onnx.ModelProto", contract: Contract) -> bytes:
    """Serialise with the contract as the only metadata, then put the hash in the place of its zeros."""
    document = contract_to_json(dataclasses.replace(contract, sha256=_UNSEALED))
    sealed = type(model)()
    sealed.CopyFrom(model)
    del sealed.metadata_props[:]
    sealed.metadata_props.add(key=METADATA_KEY, value=document)
    data = sealed.SerializeToString(deterministic=True)
    start, digest = _digest(data, document)
    return data[:start] + digest.encode() + data[start + len(digest) :]


def _digest(data: bytes, document: str) -> tuple[int, str]:
    """Where the hash stands in the file, and what it should be."""
    start = data.index(document.encode()) + len(_SEAL)
    return start, hashlib.sha256(data[:start] + _UNSEALED.encode() + data[start + len(_UNSEALED) :]).hexdigest()


def _open(data: bytes) -> Bundle:
    """Check everything about the bytes of a bundle; ValueError with the reason."""
    model = _parse(data)
    # Protobuf gives bytes instead of text where an alteration broke the encoding.
    documents = [str(entry.value) for entry in model.metadata_props if entry.key == METADATA_KEY]
    if len(documents) != 1:
        raise ValueError("it has no robo_ppo metadata: it was not exported by robo_ppo, or it was truncated or altered")
    seal = re.match(re.escape(_SEAL) + "([0-9a-f]{64})", documents[0])
    if seal is None or seal[1] != _digest(data, documents[0])[1]:
        raise ValueError("its SHA-256 does not match: it was altered after the export; export it again")
    contract = contract_from_json(documents[0])
    _require_self_contained(model)
    _require_ports(model.graph, contract)
    return Bundle(contract, data)


def _parse(data: bytes) -> "onnx.ModelProto":
    import onnx
    from google.protobuf.message import DecodeError

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError) as error:
        raise ValueError("it cannot be parsed as an ONNX model: truncated, altered or another kind of file") from error
    return model


def every_message(message: Any) -> Iterator[Any]:
    """A protobuf message and all that lie within it, however deep (nested graphs, functions), outer ones first."""
    from google.protobuf.message import Message

    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in (value,) if isinstance(value, Message) else value:
                yield from every_message(child)


def _require_self_contained(model: "onnx.ModelProto") -> None:
    for message in every_message(model):
        if message.DESCRIPTOR.name == "TensorProto" and (message.external_data or message.data_location):
            raise ValueError(f"the values of '{message.name}' lie in another file; a bundle is one self-contained file")


def _require_ports(graph: "onnx.GraphProto", contract: Contract) -> None:
    """Compare names, order, types and shapes of the graph's real inputs and outputs with the contract."""
    weights = {tensor.name for tensor in graph.initializer}
    state = contract.initial_state.shape if contract.state else None
    for label, values, ports, state_name in (
        ("inputs", [value for value in graph.input if value.name not in weights], contract.inputs, STATE_IN),
        ("outputs", list(graph.output), contract.outputs, STATE_OUT),
    ):
        promised = [_signature(port.name, "FLOAT", (BATCH, *port.shape)) for port in ports]
        if state is not None:
            promised.append(_signature(state_name, "FLOAT", (BATCH, *state)))
        actual = [_value_signature(value) for value in values]
        if actual != promised:
            raise ValueError(f"its graph has the {label} {', '.join(actual)}; its contract says {', '.join(promised)}")


def _value_signature(value: "onnx.ValueInfoProto") -> str:
    import onnx

    tensor = value.type.tensor_type
    shape = [axis.dim_param or (axis.dim_value if axis.HasField("dim_value") else "?") for axis in tensor.shape.dim]
    return _signature(value.name, onnx.TensorProto.DataType.Name(tensor.elem_type), shape)


def _signature(name: str, kind: str, shape: Sequence[object]) -> str:
    return f"{name} {kind}({', '.join(str(size) for size in shape)})"


def _write_atomically(path: Path, data: bytes) -> None:
    """Write beside the target, sync, rename: the target holds the old bytes or the new ones, nothing between."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"cannot write the policy bundle {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):  # it is gone after the rename, and may never have been
            temporary.unlink()


class Policy:
    """A bundle's policy on onnxruntime's CPU back end, for one vehicle or many at once (rows of a batch)."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Load the model; `threads` are those inside one call."""
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

        runtime: Any = onnxruntime
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.contract = bundle.contract
        self._shapes = {port.name: port.shape for port in self.contract.inputs}
        if self.contract.state:
            self._shapes[STATE_IN] = self.contract.initial_state.shape
        try:
            self._session = runtime.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its error types have no common base of their own
            raise UserError(f"onnxruntime cannot load the policy of '{bundle.contract.task}': {error}") from error

    def initial_state(self, batch: int = 1) -> Array:
        """The packed state after a reset, shape (batch, S); S is 0 for a policy without state."""
        return np.tile(self.contract.initial_state, (batch, 1))

    def __call__(self, measurements: Mapping[str, NDArray[Any]], state: Array) -> tuple[dict[str, Array], Array]:
        """Commands by name, each (batch, *shape), and the next state, from measurements by name and the state.

        Measurements are converted to float32. A missing, unknown or misshapen one is a ValueError.
        """
        feed = self._feed(measurements, state)
        results: list[Array] = self._session.run(None, feed)
        next_state = results.pop() if self.contract.state else state
        return {port.name: result for port, result in zip(self.contract.outputs, results, strict=True)}, next_state

    def _feed(self, measurements: Mapping[str, NDArray[Any]], state: Array) -> dict[str, Array]:
        given = {**measurements, STATE_IN: state} if self.contract.state else measurements
        for name in given:
            if name not in self._shapes:
                raise ValueError(f"the policy takes no measurement '{name}': {did_you_mean(name, self._shapes)}")
        feed: dict[str, Array] = {}
        for name, shape in self._shapes.items():
            if name not in given:
                raise ValueError(f"the policy needs the measurement '{name}'; given: {', '.join(measurements)}")
            feed[name] = np.asarray(given[name], dtype=np.float32)
            if feed[name].shape != (len(state), *shape):
                raise ValueError(f"'{name}' has shape {feed[name].shape}; expected {(len(state), *shape)}")
        return feed
