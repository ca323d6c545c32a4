"""A run's folder: where it lies, how it is found again, and what its configuration was.

runs/uav_nav/2026-11-21_10-30-00/
  config.yaml  versions.json  metrics.jsonl  tensorboard/  checkpoints/  policy.onnx  evaluation/  report.html
runs/latest → the newest
"""

import dataclasses
import importlib.metadata
import importlib.resources
import json
import os
import platform
import re
import subprocess
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf

from robo_ppo import __version__
from robo_ppo.config import LoggerConfig, RunConfig, parse_config
from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.run.output import program

LATEST = "latest"


def create(runs: str, task: str, *, latest: bool = True) -> Path:
    """A new folder for a run, with `latest` pointing to it unless it is not one to be resumed."""
    root, task = Path(runs), folder_name(task)
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
    if latest:
        point_latest(root, folder)
    return folder


def folder_name(task: str) -> str:
    """Name of the folder of a task's runs: that of the task, without what no folder's name may have."""
    return re.sub(r"[/:\\]", "_", task)


def point_latest(root: Path, folder: Path) -> None:
    """Make `latest` in the folder of all runs point to one of them."""
    link, fresh = root / LATEST, root / f".{LATEST}.{os.getpid()}"
    target = os.path.relpath(folder, root)
    try:
        try:
            fresh.unlink(missing_ok=True)
            fresh.symlink_to(target, target_is_directory=True)
            fresh.replace(link)
        except OSError:  # a file system without links: a file with the path does it too
            fresh.unlink(missing_ok=True)
            link.write_text(target)
    except OSError as error:
        raise UserError(f"cannot make {link} point to {folder}: {error.strerror}") from error


def find(name: str, runs: str) -> Path:
    """The folder of a run, given its path or "latest"."""
    folder = Path(name)
    if name == LATEST:
        link = Path(runs) / LATEST
        folder = link.parent / link.read_text().strip() if link.is_file() else link.resolve()
        if not folder.is_dir():
            raise UserError(
                f"there is no run in {Path(runs).absolute()} yet; train one with {program('train')}, "
                "or say where they are with runs=…"
            )
    if not folder.is_dir():
        raise UserError(f"there is no run in {folder.absolute()}")
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder.absolute()} is not a run: it has no config.yaml")
    return folder


def find_bundle(name: str) -> Path:
    """The file of a policy, given its path or the name of a shipped one (`robo_ppo.policies`)."""
    path = Path(name)
    if path.is_file() or name.endswith(".onnx"):
        return path
    shipped = shipped_policies()
    if name not in shipped:
        raise UserError(
            f"there is no file {path.absolute()}, and no shipped policy '{name}'; {did_you_mean(name, shipped)}"
        )
    return shipped[name]


def shipped_policies() -> dict[str, Path]:
    """The policies that come with robo_ppo, by the name of their task."""
    folder = Path(str(importlib.resources.files("robo_ppo.policies")))
    return {path.stem: path for path in sorted(folder.glob("*.onnx"))}


def save_config(config: RunConfig, folder: Path) -> str:
    """Write config.yaml; returns its text."""
    text = OmegaConf.to_yaml(OmegaConf.structured(config))
    try:
        (folder / "config.yaml").write_text(text)
        (folder / "versions.json").write_text(json.dumps(versions(), indent=2) + "\n")
    except OSError as error:
        raise UserError(f"cannot write into {folder}: {error.strerror}") from error
    return text


def portable(config: RunConfig) -> str:
    """The configuration's YAML without what concerns only this machine's folders and its owner's accounts."""
    anywhere = dataclasses.replace(config, runs="runs", resume=None, init=None, logger=LoggerConfig())
    return OmegaConf.to_yaml(OmegaConf.structured(anywhere))


def resumed_config(folder: Path, overrides: list[str]) -> RunConfig:
    """The configuration of a run that goes on; nothing of it can be changed on the way."""
    config = load_config(folder)
    same = chosen_task(config.task.name, config.env_id, config.task.entry_point)
    changed = [text for text in overrides if text not in same and not text.startswith(("resume=", "runs="))]
    if changed:
        raise UserError(
            f"a resumed run goes on as it was configured ({' '.join(same)}), so {changed[0]} cannot apply; "
            f"start a new one with init={folder}"
        )
    return config


def chosen_task(name: str, env_id: str, entry_point: str) -> list[str]:
    """What to type to choose a task again."""
    return [f"task={library_of(entry_point)}", f"env_id={env_id}"] if env_id else [f"task={name}"]


def library_of(entry_point: str) -> str:
    """The choice of task whose `env_id` names an environment of that class."""
    return "isaac_lab" if entry_point.startswith("robo_ppo.env.isaac_lab:") else "gymnasium"


def load_config(folder: Path) -> RunConfig:
    """The configuration of a run."""
    path = folder / "config.yaml"
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if is_refinement(folder):
        raise UserError(
            f"{folder} is a refinement, not a run: {program('refine')} resume={folder} goes on; "
            f"its policy is bundle={folder}/policy.onnx, its trainings are in {folder}/candidates"
        )
    return parse_config(text, str(path))


def is_refinement(folder: Path) -> bool:
    """Whether a folder with a config.yaml belongs to `refine.py`: only its configuration has a `refine`."""
    return re.search(r"^refine:", (folder / "config.yaml").read_text(), re.MULTILINE) is not None


def versions() -> dict[str, str]:
    """What the run was made with."""
    names = ("torch", "mujoco", "numpy", "onnx", "onnxruntime", "onnxscript", "hydra-core")
    found = {name: version(name) for name in names}
    return {"robo_ppo": __version__, "python": platform.python_version(), **found, "commit": commit()}


def version(distribution: str) -> str:
    """Version of an installed distribution, "unknown" where nothing says it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str:
    """Commit of the source tree, "unknown" where it is not one."""
    try:
        command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
