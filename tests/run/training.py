"""Trainings small enough for a test: in this process, or through `python train.py` in one of its own."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from robo_ppo.config import RunConfig
from robo_ppo.run import checkpoint
from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose
from robo_ppo.run.resolve import resolved
from robo_ppo.run.train import TrainingResult, train

ROOT = Path(__file__).parents[2]
STEPS = 256  # of one iteration

TINY = (
    "task=uav_hover",
    "task.episode_seconds=1.0",
    "num_envs=32",
    "ppo.horizon=8",
    "ppo.epochs=2",
    "ppo.minibatches=2",
    "policy.hidden=[16]",
    "policy.critic_hidden=[16]",
    "ranks=1",
    "threads=1",
    "total_steps=2048",
    "checkpoint_every=1024",
    "validation.every=1024",
    "validation.episodes=8",
    "evaluation.episodes=0",
)

ITERATIONS = 30
TOTAL = ITERATIONS * STEPS
LONG = (*TINY, f"total_steps={TOTAL}", "validation.every=4096")  # long enough to be stopped on the way

# train.py without what follows a training, which has tests of its own.
ALONE = (
    "from robo_ppo.run import main_job; main_job.finish = lambda *_: None; "
    "from robo_ppo.command_line import train; train()"
)


def configure(*overrides: str) -> RunConfig:
    """A tiny run, with changes."""
    return resolved(compose(*TINY, *overrides))


def train_in(folder: Path, *overrides: str) -> TrainingResult:
    """Train in a folder, in this process."""
    config = configure(*overrides)
    folder.mkdir(parents=True, exist_ok=True)
    folders.save_config(config, folder)
    return train(config, folder)


def final_state(folder: Path) -> dict[str, torch.Tensor]:
    """All that a run has learnt and remembers, of every rank, by name."""
    flat: dict[str, torch.Tensor] = {}

    def gather(prefix: str, value: Any) -> None:
        if isinstance(value, torch.Tensor):
            flat[prefix] = value
        elif isinstance(value, dict | list):
            for key, part in value.items() if isinstance(value, dict) else enumerate(value):
                gather(f"{prefix}/{key}", part)

    gather("", checkpoint.read(checkpoint.newest(folder))["ranks"])
    return flat


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Networks and normalisers in a run's newest checkpoint."""
    return checkpoint.read(checkpoint.newest(folder))["ranks"][0]["ppo"]["model"]


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    """Names whose bits differ."""
    assert one.keys() == other.keys()
    return [name for name, value in one.items() if not torch.equal(value, other[name])]


def rows(folder: Path) -> list[dict[str, float]]:
    """What metrics.jsonl holds; whole lines alone, since someone may be writing."""
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def command(*arguments: str, script: str = "train.py") -> list[str]:
    """The real command line."""
    return [sys.executable, str(ROOT / script), *arguments]


def environment(**extra: str) -> dict[str, str]:
    """What a process of a test sees: two threads at most, and no colours."""
    return os.environ | {"OMP_NUM_THREADS": "1", "TERM": "dumb"} | extra


def run(arguments: list[str], cwd: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run to the end, within five minutes."""
    return subprocess.run(
        arguments, cwd=cwd, env=environment(**extra), capture_output=True, text=True, timeout=300, check=False
    )


def start(arguments: list[str], cwd: Path, **extra: str) -> subprocess.Popen[str]:
    """Start, with what it prints in pipes."""
    return subprocess.Popen(
        arguments, cwd=cwd, env=environment(**extra), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_rows(process: subprocess.Popen[str], runs: Path, count: int) -> Path:
    """Wait until a training that has been started has written so many rows; returns its folder."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"it ended with {process.returncode}: {process.communicate()}")
        folder = runs / "latest"
        if folder.is_dir() and len(rows(folder)) >= count:
            return folder.resolve()
        time.sleep(0.02)
    raise AssertionError("it does not come on")


def check_refusal(code: object, stderr: str, said: str) -> None:
    """A person's mistake: exit code 2, and one message that says this."""
    assert code == 2
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1, "one message, without a stack trace"
    assert said in stderr
