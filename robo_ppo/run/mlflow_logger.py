"""Metrics for MLflow: a tracking server, or an SQLite file beside the runs that `mlflow ui` shows.

Names and passwords stay in MLflow's own environment variables: no file of ours ever holds them.
"""

import dataclasses
import logging
import os
import re
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

# Statistics about the library's use go to its makers even when the server is one's own; whoever wants that can set it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A server that does not answer is told of in seconds, not after minutes; rows are sent again with the next one anyway.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from robo_ppo.config import RunConfig

# What they tell of new tables and of every retry would run through the progress line.
logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("urllib3").setLevel(logging.ERROR)

_MOST_METRICS, _MOST_PARAMS = 1000, 100  # that MLflow takes at once
_PATIENCE = 60.0  # s for what is still to be sent at the end


class MlflowLogger:
    """A run of an MLflow experiment, which has the name of the run's folder.

    A thread of its own sends the rows, so that the training does not wait for a server. What could not be sent is kept
    and goes with the next row; `write` raises what went wrong meanwhile.
    """

    def __init__(self, config: RunConfig, folder: Path, run_id: str | None) -> None:
        uri = config.logger.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or _local_uri(config.runs)
        self._client = MlflowClient(tracking_uri=uri)
        self.run_id = run_id or self._begin(config, folder.name)
        self._client.update_run(self.run_id, status="RUNNING")
        self._rows: SimpleQueue[list[Metric] | None] = SimpleQueue()
        self._unsent: list[Metric] = []
        self._trouble: Exception | None = None
        self._sender = Thread(target=self._send, daemon=True)
        self._sender.start()
        print(f"MLflow: run {folder.name} in {re.sub('//[^/]*@', '//', uri)}")

    def write(self, row: Mapping[str, float]) -> None:
        """Every number of a row, at its environment step."""
        now, step = round(time.time() * 1000), int(row["step"])
        self._rows.put([Metric(name, value, now, step) for name, value in row.items() if name != "step"])
        self._complain()

    def close(self, *, failed: bool) -> None:
        """Send the rest, and tell how the run ended."""
        self._rows.put(None)
        self._sender.join(_PATIENCE)
        if self._unsent or self._sender.is_alive():
            self._complain()
            raise TimeoutError("the last rows have not been sent")
        self._client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")

    def _begin(self, config: RunConfig, name: str) -> str:
        """A new run with the whole configuration as its parameters."""
        experiment = config.logger.experiment or "Default"
        found = self._client.get_experiment_by_name(experiment)
        number = self._client.create_experiment(experiment) if found is None else found.experiment_id
        run_id: str = self._client.create_run(number, run_name=name).info.run_id
        params = list(_flat(dataclasses.asdict(config)))
        for first in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(run_id, params=params[first : first + _MOST_PARAMS])
        return run_id

    def _send(self) -> None:
        for row in iter(self._rows.get, None):
            self._unsent += row
            try:
                while self._unsent:
                    self._client.log_batch(self.run_id, metrics=self._unsent[:_MOST_METRICS])
                    del self._unsent[:_MOST_METRICS]
            except Exception as error:  # whatever stands between here and the server
                self._trouble = error

    def _complain(self) -> None:
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble


def _local_uri(runs: str) -> str:
    return f"sqlite:///{Path(runs).absolute() / 'mlflow.db'}"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Generator[Param]:
    """Nested settings as MLflow's parameters, such as `ppo.gamma`."""
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield Param(prefix + name, str(value))
