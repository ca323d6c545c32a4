"""A training repeats itself, keeps its best policy, stops when told, and says what went wrong."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robo_ppo.errors import UserError
from robo_ppo.run import checkpoint
from robo_ppo.run import folder as folders
from robo_ppo.run.distributed import Ranks
from robo_ppo.run.train import Trainer, train
from tests.run.training import STEPS, configure, differing, final_state, rows, train_in, weights


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    result = train_in(folder)
    assert (result.stopped_by, result.steps) == ("end", 2048)
    return folder


def test_same_seed_same_weights_on_any_number_of_physics_threads(run: Path, tmp_path: Path) -> None:
    train_in(tmp_path / "again", "sim.threads=2")
    assert not differing(final_state(run), final_state(tmp_path / "again"))
    train_in(tmp_path / "other", "seed=1")
    assert "actor.0.weight" in differing(weights(run), weights(tmp_path / "other"))


def test_weights_change_and_stay_finite(run: Path) -> None:
    first = Trainer(configure(), Path("nowhere"), Ranks()).ppo.model.state_dict()
    last = weights(run)
    assert set(differing(first, last)) == set(first)
    assert all(bool(torch.isfinite(value).all()) for value in last.values())


def test_the_last_three_checkpoints_and_the_best_are_kept(tmp_path: Path) -> None:
    train_in(tmp_path, "checkpoint_every=256", "validation.every=512", "total_steps=1536")
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["best.pt", *(f"step_{steps:012d}.pt" for steps in (1024, 1280, 1536))]
    best = checkpoint.read(tmp_path / "checkpoints/best.pt")
    validated = {row["step"]: row["validation/success"] for row in rows(tmp_path) if "validation/success" in row}
    assert list(validated) == [512, 1024, 1536]
    assert best["validation"] == max(validated.values()) == validated[best["steps"]]


def test_a_run_ends_with_a_validated_policy_however_short_it_is(tmp_path: Path) -> None:
    result = train_in(tmp_path, "validation.every=1_000_000", "checkpoint_every=1_000_000", "total_steps=300")
    assert result.steps == 512  # whole iterations
    assert result.best_validation is not None
    assert differing(checkpoint.read(tmp_path / "checkpoints/best.pt")["model"], weights(tmp_path)) == []


def test_metrics_and_tensorboard_tell_the_same(run: Path) -> None:
    written = rows(run)
    assert [row["step"] for row in written] == [STEPS * (i + 1) for i in range(8)]
    assert [row["step"] for row in written if "validation/success" in row] == [1024, 2048]
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    for name in ("ppo/kl", "ppo/explained_variance", "validation/success", "train/return"):
        expected = [(row["step"], pytest.approx(row[name], rel=1e-5)) for row in written if name in row]
        assert [(event.step, event.value) for event in events.Scalars(name)] == expected


def test_it_stops_at_the_target_and_does_not_go_on_after_it(tmp_path: Path) -> None:
    result = train_in(tmp_path, "validation.target=0.0", "total_steps=4096")
    assert (result.stopped_by, result.steps) == ("target", 1024)
    before = final_state(tmp_path)
    again = train(folders.load_config(tmp_path), tmp_path)
    assert (again.stopped_by, again.steps) == ("target", 1024)
    assert not differing(before, final_state(tmp_path))


def test_init_starts_from_the_best_weights_of_another_run(run: Path, tmp_path: Path) -> None:
    trainer = Trainer(configure(f"init={run}", "seed=5"), tmp_path, Ranks())
    best = checkpoint.read(run / "checkpoints/best.pt")["model"]
    assert not differing(best, trainer.ppo.model.state_dict())
    assert trainer.steps == 0


def test_init_latest_means_the_run_that_was_the_latest(run: Path, tmp_path: Path) -> None:
    folders.point_latest(tmp_path, run)
    config = configure(f"runs={tmp_path}", "init=latest")
    folders.create(str(tmp_path), "uav_hover")
    assert config.init == str(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("policy.hidden=[8]", r"was trained with policy\.hidden=\[16\], this run has \[8\]"),
        ("task.observation.history=2", r"was trained with task\.observation\.history=1, this run has 2"),
        ("policy=gru", r"was trained with policy\.recurrent=none, this run has gru"),
        ("policy.critic_hidden=[8]", r"best\.pt does not fit this task, robot and policy: .*size mismatch"),
    ],
)
def test_init_from_networks_of_another_shape_is_refused(run: Path, tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Trainer(configure(f"init={run}", change), tmp_path, Ranks())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_envs": 64}, "the same task, robot and num_envs"),
        ({"ranks": 2, "num_envs": 64}, "written by 1 ranks, not 2"),
    ],
)
def test_a_checkpoint_of_another_configuration_is_refused(
    run: Path, tmp_path: Path, change: dict[str, int], said: str
) -> None:
    (tmp_path / "checkpoints").mkdir()
    newest = checkpoint.newest(run)
    (tmp_path / "checkpoints" / newest.name).write_bytes(newest.read_bytes())
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    config = dataclasses.replace(configure(), **change)
    with pytest.raises(UserError, match=said):
        Trainer(config, tmp_path, Ranks(0, config.ranks))


def test_a_configuration_that_was_edited_since_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    newest = checkpoint.newest(run)
    (tmp_path / "checkpoints" / newest.name).write_bytes(newest.read_bytes())
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text().replace("gamma: 0.99", "gamma: 0.9"))
    with pytest.raises(UserError, match=r"config\.yaml was changed since step_\d+\.pt was written"):
        Trainer(configure(), tmp_path, Ranks())


def test_an_update_that_diverges_ends_the_training_and_leaves_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the update diverged: .*; smaller rewards or a lower"):
        train_in(tmp_path, "reward.time.weight=1e30")
    assert all(bool(torch.isfinite(value).all()) for value in weights(tmp_path).values())
    assert not rows(tmp_path)


def test_the_curriculum_rises_with_success(tmp_path: Path) -> None:
    overrides = ("task.curriculum={start: 0.2, step: 0.3, success: -1.0}", "task.episode_seconds=0.2")
    train_in(tmp_path, *overrides, "total_steps=4096")
    levels = [row["train/level"] for row in rows(tmp_path)]
    assert levels[0] == pytest.approx(0.2)
    assert levels == sorted(levels)
    assert levels[-1] == 1.0
    assert pytest.approx(0.5) in levels


def test_a_training_that_pauses_is_validated_there_and_goes_on_as_if_it_had_not(run: Path, tmp_path: Path) -> None:
    config = configure()
    folders.save_config(config, tmp_path)
    paused = train(config, tmp_path, pause_at=600)
    assert (paused.stopped_by, paused.steps) == ("pause", 768)  # whole iterations
    assert "validation/success" in rows(tmp_path)[-1]
    ended = train(config, tmp_path)
    assert (ended.stopped_by, ended.steps) == ("end", 2048)
    assert not differing(weights(run), weights(tmp_path))


def test_all_ranks_pause_together(tmp_path: Path) -> None:
    config = configure("ranks=2", "validation.episodes=8")
    folders.save_config(config, tmp_path)
    assert train(config, tmp_path, pause_at=256).stopped_by == "pause"
    assert train(config, tmp_path, pause_at=512).steps == 512
