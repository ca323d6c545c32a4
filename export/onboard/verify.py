"""Does a bundle's policy do here what it did where it was exported? Its golden sequence, run again.

    verification = verify("policy.onnx")
    assert verification.passed, verification.errors

The sequence was recorded from torch and travels in the bundle; the controller runs it before it flies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterator, Mapping

import numpy as np

from .bundle import read_bundle
from .contract import Array, Contract, Golden
from .runtime import Policy

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
    return verify_policy(Policy(read_bundle(path)), tolerance)


def verify_policy(policy: Policy, tolerance: float = TOLERANCE) -> Verification:
    """As `verify`, for a policy that is loaded."""
    golden, scales = policy.contract.golden, scales_of(policy.contract)
    steps, errors = 0, dict.fromkeys(golden.outputs, 0.0)
    for steps, commands in enumerate(replay(policy, golden), start=1):
        for name, expected in golden.outputs.items():
            errors[name] = worst_of(errors[name], commands[name], expected[steps - 1 : steps], scales[name])
    return Verification(float(np.max(list(errors.values()))), errors, steps, tolerance)


def replay(policy: Policy, golden: Golden) -> Iterator[dict[str, Array]]:
    """A policy's commands in each step of a golden sequence, from the initial state with the state fed back."""
    state = policy.initial_state()
    for step in range(len(next(iter(golden.inputs.values())))):
        commands, state = policy({name: values[step : step + 1] for name, values in golden.inputs.items()}, state)
        yield commands


def scales_of(contract: Contract) -> dict[str, float]:
    """What the differences of each output are measured in."""
    limits = {port.name: (*(port.lower or ()), *(port.upper or ())) for port in contract.outputs}
    return {name: max([1.0, *map(abs, values)]) for name, values in limits.items()}


def worst_of(worst: float, actual: Array, expected: Array, scale: float = 1.0) -> float:
    """The larger of an error so far and that of two arrays; NaN stays NaN."""
    if actual.shape != expected.shape:
        raise ValueError(f"shapes {actual.shape} and {expected.shape} differ")
    return float(np.maximum(worst, np.abs(actual - expected).max() / scale))
