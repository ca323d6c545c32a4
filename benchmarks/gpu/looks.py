"""Whether a step, or an update, makes the host wait for the GPU: torch itself is asked to refuse it.

Recording into graphs is off here, and so what Python does is done in every call. Warp's own calls are not torch's to
judge; they are asynchronous launches of recorded graphs.
"""

import dataclasses
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.gpu.isolated import Report
from robo_ppo.config import RunConfig
from robo_ppo.run.distributed import Ranks
from robo_ppo.run.train import Trainer

CONFIRMED = "confirmed"


def check(report: Report, config: RunConfig) -> None:
    """An environment's step, a rollout and an update, each as it is written."""
    trainer = Trainer(dataclasses.replace(config, capture=False), Path("nowhere"), Ranks(0, 1))
    environment = trainer.environment
    actions = torch.zeros(environment.num_envs, environment.action_size, device=environment.device)
    for _ in range(3):
        trainer.iterate()

    @torch.no_grad()
    def step() -> None:
        environment.step(actions)

    works: dict[str, Callable[[], object]] = {
        "environment step": step,
        "rollout": trainer.collect,
        "update": lambda: trainer.ppo.update(trainer.stepper.observation["critic"]),
    }
    for name, work in works.items():
        trainer.stepper.place(environment.reset())
        report({name: verdict(work, environment.device)})


def verdict(work: Callable[[], object], device: torch.device) -> str:
    """`CONFIRMED`, or the line that would wait and what torch says of it."""
    try:
        with _refusing(device):
            work()
    except RuntimeError as error:
        where = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
        return f"it waits for the device: {' '.join(str(error).split())[:200]} ({' → '.join(where[-4:])})"
    return CONFIRMED if device.type == "cuda" else "not measured: there is no GPU"


@contextmanager
def _refusing(device: torch.device) -> Generator[None]:
    if device.type != "cuda":
        yield
        return
    torch.cuda.synchronize(device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
