"""Does an exported policy do what was trained? Golden sequences, and a comparison with torch.

A golden sequence is recorded from torch, travels in the bundle and is run again by every runtime: onnxruntime here, the
controller on board, the C code.

    golden = record_golden(module, {"position": positions, "attitude": attitudes}, ["motors"], initial_state)
    ...                                                            # write_bundle with a contract that holds it
    assert verify("policy.onnx").passed
    assert compare_with_torch(Policy(read_bundle("policy.onnx")), module, samples) <= TOLERANCE
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from robo_ppo.export.bundle import read_bundle
from robo_ppo.export.contract import STATE_IN, Array, Contract, Golden
from robo_ppo.export.runtime import Policy

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-5
"""Of a command's largest limit, where that is more than 1: single precision knows hundreds of N·m no better."""


@dataclass(frozen=True)
class Verification:
    """The largest difference from the golden outputs, overall and by output, over a number of steps.

    Differences are absolute, or parts of the output's largest limit, where that is more than 1.
    """

    max_error: float
    errors: Mapping[str, float]
    steps: int
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every output stayed within the tolerance (NaN does not)."""
        return self.max_error <= self.tolerance


def verify(path: str | Path, tolerance: float = TOLERANCE) -> Verification:
    """Run a bundle's golden sequence through onnxruntime, from the initial state with the state fed back.

    UserError when the file is not a bundle that can be read.
    """
    policy = Policy(read_bundle(path))
    golden = policy.contract.golden
    steps = len(next(iter(golden.inputs.values())))
    errors, scales = dict.fromkeys(golden.outputs, 0.0), _scales(policy.contract)
    state = policy.initial_state()
    for step in range(steps):
        commands, state = policy({name: values[step : step + 1] for name, values in golden.inputs.items()}, state)
        for name, expected in golden.outputs.items():
            errors[name] = _worst(errors[name], commands[name], expected[step : step + 1], scales[name])
    return Verification(float(np.max(list(errors.values()))), errors, steps, tolerance)


def record_golden(
    module: "nn.Module", inputs: Mapping[str, Array], output_names: Sequence[str], initial_state: Array | None = None
) -> Golden:
    """Run T steps in torch, one vehicle, state fed back, and keep the inputs with the commands.

    `inputs` are sequences (T, *shape) by name in the order of the contract, `output_names` the commands (without
    `state_out`), `initial_state` the packed vector (S,) or None for a policy without state.
    """
    from robo_ppo.export.onnx import evaluating

    inputs = {name: np.asarray(values, dtype=np.float32) for name, values in inputs.items()}
    steps = len(next(iter(inputs.values())))
    state = None if initial_state is None else np.asarray(initial_state, dtype=np.float32)[None]
    outputs: dict[str, list[Array]] = {name: [] for name in output_names}
    with evaluating(module):
        for step in range(steps):
            measurements = {name: values[step : step + 1] for name, values in inputs.items()}
            commands, state = _torch_step(module, measurements, state)
            for name, command in zip(output_names, commands, strict=True):
                outputs[name].append(command)
    return Golden(inputs=inputs, outputs={name: np.concatenate(values) for name, values in outputs.items()})


def compare_with_torch(policy: Policy, module: "nn.Module", samples: Mapping[str, Array], steps: int = 8) -> float:
    """The largest difference in commands and state between an exported policy and the module, over all rows.

    It is measured as in a `Verification`.
    `samples` are K measurements by name, (K, *shape). The first step runs all of them from the initial state; each
    later one gives every row another sample and the state that torch had after the step before. Both start every step
    from the same state: a policy may amplify its own last action, and rounding with it.
    """
    from robo_ppo.export.onnx import evaluating

    rows = len(next(iter(samples.values())))
    state, scales = policy.initial_state(rows), _scales(policy.contract)
    worst = 0.0
    with evaluating(module):
        for step in range(steps):
            measurements = {port.name: np.roll(samples[port.name], step, axis=0) for port in policy.contract.inputs}
            commands, next_state = policy(measurements, state)
            expected, expected_state = _torch_step(module, measurements, state if policy.contract.state else None)
            for (name, command), expected_command in zip(commands.items(), expected, strict=True):
                worst = _worst(worst, command, expected_command, scales[name])
            if expected_state is not None:
                worst, state = _worst(worst, next_state, expected_state), expected_state
    return worst


def _scales(contract: Contract) -> dict[str, float]:
    """What the differences of each output are measured in."""
    limits = {port.name: (*(port.lower or ()), *(port.upper or ())) for port in contract.outputs}
    return {name: max([1.0, *map(abs, values)]) for name, values in limits.items()}


def _worst(worst: float, actual: Array, expected: Array, scale: float = 1.0) -> float:
    """The larger of an error so far and that of two arrays; NaN stays NaN."""
    if actual.shape != expected.shape:
        raise ValueError(f"shapes {actual.shape} and {expected.shape} differ")
    return float(np.maximum(worst, np.abs(actual - expected).max() / scale))


def _torch_step(
    module: "nn.Module", measurements: Mapping[str, Array], state: Array | None
) -> tuple[list[Array], Array | None]:
    """Commands in order and the next state of a torch module, on whichever device its weights are."""
    import torch

    weights = next(module.parameters(), None)
    device = torch.device("cpu") if weights is None else weights.device
    feed = {name: torch.tensor(values, device=device) for name, values in measurements.items()}
    if state is not None:
        feed[STATE_IN] = torch.tensor(state, device=device)
    results = module(**feed)
    outputs = [tensor.cpu().numpy().copy() for tensor in ((results,) if isinstance(results, torch.Tensor) else results)]
    return (outputs, None) if state is None else (outputs[:-1], outputs[-1])
