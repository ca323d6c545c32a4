"""robo_ppo: the training that `python train.py` runs, with its ranks, watched from the first of them."""

import copy
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from benchmarks.peers.learner import After, Iteration
from robo_ppo.config import RunConfig
from robo_ppo.learn.ppo import Statistics
from robo_ppo.run.distributed import Ranks, start_ranks
from robo_ppo.run.episodes import Act
from robo_ppo.run.folder import save_config
from robo_ppo.run.others import other_ranks
from robo_ppo.run.train import Trainer, make_model

DISTRIBUTIONS: tuple[str, ...] = ()
SOURCES: tuple[str, ...] = ("as shipped: conf/ppo/uav.yaml, conf/policy/mlp.yaml, robo_ppo/config.py",)


def settings(config: RunConfig) -> dict[str, Any]:
    """All that it was told."""
    return {"ppo": dataclasses.asdict(config.ppo), "policy": dataclasses.asdict(config.policy)}


def train(config: RunConfig, after: After) -> None:
    """Train in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_config(config, folder)  # the other ranks read it there
        with other_ranks(config.ranks) as others, start_ranks(folder, others) as ranks:
            stopped_by = WatchedTrainer(config, folder, ranks, after).run().stopped_by
    if stopped_by != "end":
        raise SystemExit(f"the training was stopped by {stopped_by}")


class WatchedTrainer(Trainer):
    """The first rank; each of its iterations is reported, without what is logged, validated and saved between them."""

    def __init__(self, config: RunConfig, folder: Path, ranks: Ranks, after: After) -> None:
        super().__init__(config, folder, ranks)
        self._after, self._collected = after, 0.0

    @override
    def iterate(self) -> Statistics:
        began = time.perf_counter()
        statistics = super().iterate()
        seconds = time.perf_counter() - began
        self._after(Iteration(self._collected, seconds - self._collected, self.copy_of_policy))
        return statistics

    @override
    def collect(self) -> None:
        began = time.perf_counter()
        super().collect()
        self._collected = time.perf_counter() - began

    def copy_of_policy(self) -> Act:
        """The policy as it is now, for whoever validates it later."""
        model = make_model(self.config, self.environment.observation_sizes, self.environment.action_size)
        model.load_state_dict(copy.deepcopy(self.ppo.model.state_dict()))

        def act(observation: dict[str, Tensor]) -> Tensor:
            policy = observation["policy"]
            return model.policy(model.normalizer("policy")(policy), model.initial_state(len(policy)))[0].mean

        return torch.no_grad()(act)
