"""Does an exported policy do what was trained? Golden sequences recorded from torch, and a comparison with torch.

    golden = record_golden(module, {"position": positions, "attitude": attitudes}, ["motors"], initial_state)
    ...                                                            # write_bundle with a contract that holds it
    assert compare_with_torch(Policy(read_bundle("policy.onnx")), module, samples) <= TOLERANCE

Every runtime runs the golden sequence again: onnxruntime (`robo_ppo_onboard.verify`), the C code.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from robo_ppo_onboard.contract import STATE_IN, Array, Golden
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.verify import scales_of, worst_of

if TYPE_CHECKING:
    from torch import nn


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
    state, scales = policy.initial_state(rows), scales_of(policy.contract)
    worst = 0.0
    with evaluating(module):
        for step in range(steps):
            measurements = {port.name: np.roll(samples[port.name], step, axis=0) for port in policy.contract.inputs}
            commands, next_state = policy(measurements, state)
            expected, expected_state = _torch_step(module, measurements, state if policy.contract.state else None)
            for (name, command), expected_command in zip(commands.items(), expected, strict=True):
                worst = worst_of(worst, command, expected_command, scales[name])
            if expected_state is not None:
                worst, state = worst_of(worst, next_state, expected_state), expected_state
    return worst


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
