"""The command line: `train.py`, `evaluate.py`, `refine.py`, `play.py`; `robo-ppo <command>` where installed.

Hydra composes the configuration from `conf/` and the arguments. A person's mistake ends in one message and exit code 2;
nothing heavy has been imported by then if the mistake is in the configuration.
"""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

# Threads of OpenMP that wait by spinning would keep a core from the physics; read when torch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
os.environ.setdefault("KMP_BLOCKTIME", "0")

import hydra
import yaml
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from robo_ppo.config import EvaluateConfig, PlayConfig, RefineConfig, RunConfig, register, typed
from robo_ppo.errors import UserError
from robo_ppo.run import launch, search_path
from robo_ppo.run.hydra_errors import COMPOSING, explain, explain_half_group, explain_yaml
from robo_ppo.run.output import silence
from robo_ppo.run.sweep import plugins

_USAGE = (
    "usage: robo-ppo train|evaluate|refine|play [key=value …]   (robo-ppo train --help lists the keys)\n"
    "       robo-ppo export run=latest [format=c]        (robo-ppo export --help says what else)\n"
    "       robo-ppo library add|list|select             (exported policies with cards: robo-ppo library --help)\n"
    "       robo-ppo new <my_project>                    (write a project with a task of your own)"
)


def main() -> None:
    """`robo-ppo <command> …`."""
    commands = (train, evaluate, refine, play, export, library, new)
    named = {command.__name__: command for command in commands}
    if len(sys.argv) < 2 or sys.argv[1] not in named:
        print(_USAGE, file=sys.stderr)
        sys.exit(0 if len(sys.argv) == 2 and sys.argv[1] in ("-h", "--help") else 2)
    named[sys.argv.pop(1)]()


def train() -> None:
    """`python train.py task=uav_nav`."""
    _run("train", _train)


def evaluate() -> None:
    """`python evaluate.py run=latest`."""
    _run("evaluate", _evaluate)


def refine() -> None:
    """`python refine.py task=uav_nav reward=my_reward.py`."""
    _or_refuse(_check_refinement)
    _run("refine", _refine)


def play() -> None:
    """`python play.py run=latest`."""
    _run("play", _play)


def export() -> None:
    """`robo-ppo export run=latest`, which is `python -m robo_ppo.export run=latest`."""
    from robo_ppo.run.export import main as export_main

    sys.exit(export_main(sys.argv[1:]))


def library() -> None:
    """`robo-ppo library list`, which is `python -m robo_ppo.library list`."""
    from robo_ppo.library.command import main as library_main

    sys.exit(library_main(sys.argv[1:]))


def new() -> None:
    """`robo-ppo new my_project`."""
    from robo_ppo.run import new_project

    _or_refuse(lambda: new_project.main(sys.argv[1:]))


def _or_refuse(job: Callable[[], object]) -> None:
    """Do it, or end with the message of a mistake."""
    try:
        job()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def _run(config_name: str, job: Callable[[DictConfig], None]) -> None:
    """Let Hydra compose and call, once or for every job of a sweep; turn mistakes into messages."""
    # Hydra prints errors in its own way and exits with 1 unless it is told to raise them.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # PyOpenGL reports on its own accelerators when MuJoCo imports it, which is at once where MUJOCO_GL is set.
    logging.getLogger("OpenGL").setLevel(logging.WARNING)
    register(config_name)
    plugins.register()
    mistakes: list[str] = []

    def refuse(message: str) -> None:
        mistakes.append(message)
        _tell(f"error: {message}")

    composing = True

    def run_job(composed: DictConfig) -> None:
        nonlocal composing
        composing = False
        # Here, since Hydra adds a line of its own to whatever leaves a job.
        try:
            job(composed)
        except UserError as error:
            refuse(str(error))
        except OmegaConfBaseException as error:
            refuse(explain(error))
        except BrokenPipeError:  # whoever read the output, as in `… | head`, has seen enough
            silence()
            sys.exit(128 + signal.SIGPIPE)
        except RuntimeError as error:
            if "MUJOCO_GL" not in str(error):  # read by MuJoCo when it is imported
                raise
            refuse(f"{error}; unset it, or take egl, osmesa or glfw")

    try:
        if config_name == "train" and launch.find() is not None and {"-m", "--multirun"} & set(sys.argv):
            raise UserError("torchrun starts the ranks of one run; start each job of a sweep with its own torchrun")
        search_path.register()
        hydra.main(version_base=None, config_path="pkg://robo_ppo.conf", config_name=config_name)(run_job)()
    except UserError as error:
        refuse(str(error))
    except yaml.MarkedYAMLError as error:
        if not composing:
            raise
        refuse(explain_yaml(error))
    except COMPOSING as error:
        if not composing:
            raise
        refuse(explain(error))
    except AssertionError as error:
        message = explain_half_group(error, sys.argv[1:]) if composing else None
        if message is None:
            raise
        refuse(message)
    except KeyboardInterrupt:
        _tell("\ninterrupted")
        sys.exit(130)
    if mistakes:
        sys.exit(2)


def _tell(message: str) -> None:
    """Print a last message; of the processes that torchrun starts on a machine, the first one does."""
    try:
        place = launch.find()
    except UserError:
        place = None
    if place is None or place.local_rank == 0:
        print(message, file=sys.stderr)
    else:
        # torchrun ends all once the first has gone, and that must not be before the message.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(2))
        time.sleep(2.0)


def _check_refinement() -> None:
    """A `UserError` for what cannot be a refinement, before Hydra reads it, and repeats a key in a message."""
    from robo_ppo.shaping.llm import keys

    keys.refuse_in_arguments(sys.argv[1:])
    if {"-m", "--multirun"} & set(sys.argv):
        raise UserError("a refinement is no job of a sweep; its candidates train side by side without -m")
    if launch.find() is not None:
        raise UserError("torchrun starts the ranks of one training; a refinement starts those of its own: ranks=…")


def _train(composed: DictConfig) -> None:
    config = typed(composed, RunConfig)
    from robo_ppo.run import main_job

    is_sweep = HydraConfig.get().mode == RunMode.MULTIRUN
    overrides = list(HydraConfig.get().overrides.task)
    main_job.run(config, overrides, Path(HydraConfig.get().runtime.output_dir) if is_sweep else None)


def _evaluate(composed: DictConfig) -> None:
    config = typed(composed, EvaluateConfig)
    from robo_ppo.run import evaluate as evaluation

    evaluation.run(config)


def _refine(composed: DictConfig) -> None:
    config = typed(composed, RefineConfig)
    from robo_ppo.shaping import command

    command.run(config, list(HydraConfig.get().overrides.task), instantiate(HydraConfig.get().launcher))


def _play(composed: DictConfig) -> None:
    config = typed(composed, PlayConfig)
    from robo_ppo.run import play as live

    live.run(config, list(HydraConfig.get().overrides.task))
