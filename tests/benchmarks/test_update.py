"""The update that is compared is one of the same rollout by the same networks, begun anew each time."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import update
from benchmarks.peers import with_rsl_rl
from robo_ppo.config import RunConfig
from robo_ppo.run.compose import compose
from robo_ppo.run.distributed import Ranks
from robo_ppo.run.resolve import resolved
from robo_ppo.run.train import Trainer

TINY = (
    "task=uav_hover",
    "task.episode_seconds=0.3",
    "num_envs=32",
    "ppo.horizon=8",
    "ppo.epochs=2",
    "ppo.minibatches=2",
    "validation.episodes=4",
)


@pytest.fixture
def config() -> RunConfig:
    return update.share_of_a_rank(resolved(compose(*TINY, "ranks=2", "threads=1")))


def test_a_rank_alone_learns_from_its_share(config: RunConfig) -> None:
    assert config.num_envs == 16 and config.ranks == 1 and config.threads == 1


def test_rsl_rl_learns_from_our_rollout(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    runner_on = with_rsl_rl.runner_on

    def kept(*arguments: Any) -> Any:
        made.append(runner_on(*arguments))
        return made[0]

    monkeypatch.setattr(with_rsl_rl, "runner_on", kept)
    trainer = Trainer(config, Path("nowhere"), Ranks(0, 1))
    trainer.collect()
    rollout = trainer.ppo.rollout
    theirs = update._rsl_rl(trainer)
    algorithm = made[0].alg
    storage = algorithm.storage
    for group in ("policy", "critic"):
        assert torch.equal(storage.observations[group], rollout.observation[group])
    assert torch.equal(storage.actions, rollout.action)
    assert torch.equal(storage.dones.squeeze(-1).bool(), rollout.ended)
    alive = ~rollout.ended
    assert torch.equal(storage.rewards.squeeze(-1)[alive], rollout.reward[alive])
    probability = algorithm.actor.get_output_log_prob(rollout.action[-1])  # of the last step, whose output it holds
    torch.testing.assert_close(storage.actions_log_prob[-1].squeeze(-1), probability)

    begun = copy.deepcopy(algorithm.actor.state_dict())
    theirs()
    learnt = copy.deepcopy(algorithm.actor.state_dict())
    assert not torch.equal(begun["mlp.0.weight"], learnt["mlp.0.weight"])
    assert torch.equal(storage.actions, rollout.action), "the next update finds the same rollout"


def test_ours_begins_anew_each_time(config: RunConfig) -> None:
    trainer = Trainer(config, Path("nowhere"), Ranks(0, 1))
    trainer.collect()
    begun = copy.deepcopy(trainer.ppo.model.state_dict())
    ours = update._ours(trainer)
    seen: list[torch.Tensor] = []
    learn = trainer.ppo.update

    def watched(last_critic: torch.Tensor) -> Any:
        seen.append(trainer.ppo.model.state_dict()["actor.0.weight"].clone())
        return learn(last_critic)

    trainer.ppo.update = watched
    assert ours() > 0.0 and ours() > 0.0
    assert all(torch.equal(weights, begun["actor.0.weight"]) for weights in seen)
    assert not torch.equal(trainer.ppo.model.state_dict()["actor.0.weight"], begun["actor.0.weight"])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["update", *TINY, "ranks=1", "--pairs", "2", "--out", str(tmp_path)])
    update.main()
    assert "times faster (pairs: " in capsys.readouterr().out
    (path,) = tmp_path.glob("update_*.json")
    found = json.loads(path.read_text())
    ours, theirs = (found["seconds"][name]["all"] for name in ("ours", "rsl_rl"))
    assert len(ours) == len(theirs) == 2
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    assert found["times_faster"]["min"] == pytest.approx(ratios[0])
    assert found["times_faster"]["median"] == pytest.approx(sum(ratios) / 2)
    assert found["num_envs"] == 32 and found["card"] is None
