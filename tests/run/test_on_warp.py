"""A training on `sim=mujoco_warp`, on Warp's CPU device: the same episodes as on `sim=mujoco_cpu`, and it learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from robo_ppo.env.build import build
from robo_ppo.env.vector import Observation
from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose
from robo_ppo.run.distributed import Ranks
from robo_ppo.run.episodes import Episodes, run_episodes
from robo_ppo.run.resolve import resolved
from robo_ppo.run.train import Trainer, make_model, train
from tests.run.training import configure

WARP = ("sim=mujoco_warp", "device=cpu")
EPISODES = 32
SHORT = ("task.episode_seconds=1.0", "randomization.measurement_errors=0")

# Warp computes in float32, MuJoCo in float64: over up to fifty control steps a return was off by 1.5e-5 at most. An
# episode that ended one step earlier or later would be off by far more, and so is the next one: they differ by 1 to 10.
TOLERANCE = 1e-4


def episodes(task: str, *overrides: str) -> Episodes:
    """The first validation episodes of a task, flown by a freshly initialised policy that acts on what it sees."""
    config = configure(f"task={task}", *SHORT, *overrides)
    environment = build(config, "validation", EPISODES, episodes=EPISODES)
    model = make_model(config, environment.observation_sizes, environment.action_size)
    last = model.actor[-1]
    assert isinstance(last, torch.nn.Linear)
    torch.nn.init.orthogonal_(last.weight, 0.3, generator=torch.Generator().manual_seed(1))

    @torch.no_grad()
    def act(observation: Observation) -> Tensor:
        normalized = model.normalizer("policy")(observation["policy"])
        return model.policy(normalized, model.initial_state(EPISODES))[0].mean

    return run_episodes(environment, act)


@pytest.mark.parametrize("task", ["uav_hover", "uav_nav"])
def test_the_same_episodes_bring_the_same_returns_on_both_back_ends(task: str) -> None:
    exact, warp = episodes(task), episodes(task, *WARP)
    np.testing.assert_array_equal(warp.ids, exact.ids)
    np.testing.assert_array_equal(warp.outcome, exact.outcome)
    np.testing.assert_array_equal(warp.steps, exact.steps)
    np.testing.assert_allclose(warp.returns, exact.returns, atol=TOLERANCE)
    assert np.std(exact.returns) > 1000 * TOLERANCE


def test_one_iteration_is_finite_and_changes_the_weights() -> None:
    config = configure(*WARP)
    trainer = Trainer(config, Path("nowhere"), Ranks(0, 1))
    before = {name: values.clone() for name, values in trainer.ppo.model.state_dict().items()}
    statistics = trainer.iterate()
    assert all(bool(torch.isfinite(value).all()) for value in statistics.values())
    rollout = trainer.ppo.rollout
    for values in (rollout.reward, rollout.value, rollout.log_prob, *rollout.observation.values()):
        assert bool(torch.isfinite(values).all())
    assert float(rollout.weight.mean()) == 1.0  # no world broke
    after = trainer.ppo.model.state_dict()
    assert all(bool(torch.isfinite(values).all()) for values in after.values())
    assert {name for name in before if not torch.equal(before[name], after[name])} >= {
        "actor.0.weight",
        "critic.0.weight",
        "log_std",
    }


@pytest.mark.slow
def test_it_learns(tmp_path: Path) -> None:
    """Hovering, in a few minutes of one core."""
    overrides = ("task=uav_hover", *WARP, "ranks=1", "num_envs=512", "ppo.minibatches=8", "total_steps=1_500_000")
    often = ("validation.every=100_000", "validation.episodes=64", "validation.target=0.8", "evaluation.episodes=0")
    config = resolved(compose(*overrides, *often, "logger=none"))
    folders.save_config(config, tmp_path)
    result = train(config, tmp_path)
    assert result.best_validation is not None and result.best_validation >= 0.8
    assert result.stopped_by == "target"
