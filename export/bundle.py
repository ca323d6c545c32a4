"""The bundle: one ONNX file that carries a policy and its whole contract with a vehicle.

The graph takes measurements and `state_in` and gives commands and `state_out`; everything between is inside it. Its
only metadata is the JSON of a `Contract` (`robo_ppo.export.contract`).

    write_bundle("policy.onnx", model, contract)
    bundle = read_bundle("policy.onnx")              # refuses, with the reason, what it cannot vouch for

Reading checks the SHA-256 of the file, every key and type of the contract, and the contract against the graph. The hash
stands inside the file it covers, computed with its own 64 characters set to zero. It proves **integrity, not
authenticity**: it shows that a file was damaged or edited by accident, not who made it; anyone can seal a file anew.

Nothing here imports torch; a policy without state has neither `state_in` nor `state_out`.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_ppo.errors import UserError
from robo_ppo.export.contract import STATE_IN, STATE_OUT, Contract, contract_from_json, contract_to_json

if TYPE_CHECKING:
    import onnx

METADATA_KEY = "robo_ppo"
BATCH = "batch"

_SEAL = '{"sha256": "'
_UNSEALED = "0" * 64


@dataclass(frozen=True)
class Bundle:
    """A bundle that passed every check: its contract and the bytes of the ONNX model."""

    contract: Contract
    model: bytes


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
    return write_bundle(path, parse_model(bundle.model), dataclasses.replace(bundle.contract, evaluation=evaluation))


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
    model = parse_model(data)
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


def parse_model(data: bytes) -> "onnx.ModelProto":
    """The ONNX model in the bytes of a file; ValueError if there is none."""
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
