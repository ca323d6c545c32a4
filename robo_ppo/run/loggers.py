"""Where to watch a training, besides metrics.jsonl: TensorBoard, Weights & Biases, MLflow, or nowhere.

    python train.py logger=wandb logger.project=arms        # conf/logger/ has the choices, docs/loggers.md says more

    logger = open_logger(config, folder, from_step=0, known_step=0.0)
    logger.write({"step": 131072.0, "ppo/kl": 0.02})        # environment steps so far, and numbers by name
    logger.close(failed=False)

Nothing else needs the logger: plots, reports and a resumed run read what the run's folder holds. So a service that
cannot be reached is refused at the start, when the person is there to mend it, and costs one warning later on.

A library is imported when it is chosen, and not before.
"""

import dataclasses
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Protocol
from urllib.parse import urlsplit

from robo_ppo.config import LoggerConfig, RunConfig
from robo_ppo.errors import UserError, did_you_mean

# The settings that belong to each choice. Its library, if it is an extra, has the same name.
_SETTINGS = {
    "tensorboard": (),
    "wandb": ("project", "entity", "mode", "group", "tags"),
    "mlflow": ("tracking_uri", "experiment"),
    "none": (),
}
_EXTRAS = {"wandb": "W&B", "mlflow": "MLflow"}
_MODES = ("online", "offline", "disabled")


class Logger(Protocol):
    """Shows the rows of a training somewhere."""

    def write(self, row: Mapping[str, float]) -> None:
        """One row of numbers; `step` is the number of environment steps so far."""
        ...

    def close(self, *, failed: bool) -> None:
        """No more rows will come; `failed` says that an error ended them."""
        ...


class Service(Logger, Protocol):
    """A logger whose rows go to a run that some service keeps under an id."""

    run_id: str


class NoLogger:
    """metrics.jsonl is enough."""

    def write(self, row: Mapping[str, float]) -> None:
        """Nothing."""

    def close(self, *, failed: bool) -> None:
        """Nothing."""


def check(config: LoggerConfig) -> None:
    """A `UserError` for settings that make no sense, and for a library that is not installed."""
    name = config.name
    if name not in _SETTINGS:
        raise UserError(f"logger.name={name}; {did_you_mean(name, _SETTINGS)}")
    for key, value in dataclasses.asdict(config).items():
        owners = [other for other, keys in _SETTINGS.items() if key in keys]
        if owners and value is not None and name not in owners:
            raise UserError(f"logger.{key} is a setting of logger={owners[0]}, which logger={name} does not have")
    if name == "wandb" and config.mode not in _MODES:
        raise UserError(f"logger.mode={config.mode}; it must be {', '.join(_MODES[:-1])} or {_MODES[-1]}")
    if "@" in urlsplit(config.tracking_uri or "").netloc:
        raise UserError(
            "logger.tracking_uri names a user, and the run's config.yaml would keep it; set MLFLOW_TRACKING_URI, or "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, in the environment instead"
        )
    if name in _EXTRAS and find_spec(name) is None:
        raise UserError(f"logger={name} needs {_EXTRAS[name]}: pip install 'robo-ppo[{name}]'")


def open_logger(config: RunConfig, folder: Path, from_step: int, known_step: float) -> Logger:
    """The logger that a run has chosen.

    A resumed run goes on `from_step` (0: it begins), and may repeat rows up to `known_step`, which an earlier session
    has written beyond its last checkpoint.
    """
    check(config.logger)
    match config.logger.name:
        case "none":
            return NoLogger()
        case "tensorboard":
            from robo_ppo.run.tensorboard_logger import TensorBoardLogger

            return TensorBoardLogger(folder / "tensorboard", from_step)
        case name:
            return _Forwarder(name, _start(name, config, folder), known_step)


def _start(name: str, config: RunConfig, folder: Path) -> Service:
    """Begin a run at a service, or go on with the one that a file in the run's folder names."""
    id_file = folder / f"{name}_run_id.txt"
    run_id = id_file.read_text().strip() if id_file.is_file() else None
    try:
        if name == "wandb":
            from robo_ppo.run.wandb_logger import WandbLogger

            service = WandbLogger(config, folder, run_id)
        else:
            from robo_ppo.run.mlflow_logger import MlflowLogger

            service = MlflowLogger(config, folder, run_id)
    except UserError:
        raise
    except Exception as error:  # whatever a library raises about its settings, an account or the network
        raise UserError(f"logger={name} cannot start: {_reason(error)}; logger=tensorboard needs no service") from error
    id_file.write_text(service.run_id + "\n")
    return service


class _Forwarder:
    """Passes rows on to a service: none twice, and none at the cost of the training.

    The rows that a resumed run repeats are those that the service has: a step has one point there, the first.
    """

    def __init__(self, name: str, service: Service, known_step: float) -> None:
        self._name, self._service, self._known_step = name, service, known_step
        self._warned = False

    def write(self, row: Mapping[str, float]) -> None:
        if row["step"] > self._known_step:
            with self._unharmed():
                self._service.write(row)

    def close(self, *, failed: bool) -> None:
        with self._unharmed():
            self._service.close(failed=failed)

    @contextmanager
    def _unharmed(self) -> Generator[None]:
        try:
            yield
        except Exception as error:  # whatever a library raises; the training has begun, and goes on
            if not self._warned:
                self._warned = True
                print(
                    f"\nwarning: logger={self._name} fails: {_reason(error)}; "
                    "the run goes on without it, and metrics.jsonl has every row",
                    file=sys.stderr,
                )


def _reason(error: Exception) -> str:
    """What a library says, on one line."""
    return shorten(str(error), 200, placeholder=" …").rstrip(".") or type(error).__name__
