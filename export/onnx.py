"""From a torch module to a self-contained ONNX model that names nothing of the machine it was made on.

    model = to_onnx(policy, {"position": position, "attitude": attitude, "state_in": state}, ["motors", "state_out"])

The module is called with tensors by name, each (batch, *shape), and returns a tuple of outputs in the given order. The
first axis of everything is dynamic and called `batch`.
"""

import logging
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from robo_ppo.export.bundle import every_message
from robo_ppo.export.vectorize import vectorize
from robo_ppo_onboard.bundle import BATCH

if TYPE_CHECKING:
    import onnx


class _ByPosition(nn.Module):
    """Calls the policy by name from tensors by position: this fixes the order of the graph's inputs."""

    def __init__(self, policy: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.policy = policy
        self.names = tuple(names)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return self.policy(**dict(zip(self.names, tensors, strict=True)))


def to_onnx(module: nn.Module, inputs: Mapping[str, Tensor], output_names: Sequence[str]) -> "onnx.ModelProto":
    """Export a module, in evaluation mode, as float32 ONNX with everything inside and all traces of the source removed.

    `inputs` are examples in the order that the graph shall have, (rows, *shape) with any number of rows. The exporter
    has been wrong without a word before: compare the result with torch (`verify.compare_with_torch`).
    """
    # One row would be taken for a constant.
    examples = tuple(torch.cat([tensor[:1], tensor[:1]]) for tensor in inputs.values())
    axes = (tuple({0: torch.export.Dim(BATCH)} for _ in examples),)
    with evaluating(module), _quiet():
        # Captured here, because torch.onnx.export alone silently fixes the batch where a module asks for it.
        captured = torch.export.export(_ByPosition(module, tuple(inputs)).eval(), examples, dynamic_shapes=axes)
        program = torch.onnx.export(  # pyright: ignore[reportUnknownMemberType]
            captured,
            dynamo=True,
            input_names=tuple(inputs),
            output_names=tuple(output_names),
            dynamic_shapes=axes,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program")
    model = program.model_proto
    _strip(model)
    return vectorize(model)


@contextmanager
def evaluating(module: nn.Module) -> Generator[None]:
    """Put a module into evaluation mode without gradients, then every part of it back into the mode it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def _strip(model: "onnx.ModelProto") -> None:
    """Remove metadata and doc strings (stack traces, local paths) everywhere in a model."""
    for message in every_message(model):
        for field in message.DESCRIPTOR.fields:
            if field.name in ("metadata_props", "doc_string"):
                message.ClearField(field.name)


@contextmanager
def _quiet() -> Generator[None]:
    """Silence the exporter's logs and warnings, which are about its own internals."""
    levels = {log: log.level for log in map(logging.getLogger, ("torch.onnx", "onnxscript", "onnx_ir"))}
    for log in levels:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in levels.items():
            log.setLevel(level)
