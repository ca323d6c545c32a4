"""Metrics for Weights & Biases: its service, or files in the run's folder that `wandb sync` uploads later.

The key stays where `wandb login` puts it, or in WANDB_API_KEY: no file of ours ever holds it.
"""

import dataclasses
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, cast

# Reports about the library itself go to its makers even when a run is offline; whoever wants that can set it.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
# A run that is killed loses the rows of its last second at W&B, not those of its last fifteen.
os.environ.setdefault("WANDB__TRANSACTION_LOG_FLUSH_INTERVAL", "1")

import wandb

from robo_ppo.config import RunConfig
from robo_ppo.errors import UserError

_Mode = Literal["online", "offline", "disabled"]
_PATIENCE = 60.0  # s for what is still to be uploaded at the end; the rest stays in the run's folder


class WandbLogger:
    """A run at W&B, which has the name of the run's folder; W&B's own process uploads, and nothing waits for it."""

    def __init__(self, config: RunConfig, folder: Path, run_id: str | None) -> None:
        chosen = config.logger
        # Silent and without a hand on the standard output: the progress line is ours, and so are the messages.
        settings = wandb.Settings(silent=True, console="off", finish_timeout=_PATIENCE, finish_timeout_raises=True)
        wandb.setup(settings)
        if chosen.mode == "online" and not wandb.login(prompt=False, verify=True):
            raise UserError(
                "logger=wandb is not logged in: run wandb login, set WANDB_API_KEY, or take logger.mode=offline"
            )
        self.run_id = run_id or uuid.uuid4().hex[:8]
        self._run = wandb.init(
            project=chosen.project,
            entity=chosen.entity,
            group=chosen.group,
            tags=chosen.tags,
            mode=cast(_Mode, chosen.mode),
            name=folder.name,
            id=self.run_id,
            resume="allow",
            dir=folder,
            config=dataclasses.asdict(config),
            settings=settings,
        )
        self._upload = f"wandb sync {folder / 'wandb'}"
        if chosen.mode == "online":
            print(f"W&B: {self._run.url}")
        elif chosen.mode == "offline":
            print(f"W&B is offline; {self._upload} will upload the run")

    def write(self, row: Mapping[str, float]) -> None:
        """Every number of a row, at its environment step."""
        self._run.log({name: value for name, value in row.items() if name != "step"}, step=int(row["step"]))

    def close(self, *, failed: bool) -> None:
        """Upload the rest, and tell how the run ended."""
        try:
            self._run.finish(exit_code=int(failed))
        except TimeoutError as error:
            raise TimeoutError(f"not everything could be uploaded; {self._upload} will do it") from error
