"""A thousand ways to spoil a shipped policy: each is refused with a reason, none is loaded, none breaks the reader.

A mutation is bytes made from the shipped `uav_nav`. Those of the first kind leave the seal as it was; those of the
second are sealed anew, as another program or a person with a hash function would, and contradict the graph, the schema
or the safety net.
"""

import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from robo_ppo.errors import UserError
from robo_ppo_onboard.bundle import METADATA_KEY, SEAL, UNSEALED, digest, open_bundle, read_bundle
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.verify import verify_policy
from robo_ppo_onboard.wire import read_model

WHOLE = (Path(__file__).parents[3] / "policies/uav_nav.onnx").read_bytes()
MODEL = onnx.load_from_string(WHOLE)
DOCUMENT: dict[str, Any] = json.loads(MODEL.metadata_props[0].value)
METADATA = WHOLE.index(SEAL.encode())
DIGITS = [match.start() for match in re.finditer(rb"\d", WHOLE) if match.start() > METADATA + 90]  # of the contract
COUNT = 1000

Edit = Callable[[dict[str, Any]], object]


def sealed(text: str, model: onnx.ModelProto = MODEL, *, more: bool = False) -> bytes:
    """A file with this text as its contract, under a hash that is right."""
    text = re.sub('"sha256": "[0-9a-f]{64}"', f'"sha256": "{UNSEALED}"', text, count=1)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.metadata_props[:]
    copy.metadata_props.add(key=METADATA_KEY, value=text)
    if more:
        copy.metadata_props.add(key="author", value="me")
    data = copy.SerializeToString()
    written = read_model(data).metadata[METADATA_KEY]
    start = written.start + len(SEAL)
    return data[:start] + digest(data, written).encode() + data[start + len(UNSEALED) :]


def edited(edit: Edit) -> bytes:
    document = json.loads(json.dumps(DOCUMENT))
    edit(document)
    return sealed(json.dumps(document))


def changed(edit: Callable[[onnx.ModelProto], object]) -> bytes:
    model = onnx.ModelProto()
    model.CopyFrom(MODEL)
    edit(model)
    return sealed(json.dumps(DOCUMENT), model)


def records(value: object) -> Iterator[dict[str, Any]]:
    """Every object of the document whose keys the schema fixes, in an order that copies share."""
    if isinstance(value, list):
        for item in value:
            yield from records(item)
    if isinstance(value, dict):
        if not value.keys() & {"position", "max_x_m", "mass", "torch", "log_std", "collective_thrust"}:
            yield value
        for key, item in value.items():
            if key != "evaluation":
                yield from records(item)


def damaged(random: random.Random) -> bytes:
    """Without a new seal: bytes flipped, cut, put in, taken out, moved, or text of the contract changed."""
    data = bytearray(WHOLE)
    place = random.choice([random.randrange(len(data)), random.randrange(METADATA - 12, METADATA + 90)])
    few = random.randrange(1, 20)
    way = random.randrange(6)
    if way == 0:
        data[place] ^= 1 << random.randrange(8)
    elif way == 1:
        del data[place:]
    elif way == 2:
        data[place:place] = random.randbytes(few)
    elif way == 3:
        del data[place : place + few]
    elif way == 4:
        data[place : place + few] = bytes(reversed([byte ^ 0xFF for byte in data[place : place + few]]))
    else:
        place = random.choice(DIGITS)
        data[place] = ord(random.choice([d for d in "0123456789" if ord(d) != data[place]]))
    return bytes(data)


def misfit(random: random.Random) -> bytes:
    """With a new seal: a key missing, unknown, doubled, of another type, or a number that is none."""
    document = json.loads(json.dumps(DOCUMENT))
    record = random.choice(list(records(document)))
    key = random.choice(sorted(record))
    way = random.randrange(5)
    if way == 0:
        del record[key]
    elif way == 1:
        record[key + random.choice("xyz_")] = random.choice([None, 0, ""])
    elif way == 2:
        record[key] = random.choice([True, [], {}, "3"]) if not isinstance(record[key], str) else 3
        if record[key] in ([], {}) and key in ("limits", "versions", "learner", "shape", "state", "evaluation"):
            record[key] = True
        if key == "evaluation":
            record[key] = "good"
    elif way == 3:
        record[key] = "\udfff" if isinstance(record[key], str) else random.choice([float("nan"), float("inf"), 10**400])
    else:
        text = json.dumps(document)
        return sealed(re.sub('"(task|schema|unit|kind|commit)": ', r'"\1": 1, "\1": ', text, count=1))
    if "sha256" not in document:
        return json.dumps(document).encode()
    return sealed(json.dumps(document))


def swap(items: Any, a: int, b: int) -> None:
    copies = [type(item).FromString(item.SerializeToString()) for item in items]
    copies[a], copies[b] = copies[b], copies[a]
    del items[:]
    items.extend(copies)


def outside(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


CONTRADICTIONS: dict[str, Callable[[], bytes]] = {
    "schema 2": lambda: edited(lambda d: d.update(schema=2)),
    "schema 0": lambda: edited(lambda d: d.update(schema=0)),
    "schema as text": lambda: edited(lambda d: d.update(schema="1")),
    "no inputs": lambda: edited(lambda d: d.update(inputs=[])),
    "inputs swapped in the contract": lambda: edited(lambda d: d["inputs"].reverse()),
    "inputs swapped with their golden values": lambda: edited(
        lambda d: (d["inputs"].reverse(), d["golden"].update(inputs=dict(reversed(d["golden"]["inputs"].items()))))
    ),
    "outputs swapped in the contract": lambda: edited(lambda d: d["outputs"].reverse()),
    "inputs swapped in the graph": lambda: changed(lambda m: swap(m.graph.input, 0, 1)),
    "outputs swapped in the graph": lambda: changed(lambda m: swap(m.graph.output, 1, 2)),
    "another shape": lambda: edited(lambda d: d["inputs"][5].update(shape=[4, 6])),
    "a shape without end": lambda: edited(lambda d: d["inputs"][0].update(shape=[10**30])),
    "a negative shape": lambda: edited(lambda d: d["inputs"][0].update(shape=[-3])),
    "two inputs of one name": lambda: edited(lambda d: d["inputs"][1].update(name="position")),
    "quaternions xyzw": lambda: edited(lambda d: d["inputs"][2].update(quaternion_order="xyzw")),
    "a state of another size": lambda: edited(lambda d: d["state"][0].update(shape=[5], initial=[0.0] * 5)),
    "no state": lambda: edited(lambda d: d.update(state=[])),
    "limits upside down": lambda: edited(lambda d: d["outputs"][0].update(lower=[2.0])),
    "a throttle that falls": lambda: edited(lambda d: d["outputs"][0].update(throttle=[[0.0, 1.0], [0.8, 0.0]])),
    "a period of 0": lambda: edited(lambda d: d.update(control_period=0.0)),
    "a limit that nobody knows": lambda: edited(lambda d: d["limits"].update(max_warp=9.0)),
    "a negative limit": lambda: edited(lambda d: d["limits"].update(max_tilt_rad=-1.0)),
    "a fence inside out": lambda: edited(lambda d: d["limits"].update(min_x_m=5.0)),
    "a fallback that nobody knows": lambda: edited(lambda d: d["fallback"].update(kind="parachute")),
    "a fallback without its numbers": lambda: edited(lambda d: d["fallback"]["numbers"].pop("mass")),
    "a fallback for other commands": lambda: edited(lambda d: d["fallback"].update(kind="level_motors")),
    "golden values of nothing": lambda: edited(lambda d: d["golden"].update(inputs={}, outputs={})),
    "golden values of different lengths": lambda: edited(lambda d: d["golden"]["inputs"]["goal"].pop()),
    "a golden value that is no float32": lambda: edited(
        lambda d: d["golden"]["outputs"]["yaw_rate"].__setitem__(0, 0.1)
    ),
    "golden values nested without end": lambda: sealed(
        json.dumps(DOCUMENT).replace('"golden": ', '"golden": ' + "[" * 50_000, 1)
    ),
    "not one object": lambda: sealed(SEAL + UNSEALED + '"}, 1'),
    "text after the contract": lambda: sealed(json.dumps(DOCUMENT) + "{}"),
    "a hash with a tail": lambda: sealed(json.dumps(DOCUMENT).replace(DOCUMENT["sha256"], UNSEALED + "00")),
    "a second hash": lambda: sealed(json.dumps(DOCUMENT)[:-1] + f', "sha256": "{"1" * 64}"}}'),
    "another key of metadata": lambda: sealed(json.dumps(DOCUMENT), more=True),
    "the key twice": lambda: (
        sealed(json.dumps(DOCUMENT))
        + onnx.ModelProto(
            metadata_props=[onnx.StringStringEntryProto(key=METADATA_KEY, value="{}")]
        ).SerializeToString()
    ),
    "weights in another file": lambda: changed(outside),
    "a fixed batch": lambda: changed(
        lambda m: m.graph.input[0].type.tensor_type.shape.dim[0].__setattr__("dim_value", 1)
    ),
    "double precision": lambda: changed(lambda m: m.graph.input[0].type.tensor_type.__setattr__("elem_type", 11)),
    "an input less": lambda: changed(lambda m: m.graph.input.pop()),
    "an output more": lambda: changed(lambda m: m.graph.output.append(m.graph.output[0])),
    "no graph": lambda: onnx.ModelProto(metadata_props=MODEL.metadata_props).SerializeToString(),
    "no metadata": lambda: onnx.ModelProto(graph=MODEL.graph).SerializeToString(),
    "two graphs": lambda: WHOLE + onnx.ModelProto(graph=MODEL.graph).SerializeToString(),
}


def reason(data: bytes, path: Path) -> str:
    """Why a file with these bytes is refused, as a person reads it."""
    path.write_bytes(data)
    with pytest.raises(UserError) as refused:
        read_bundle(path)
    message = str(refused.value)
    assert message.startswith(f"{path} is not a usable policy bundle: ")
    told = message.split(": ", 1)[1]
    assert 15 <= len(told) <= 1000
    assert told.isprintable(), told
    return told


def test_the_forgers_work_is_good() -> None:
    """Sealed anew without a change, the policy is read: what is refused below is not refused for its seal."""
    again = open_bundle(sealed(json.dumps(DOCUMENT)))
    assert again.contract.task == "uav_nav"
    assert again.contract.sha256 != DOCUMENT["sha256"] or again.model == WHOLE


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_under_a_right_seal_is_refused(name: str, tmp_path: Path) -> None:
    told = reason(CONTRADICTIONS[name](), tmp_path / "forged.onnx")
    assert name in ("a hash with a tail", "no metadata") or "SHA-256 does not match" not in told


def test_a_thousand_mutations_are_refused_each_with_a_reason(tmp_path: Path) -> None:
    generator = random.Random(0)
    seals = 0
    for number in range(COUNT - len(CONTRADICTIONS)):
        make = misfit if number % 5 == 0 else damaged
        data = make(generator)
        if data == WHOLE:
            data += b"\x00"
        told = reason(data, tmp_path / "mutated.onnx")
        seals += "SHA-256 does not match" in told
    assert seals > COUNT // 5  # as many others find their reason before the hash is looked at, or after


def test_weights_that_were_changed_under_a_right_seal_fail_the_golden_sequence() -> None:
    """What no reader can see, the flight's first act does: the controller runs the golden sequence before it flies."""

    def scale(model: onnx.ModelProto) -> None:
        weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        weight.raw_data = (onnx.numpy_helper.to_array(weight) * np.float32(1.01)).tobytes()

    assert not verify_policy(Policy(open_bundle(changed(scale)))).passed


def test_inputs_that_are_crossed_inside_the_graph_fail_the_golden_sequence() -> None:
    def cross(model: onnx.ModelProto) -> None:
        names = {"position": "goal", "goal": "position"}
        for node in model.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]

    assert not verify_policy(Policy(open_bundle(changed(cross)))).passed
