"""Runs an exported policy on onnxruntime: measurements in, commands out, for one vehicle or many.

policy = Policy(read_bundle("policy.onnx"))
state = policy.initial_state()
commands, state = policy({"position": position, "attitude": attitude}, state)
"""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np

from .bundle import Bundle
from .contract import STATE_IN, Array
from .errors import UserError, did_you_mean


class Policy:
    """A bundle's policy on onnxruntime's CPU back end, for one vehicle or many at once (rows of a batch)."""

    def __init__(self, bundle: Bundle, threads: int = 1) -> None:
        """Load the model; `threads` are those inside one call, of which one is the fastest for a single vehicle."""
        import onnxruntime  # pyright: ignore[reportMissingTypeStubs]

        runtime: Any = onnxruntime
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.contract = bundle.contract
        self._shapes: dict[str, tuple[int, ...]] = {port.name: port.shape for port in self.contract.inputs}
        if self.contract.state:
            self._shapes[STATE_IN] = self.contract.initial_state.shape
        self._names = [port.name for port in self.contract.outputs]
        try:
            self._session = runtime.InferenceSession(bundle.model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its error types have no common base of their own
            raise UserError(f"onnxruntime cannot load the policy of '{bundle.contract.task}': {error}") from error

    def initial_state(self, batch: int = 1) -> Array:
        """The packed state after a reset, shape (batch, S); S is 0 for a policy without state."""
        return np.tile(self.contract.initial_state, (batch, 1))

    def __call__(self, measurements: Mapping[str, Any], state: Array) -> tuple[dict[str, Array], Array]:
        """Commands by name, each (batch, *shape), and the next state, from measurements by name and the state.

        Measurements are converted to float32. A missing, unknown or misshapen one is a ValueError.
        """
        results: list[Array] = self._session.run(None, self._feed(measurements, state))
        next_state = results.pop() if self.contract.state else state
        return dict(zip(self._names, results)), next_state

    def _feed(self, measurements: Mapping[str, Any], state: Array) -> dict[str, Array]:
        given = {**measurements, STATE_IN: state} if self.contract.state else measurements
        for name in given:
            if name not in self._shapes:
                raise ValueError(f"the policy takes no measurement '{name}': {did_you_mean(name, self._shapes)}")
        feed: dict[str, Array] = {}
        for name, shape in self._shapes.items():
            if name not in given:
                raise ValueError(f"the policy needs the measurement '{name}'; given: {', '.join(measurements)}")
            feed[name] = np.asarray(given[name], dtype=np.float32)
            if feed[name].shape != (len(state), *shape):
                raise ValueError(f"'{name}' has shape {feed[name].shape}; expected {(len(state), *shape)}")
        return feed
