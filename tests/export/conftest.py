"""A small policy with a state, its exported model and a whole contract, made once for all tests of the export."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from robo_ppo.export.bundle import write_bundle
from robo_ppo.export.onnx import to_onnx
from robo_ppo.export.verify import record_golden
from robo_ppo_onboard.contract import Contract, Fallback, Port, StateSlice, Training, contract_to_json


class Pilot(nn.Module):
    """Feed-forward, with two states: the last action and a low-pass filter of the position."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(15, 32), nn.ELU(), nn.Dropout(), nn.Linear(32, 4))
        self.mean = nn.Buffer(torch.linspace(-0.5, 0.5, 15))

    def forward(self, position: Tensor, attitude: Tensor, goal: Tensor, state_in: Tensor) -> tuple[Tensor, ...]:
        last_action, slow_position = state_in.split([4, 3], dim=-1)
        slow_position = slow_position + 0.3 * (position - slow_position)
        offset = goal - position
        observation = torch.cat([offset, slow_position, attitude, last_action, offset.norm(dim=-1, keepdim=True)], -1)
        action = torch.tanh(self.network(observation - self.mean))
        return 8.0 * action[:, :1], 3.0 * action[:, 1:], torch.cat([action, slow_position], dim=-1)


PORTS = (
    Port(
        name="position",
        shape=(3,),
        unit="m",
        frame="world",
        noise=0.01,
        delay=(0.0, 0.02),
        lower=(-9.0,) * 3,
        upper=(9.0,) * 3,
    ),
    Port(name="attitude", shape=(4,), unit="1", frame="world", quaternion_order="wxyz"),
    Port(name="goal", shape=(3,), unit="m", frame="world", dropout=0.01, bias=0.0),
)
OUTPUTS = (
    Port(
        name="thrust",
        shape=(1,),
        unit="N",
        frame="body",
        lower=(0.0,),
        upper=(8.0,),
        throttle=((0.0, 0.05), (4.0, 0.4), (8.0, 1.0)),
        note="collective",
    ),
    Port(name="body_rates", shape=(3,), unit="rad/s", frame="body", lower=(-3.0,) * 3, upper=(3.0,) * 3),
)
STATE = (
    StateSlice(name="last_action", shape=(4,), initial=(0.1, -0.2, 0.3, 0.0)),
    StateSlice(name="slow_position", shape=(3,), initial=(0.0, 0.0, 1.0)),
)


def samples(count: int) -> dict[str, np.ndarray]:
    """Measurements for many steps or vehicles, the same each time."""
    random = np.random.default_rng(7)
    return {port.name: random.normal(size=(count, *port.shape)).astype(np.float32) for port in PORTS}


@pytest.fixture(scope="session")
def module() -> Pilot:
    torch.manual_seed(0)
    return Pilot().eval()


@pytest.fixture(scope="session")
def model(module: Pilot) -> onnx.ModelProto:
    examples = {name: torch.tensor(values) for name, values in samples(3).items()}
    return to_onnx(module, {**examples, "state_in": torch.zeros(3, 7)}, ["thrust", "body_rates", "state_out"])


@pytest.fixture(scope="session")
def contract(module: Pilot) -> Contract:
    initial = np.array([value for part in STATE for value in part.initial], dtype=np.float32)
    return Contract(
        task="uav_nav",
        robot="crazyflie",
        control_period=0.02,
        inputs=PORTS,
        outputs=OUTPUTS,
        state=STATE,
        limits={"max_tilt_rad": 1.92, "max_speed_m_s": 3.0},
        fallback=Fallback("constant", {"thrust": 4.0, "body_rates": 0.0}),
        versions={"torch": "2.13.0", "robo_ppo": "0.1.0"},
        training=Training(commit="0123abc", seed=3, steps=16_000_000, config='task: "uav_nav"  # ünïcode\nppo: {}\n'),
        golden=record_golden(module, samples(12), [port.name for port in OUTPUTS], initial),
    )


@pytest.fixture
def path(tmp_path: Path, model: onnx.ModelProto, contract: Contract) -> Path:
    """A freshly written bundle."""
    write_bundle(tmp_path / "policy.onnx", model, contract)
    return tmp_path / "policy.onnx"


@pytest.fixture(scope="session")
def document(contract: Contract) -> dict[str, object]:
    """The contract's JSON, parsed, to be spoilt by a test."""
    return json.loads(contract_to_json(contract))


Forge = Callable[[onnx.ModelProto, str], Path]


@pytest.fixture
def forge(tmp_path: Path) -> Forge:
    """Seal any text as metadata without the writer's checks: what a stranger's or a later version's file could hold."""

    def seal(model: onnx.ModelProto, text: str) -> Path:
        forged = onnx.ModelProto()
        forged.CopyFrom(model)
        text = '{"sha256": "' + "0" * 64 + '", ' + text.removeprefix('{"sha256": "", ').removeprefix("{")
        forged.metadata_props.add(key="robo_ppo", value=text)
        data = forged.SerializeToString()
        assert data.count(b'{"sha256": "' + b"0" * 64) == 1
        digest = hashlib.sha256(data).hexdigest().encode()
        target = tmp_path / "forged.onnx"
        target.write_bytes(data.replace(b'{"sha256": "' + b"0" * 64, b'{"sha256": "' + digest))
        return target

    return seal


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors cost more to share among threads than to compute."""
    torch.set_num_threads(1)
