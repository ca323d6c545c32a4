"""A run's folder: where it lies, how it is found again, and what its configuration was.

runs/uav_nav/2026-11-21_10-30-00/
  config.yaml  versions.json  metrics.jsonl  tensorboard/  checkpoints/  policy.onnx  evaluation/  report.html
runs/latest → the newest
"""

import dataclasses
import importlib.metadata
import json
import os
import platform
import subprocess
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from robo_ppo import __version__
from robo_ppo.config import RunConfig
from robo_ppo.errors import UserError

LATEST = "latest"


def create(runs: str, task: str) -> Path:
    """A new folder for a run, and `latest` pointing to it."""
    root = Path(runs)
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    for suffix in ("", *(f"_{number}" for number in range(1, 1000))):
        folder = root / task / (stamp + suffix)
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"cannot make the run's folder {folder}: {error.strerror}; choose another place with runs=…"
            ) from error
    else:
        raise UserError(f"{root / task} is full of runs of this very second")
    _point_latest(root, folder)
    return folder


def _point_latest(root: Path, folder: Path) -> None:
    link, fresh = root / LATEST, root / f".{LATEST}.{os.getpid()}"
    try:
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(folder.relative_to(root), target_is_directory=True)
        fresh.replace(link)
    except OSError:  # a file system without links: a file with the path does it too
        link.write_text(str(folder.relative_to(root)))


def find(name: str, runs: str) -> Path:
    """The folder of a run, given its path or "latest"."""
    folder = Path(name)
    if name == LATEST:
        link = Path(runs) / LATEST
        folder = link.parent / link.read_text().strip() if link.is_file() else link.resolve()
        if not folder.is_dir():
            raise UserError(
                f"there is no run in {Path(runs).absolute()} yet; train one with python train.py, or say where with runs=…"
            )
    if not folder.is_dir():
        raise UserError(f"there is no run in {folder.absolute()}")
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder.absolute()} is not a run: it has no config.yaml")
    return folder


def save_config(config: RunConfig, folder: Path) -> str:
    """Write config.yaml; returns its text."""
    text = OmegaConf.to_yaml(OmegaConf.structured(config))
    (folder / "config.yaml").write_text(text)
    (folder / "versions.json").write_text(json.dumps(versions(), indent=2) + "\n")
    return text


def portable(config: RunConfig) -> str:
    """The configuration's YAML without what concerns only this machine's folders."""
    return OmegaConf.to_yaml(OmegaConf.structured(dataclasses.replace(config, runs="runs", resume=None, init=None)))


def resumed_config(folder: Path, overrides: list[str]) -> RunConfig:
    """The configuration of a run that goes on; nothing of it can be changed on the way."""
    changed = [text for text in overrides if not text.startswith(("resume=", "runs=", "task="))]
    if changed:
        raise UserError(
            f"a resumed run goes on as it was configured, so {changed[0]} cannot apply; start a new one with init={folder}"
        )
    return load_config(folder)


def load_config(folder: Path) -> RunConfig:
    """The configuration of a run."""
    return parse_config((folder / "config.yaml").read_text(), str(folder / "config.yaml"))


def parse_config(text: str, where: str) -> RunConfig:
    """A run's configuration from its YAML."""
    try:
        merged = OmegaConf.merge(OmegaConf.structured(RunConfig), OmegaConf.create(text))
        config = OmegaConf.to_object(merged)
    except (OmegaConfBaseException, ValueError) as error:
        message = str(error).splitlines()[0]
        raise UserError(
            f"{where} does not fit robo_ppo {__version__}: {message}; it was written by another version"
        ) from error
    if not isinstance(config, RunConfig):
        raise UserError(f"{where} is not the configuration of a run")
    return config


def versions() -> dict[str, str]:
    """What the run was made with."""
    names = ("torch", "mujoco", "numpy", "onnx", "onnxruntime", "onnxscript", "hydra-core")
    found = {name: importlib.metadata.version(name) for name in names}
    return {"robo_ppo": __version__, "python": platform.python_version(), **found, "commit": commit()}


def commit() -> str:
    """Commit of the source tree, "unknown" where it is not one."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
