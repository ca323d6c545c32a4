"""A policy's C code as a shared library, called from here; and policies to try it on."""

import ctypes
import math
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from robo_ppo.export.bundle import write_bundle
from robo_ppo.export.c_code import STRICT
from robo_ppo.export.onnx import to_onnx
from robo_ppo.export.verify import record_golden
from robo_ppo_onboard.bundle import Bundle, read_bundle
from robo_ppo_onboard.contract import Array, Contract, Fallback, Port, StateSlice, Training


class InC:
    """A policy's C code, compiled and called step by step."""

    def __init__(self, contract: Contract, source: Path, options: Sequence[str] = ("-O1",)) -> None:
        self.contract = contract
        name, library = source.stem, source.with_suffix(".so")
        command = ["cc", *STRICT, *options, "-shared", "-fPIC", str(source), "-lm", "-o", str(library)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        loaded = ctypes.CDLL(str(library))
        self._step, self._reset = loaded[f"{name}_step"], loaded[f"{name}_reset"]

    def initial_state(self) -> Array:
        state = np.full(max(1, len(self.contract.initial_state)), 7.0, np.float32)
        self._reset(_pointer(state))
        return state

    def step(self, measurements: Array, state: Array) -> Array:
        """All measurements in order as one array, which is how the struct lies in memory; `state` is updated."""
        out = np.empty(sum(math.prod(port.shape) for port in self.contract.outputs), np.float32)
        self._step(_pointer(measurements), _pointer(state), _pointer(out))
        return out


def _pointer(values: Array) -> ctypes.c_void_p:
    assert values.dtype == np.float32 and values.flags.c_contiguous
    return ctypes.c_void_p(values.ctypes.data)


class Gru(nn.Module):
    """A recurrent cell in plain operations, and one more part of the state that is a matrix."""

    def __init__(self, size: int = 16) -> None:
        super().__init__()
        self.size = size
        self.read, self.keep, self.write = nn.Linear(7, 3 * size), nn.Linear(size, 3 * size), nn.Linear(size, 2)

    def forward(self, gyro: Tensor, ranges: Tensor, state_in: Tensor) -> tuple[Tensor, ...]:
        hidden, history = state_in.split([self.size, 4], -1)
        seen = torch.cat([gyro, ranges.flatten(1)], -1)
        r, z, n = self.read(seen).chunk(3, -1)
        hr, hz, hn = self.keep(hidden).chunk(3, -1)
        update = torch.sigmoid(z + hz)
        hidden = (1 - update) * torch.tanh(n + torch.sigmoid(r + hr) * hn) + update * hidden
        history = torch.cat([history.reshape(-1, 2, 2)[:, 1:], ranges[:, 0, :].unsqueeze(1)], 1)
        command = torch.tanh(self.write(hidden)) + 0.1 * history.sum(1)
        return command[:, 0], command[:, 1:], torch.cat([hidden, history.flatten(1)], -1)


class Reflex(nn.Module):
    """No state at all."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(7, 8), nn.ELU(), nn.Linear(8, 2))

    def forward(self, gyro: Tensor, ranges: Tensor) -> tuple[Tensor, ...]:
        command = self.network(torch.cat([gyro, ranges.flatten(1)], -1))
        return command[:, 0], command[:, 1:]


MEASURED = (
    Port(name="gyro", shape=(3,), unit="rad/s", frame="body"),
    Port(name="ranges", shape=(2, 2), unit="m"),
)
COMMANDED = (
    Port(name="thrust", shape=(), unit="N", lower=(-2.0,), upper=(2.0,)),
    Port(name="rates", shape=(1,), unit="rad/s"),
)


def bundle_of(module: nn.Module, path: Path, task: str = "small") -> Bundle:
    """A bundle of one of the policies above."""
    random = np.random.default_rng(3)
    size = module.size if isinstance(module, Gru) else 0
    parts = [("hidden", (size,), (0.25,) * size), ("history", (2, 2), (0.0, 1.0, 2.0, 3.0))] if size else []
    state = tuple(StateSlice(name=name, shape=shape, initial=values) for name, shape, values in parts)
    initial = np.array([value for part in state for value in part.initial], np.float32) if size else None
    samples = {p.name: random.normal(size=(40, *p.shape)).astype(np.float32) for p in MEASURED}
    examples = {name: torch.tensor(values[:2]) for name, values in samples.items()}
    examples |= {"state_in": torch.zeros(2, len(initial))} if initial is not None else {}
    names = [port.name for port in COMMANDED]
    model = to_onnx(module, examples, [*names, *(["state_out"] if size else [])])
    contract = Contract(
        task=task,
        robot="small",
        control_period=0.01,
        inputs=MEASURED,
        outputs=COMMANDED,
        state=state,
        limits={},
        fallback=Fallback("constant", dict.fromkeys(names, 0.0)),
        versions={},
        training=Training(commit="0", seed=0, steps=0, config=""),
        golden=record_golden(module, samples, names, initial),
    )
    write_bundle(path, model, contract)
    return read_bundle(path)


def plausible(contract: Contract, count: int) -> tuple[dict[str, Array], Array]:
    """Measurements (count, *shape) by name as vehicles may have them, and states (count, S) that are not zero."""
    random = np.random.default_rng(11)
    given: dict[str, Array] = {}
    for port in contract.inputs:
        shape = (count, *port.shape)
        values = random.uniform(0.05, 4.0, shape) if port.name == "ranges" else random.normal(0.0, 2.0, shape)
        if port.quaternion_order:
            values /= np.linalg.norm(values, axis=1, keepdims=True)
        given[port.name] = values.astype(np.float32)
    golden = contract.golden.inputs
    for name, values in golden.items():
        given[name][: len(values)] = values
    return given, random.uniform(-1.0, 1.0, (count, len(contract.initial_state))).astype(np.float32)


def in_order(ports: tuple[Port, ...], values: Mapping[str, Array]) -> Array:
    """Values by name (count, *shape) side by side, (count, numbers)."""
    return np.concatenate([values[p.name].reshape(len(values[p.name]), -1) for p in ports], 1)
