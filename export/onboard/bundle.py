"""The bundle: one ONNX file that carries a policy and its whole contract with a vehicle.

The graph takes measurements and `state_in` and gives commands and `state_out`; everything between is inside it. Its
only metadata is the JSON of a `Contract` (`robo_ppo_onboard.contract`).

    bundle = read_bundle("policy.onnx")              # refuses, with the reason, what it cannot vouch for

Reading checks the SHA-256 of the file, every key and type of the contract, the contract against the graph, and that the
safety net knows its limits and its fallback. The hash stands inside the file it covers, computed with its own 64
characters set to zero. It proves **integrity, not authenticity**: it shows that a file was damaged or edited by
accident, not who made it; anyone can seal a file anew.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence

from .contract import STATE_IN, STATE_OUT, Contract, contract_from_json
from .errors import UserError
from .safety.fallback import fallback_of
from .safety.limits import Limits
from .wire import Model, Text, Value, read_model

METADATA_KEY = "robo_ppo"
BATCH = "batch"
SEAL = '{"sha256": "'
UNSEALED = "0" * 64


@dataclass(frozen=True)
class Bundle:
    """A bundle that passed every check: its contract and the bytes of the ONNX model."""

    contract: Contract
    model: bytes


def read_bundle(path: str | Path) -> Bundle:
    """Read a bundle and check all of it; UserError with the reason for anything unknown, missing or altered."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the policy bundle {path}: {error.strerror}") from error
    try:
        return open_bundle(data)
    except (ValueError, UserError) as error:
        raise UserError(f"{path} is not a usable policy bundle: {error}") from error


def open_bundle(data: bytes) -> Bundle:
    """Check all of a bundle, from its bytes; ValueError with the reason, or UserError where the safety net refuses."""
    model = read_model(data)
    document = model.metadata.get(METADATA_KEY)
    if document is None:
        raise ValueError("it has no robo_ppo metadata: it was not exported by robo_ppo, or it was truncated or altered")
    seal = re.match(re.escape(SEAL) + "([0-9a-f]{64})", document.value)
    if seal is None or seal[1] != digest(data, document):
        raise ValueError("its SHA-256 does not match: it was altered after the export; export it again")
    contract = contract_from_json(document.value)
    if contract.sha256 != seal[1]:
        raise ValueError(f"its contract gives the SHA-256 '{contract.sha256}', and its seal another")
    others = [key for key in model.metadata if key != METADATA_KEY]
    if others:
        raise ValueError(f"its metadata has the unknown key '{others[0]}' beside '{METADATA_KEY}'")
    if model.external is not None:
        raise ValueError(f"the values of '{model.external}' lie in another file; a bundle is one self-contained file")
    _require_ports(model, contract)
    Limits.of(contract)
    fallback_of(contract)
    return Bundle(contract, data)


def digest(data: bytes, document: Text) -> str:
    """The SHA-256 of a file with the hash in its metadata document set to zeros."""
    start = document.start + len(SEAL)
    return hashlib.sha256(data[:start] + UNSEALED.encode() + data[start + len(UNSEALED) :]).hexdigest()


def _require_ports(model: Model, contract: Contract) -> None:
    """Compare names, order, types and shapes of the graph's real inputs and outputs with the contract."""
    state = contract.initial_state.shape if contract.state else None
    for label, values, ports, state_name in (
        ("inputs", model.inputs, contract.inputs, STATE_IN),
        ("outputs", model.outputs, contract.outputs, STATE_OUT),
    ):
        promised = [Value(port.name, "FLOAT", (BATCH, *port.shape)) for port in ports]
        if state is not None:
            promised.append(Value(state_name, "FLOAT", (BATCH, *state)))
        if list(values) != promised:
            raise ValueError(f"its graph has the {label} {_listed(values)}; its contract says {_listed(promised)}")


def _listed(values: Sequence[Value]) -> str:
    return ", ".join(f"{name} {kind}({', '.join(map(str, shape))})" for name, kind, shape in values)
