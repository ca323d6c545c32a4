"""Writes bundles: seals a policy's graph with its contract, and replaces the evaluation of one that is sealed.

    contract = write_bundle("policy.onnx", model, contract)

What a bundle is and how it is read and checked: `robo_ppo_onboard.bundle`.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_ppo import atomic
from robo_ppo.errors import UserError
from robo_ppo_onboard.bundle import METADATA_KEY, SEAL, UNSEALED, digest, open_bundle, read_bundle
from robo_ppo_onboard.contract import Contract, contract_to_json
from robo_ppo_onboard.wire import read_model

if TYPE_CHECKING:
    import onnx


def write_bundle(path: str | Path, model: "onnx.ModelProto", contract: Contract) -> Contract:
    """Seal the model with its contract and write it atomically; gives the contract with its hash filled in.

    A contract that does not fit the graph is a ValueError; a full disk or a folder without write permission is a
    UserError, and an earlier file at `path` is left as it was.
    """
    data = _seal(model, contract)
    sealed = open_bundle(data).contract
    try:
        atomic.write(Path(path), data)
    except OSError as error:
        raise UserError(f"cannot write the policy bundle {path}: {error.strerror}") from error
    return sealed


def replace_evaluation(path: str | Path, evaluation: Mapping[str, object]) -> Contract:
    """Rewrite a bundle with the result of its evaluation (plain JSON, finite numbers) and a new hash."""
    bundle = read_bundle(path)
    return write_bundle(path, parse_model(bundle.model), dataclasses.replace(bundle.contract, evaluation=evaluation))


def parse_model(data: bytes) -> "onnx.ModelProto":
    """The ONNX model in the bytes of a bundle that was read, for what needs to know its graph."""
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString(data)
    return model


def every_message(message: Any) -> Iterator[Any]:
    """A protobuf message and all that lie within it, however deep (nested graphs, functions), outer ones first."""
    from google.protobuf.message import Message

    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in (value,) if isinstance(value, Message) else value:
                yield from every_message(child)


def _seal(model: "onnx.ModelProto", contract: Contract) -> bytes:
    """Serialise with the contract as the only metadata, then put the hash in the place of its zeros."""
    document = contract_to_json(dataclasses.replace(contract, sha256=UNSEALED))
    sealed = type(model)()
    sealed.CopyFrom(model)
    del sealed.metadata_props[:]
    sealed.metadata_props.add(key=METADATA_KEY, value=document)
    data = sealed.SerializeToString(deterministic=True)
    written = read_model(data).metadata[METADATA_KEY]
    start = written.start + len(SEAL)
    return data[:start] + digest(data, written).encode() + data[start + len(UNSEALED) :]
