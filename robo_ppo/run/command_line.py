"""The command line: `train.py`, `evaluate.py`, and `robo-ppo train|evaluate` where the package is installed.

Hydra composes the configuration from `conf/` and the arguments. A person's mistake ends in one message and exit code 2;
nothing heavy has been imported by then if the mistake is in the configuration.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

# Threads of OpenMP that wait by spinning would keep a core from the physics; read when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("KMP_BLOCKTIME", "0")

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from robo_ppo.config import EvaluateConfig, RunConfig, register
from robo_ppo.errors import UserError

COMMANDS = ("train", "evaluate")


def main() -> None:
    """`robo-ppo <command> …`."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        print(
            f"usage: robo-ppo {'|'.join(COMMANDS)} [key=value …]; robo-ppo train --help lists the keys", file=sys.stderr
        )
        sys.exit(0 if len(sys.argv) == 2 and sys.argv[1] in ("-h", "--help") else 2)
    command = sys.argv.pop(1)
    {"train": train, "evaluate": evaluate}[command]()


def train() -> None:
    """`python train.py task=uav_nav`."""
    _run("train", _train)


def evaluate() -> None:
    """`python evaluate.py run=latest`."""
    _run("evaluate", _evaluate)


def _run(config_name: str, task: Callable[[DictConfig], None]) -> None:
    """Let Hydra compose and call; turn mistakes into messages."""
    # Hydra prints errors in its own way and exits with 1 unless it is told to raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    register()
    try:
        hydra.main(version_base=None, config_path="pkg://robo_ppo.conf", config_name=config_name)(task)()
    except (UserError, HydraException, OmegaConfBaseException) as error:
        print(f"error: {_message(error)}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)


def _message(error: Exception) -> str:
    """What the person should read: our own messages whole, Hydra's without its internals."""
    if isinstance(error, UserError):
        return str(error)
    lines = [line for line in str(error).splitlines() if line.strip()]
    kept = [line.strip() for line in lines if not line.strip().startswith(("object_type=", "reference_type="))]
    return "; ".join(kept)


def _train(composed: DictConfig) -> None:
    from robo_ppo.run import main_job

    config = OmegaConf.to_object(composed)
    assert isinstance(config, RunConfig)
    is_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    overrides = list(HydraConfig.get().overrides.task)
    main_job.run(config, overrides, Path(HydraConfig.get().runtime.output_dir) if is_sweep else None)


def _evaluate(composed: DictConfig) -> None:
    from robo_ppo.run import evaluate as evaluation

    config = OmegaConf.to_object(composed)
    assert isinstance(config, EvaluateConfig)
    evaluation.run(config)
