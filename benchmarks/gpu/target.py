"""How long a training takes until its policy is good: `train.py` as it is, until validation shows enough successes."""

import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from typing_extensions import override

from benchmarks.gpu.isolated import Report
from benchmarks.gpu.worlds import recorded
from robo_ppo.config import RunConfig
from robo_ppo.learn.ppo import Statistics
from robo_ppo.run.distributed import Ranks
from robo_ppo.run.folder import save_config
from robo_ppo.run.train import Trainer

TARGET = 0.95
_VALIDATE_EVERY = 8  # iterations


def train(report: Report, config: RunConfig, seconds: float) -> None:
    """Train to the target, to the end, or until the time is over; report what came of it."""
    steps = config.num_envs * config.ppo.horizon
    config = dataclasses.replace(
        config,
        validation=dataclasses.replace(config.validation, target=TARGET, every=_VALIDATE_EVERY * steps),
        checkpoint_every=10**12,
        logger=dataclasses.replace(config.logger, name="none"),
    )
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_config(config, folder)
        trainer = HurriedTrainer(config, folder, seconds)
        built = time.perf_counter() - began
        result = trainer.run()
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    report(
        {
            "num_envs": config.num_envs,
            "target": TARGET,
            "reached": result.best_validation is not None and result.best_validation >= TARGET,
            "stopped_by": "the end of its time" if trainer.is_late else result.stopped_by,
            "seconds": result.seconds,
            "of_that_validation_seconds": trainer.validation_seconds,
            "build_seconds": built,
            "steps": result.steps,
            "best_validation": result.best_validation,
            "recorded": recorded(trainer),
            "curve": _curve(lines),
        }
    )


class HurriedTrainer(Trainer):
    """A training that stops when its time is over."""

    def __init__(self, config: RunConfig, folder: Path, seconds: float) -> None:
        super().__init__(config, folder, Ranks(0, 1))
        self._deadline = time.monotonic() + seconds
        self.is_late = False
        self.validation_seconds = 0.0

    @override
    def iterate(self) -> Statistics:
        if time.monotonic() > self._deadline:
            self.is_late = True
            self._on_signal("the end of its time")
        return super().iterate()

    @override
    def _validate(self) -> float:
        began = time.perf_counter()
        found = super()._validate()
        self.validation_seconds += time.perf_counter() - began
        return found


def _curve(lines: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Seconds, steps and success of every validation."""
    return [
        {"seconds": line["seconds"], "steps": line["step"], "success": line["validation/success"]}
        for line in lines
        if "validation/success" in line
    ]
