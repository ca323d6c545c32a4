"""The peers learn our task through their own interfaces, and what is validated is what each of them would do itself.

All at a tiny size; nothing here says how well anybody learns.
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.peers import (
    gymnasium_tasks,
    learning,
    ours,
    plot,
    report,
    with_rsl_rl,
    with_skrl,
    with_stable_baselines3,
)
from benchmarks.peers.__main__ import main
from benchmarks.peers.curriculum import Curriculum
from benchmarks.peers.job import Job, Outcome, Recorder
from benchmarks.peers.learner import MODULES, Learner, iterations, load
from benchmarks.peers.results import Results
from benchmarks.peers.speed import Setup, fastest, measured
from benchmarks.peers.validation import success
from robo_ppo.config import RunConfig
from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment
from robo_ppo.env.gym import TaskVectorEnv
from robo_ppo.env.vector import Observation, Transition
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from robo_ppo.run.resolve import resolved

ROOT = Path(__file__).parents[2]
LEARNERS: list[Learner] = [ours, with_rsl_rl, with_skrl, with_stable_baselines3]
STEPS = 128  # of one iteration
TINY = (
    "task=uav_hover",
    "task.episode_seconds=0.3",
    "num_envs=16",
    "ppo.horizon=8",
    "ppo.epochs=2",
    "ppo.minibatches=2",
    "validation.episodes=4",
)


@pytest.fixture
def config() -> RunConfig:
    """Two iterations in one process of one thread."""
    return resolved(compose(*TINY, "ranks=1", "threads=1", f"total_steps={2 * STEPS}"))


def nothing(_: object) -> None:
    """Nobody listens."""


def observation(config: RunConfig) -> Observation:
    return build(config, "test", 8, episodes=8).reset()


@pytest.mark.parametrize("name", MODULES)
def test_a_learner_reports_every_iteration_and_copies_of_its_policy(name: str, config: RunConfig) -> None:
    learner = load(name)
    recorder = Recorder(Job(name, config, milestones=(1, 2 * STEPS)))
    learner.train(config, recorder)
    assert iterations(config) == len(recorder.outcome.collect) == len(recorder.outcome.update) == 2
    assert min(recorder.outcome.collect + recorder.outcome.update) > 0.0
    # The copy from after the first iteration has not learnt from the second one.
    seen = observation(config)
    first, second = (recorder.policies[milestone](seen) for milestone in (1, 2 * STEPS))
    assert first.shape == (8, 4) and bool(torch.isfinite(first).all())
    torch.testing.assert_close(recorder.policies[1](seen), first, rtol=0, atol=0)
    assert float((first - second).abs().max()) > 1e-4
    assert success(config, recorder.policies).keys() == {1, 2 * STEPS}
    assert learner.SOURCES and json.dumps(learner.settings(config))


def test_all_learners_are_known() -> None:
    assert [load(name) for name in MODULES] == LEARNERS


def test_the_validated_policy_is_that_of_rsl_rl(config: RunConfig) -> None:
    runner = with_rsl_rl.make_runner(config, nothing)
    runner.learn(2)
    seen = observation(config)
    validated = with_rsl_rl.copy_of_policy(runner)(seen)
    own = runner.get_inference_policy()(with_rsl_rl.TensorDict(dict(seen), batch_size=[8]))
    torch.testing.assert_close(validated, own, rtol=0, atol=0)
    assert float(runner.alg.get_policy().obs_normalizer.count) == 2 * STEPS  # pyright: ignore[reportArgumentType]


def test_the_validated_policy_is_that_of_skrl(config: RunConfig) -> None:
    trainer = with_skrl.make_trainer(config, nothing)
    trainer.train()
    agent: Any = trainer.agents
    seen = observation(config)
    agent.enable_training_mode(False)
    with torch.no_grad():
        _, outputs = agent.act(seen["policy"], seen["critic"], timestep=0, timesteps=1)
    torch.testing.assert_close(agent.copy_of_policy()(seen), outputs["mean_actions"], rtol=0, atol=0)


def test_the_validated_policy_is_that_of_stable_baselines3(config: RunConfig) -> None:
    ppo, reporter = with_stable_baselines3.make_ppo(config, nothing)
    ppo.learn(config.total_steps, callback=reporter, log_interval=None)  # pyright: ignore[reportArgumentType]
    normalize: Any = ppo.get_vec_normalize_env()
    seen = observation(config)
    own, _ = ppo.predict(normalize.normalize_obs(seen["policy"].numpy()), deterministic=True)
    torch.testing.assert_close(reporter.copy_of_policy()(seen), torch.from_numpy(own), rtol=0, atol=0)


class Watched:
    """Steps of an environment, kept as they happen."""

    def __init__(self, environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
        self.transitions: list[Transition] = []
        step = environment.step

        def kept(action: Tensor, *, restart: bool = True) -> Transition:
            self.transitions.append(step(action, restart=restart))
            return self.transitions[-1]

        monkeypatch.setattr(environment, "step", kept)


def test_rsl_rl_gets_our_tensors_and_the_time_outs(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = build(config, "train", 16)
    watched, adapter = Watched(environment, monkeypatch), with_rsl_rl.TaskVecEnv(environment)
    timed_out = 0
    for _ in range(20):
        groups, reward, done, extras = adapter.step(torch.zeros(16, 4))
        transition = watched.transitions[-1]
        assert all(groups[name] is values for name, values in transition.observation.items())
        assert reward is transition.reward and extras["time_outs"] is transition.truncated
        assert torch.equal(done, transition.terminated | transition.truncated)
        timed_out += int(transition.truncated.sum())
    assert timed_out > 10
    assert adapter.get_observations() is groups  # pyright: ignore[reportPossiblyUnboundVariable]


def test_stable_baselines3_is_told_the_final_observation(config: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = build(config, "train", 16)
    watched = Watched(environment, monkeypatch)
    adapter = with_stable_baselines3.TaskVecEnv(TaskVectorEnv(environment))
    adapter.reset()
    timed_out = 0
    for _ in range(20):
        adapter.step_async(torch.zeros(16, 4).numpy())
        after, _, done, infos = adapter.step_wait()
        transition = watched.transitions[-1]
        assert done.tolist() == (transition.terminated | transition.truncated).tolist()
        for row, info in enumerate(infos):
            if not done[row]:
                assert not info
                continue
            final = transition.final_observation["policy"][row]
            assert torch.equal(torch.from_numpy(info["terminal_observation"]), final)
            assert abs(after[row] - info["terminal_observation"]).max() > 1e-3  # which is of the next episode
            assert info["TimeLimit.truncated"] == bool(transition.truncated[row])
            timed_out += info["TimeLimit.truncated"]
    assert timed_out > 10


def test_skrl_takes_the_value_of_the_final_observation(config: RunConfig) -> None:
    trainer = with_skrl.make_trainer(config, nothing)
    agent: Any = trainer.agents
    agent.enable_training_mode(True)
    sizes = trainer.env.environment.observation_sizes
    begin, following, final = ({name: torch.randn(16, size) for name, size in sizes.items()} for _ in range(3))
    truncated = (torch.arange(16) % 2 == 0).unsqueeze(1)
    with torch.no_grad():
        actions, _ = agent.act(begin["policy"], begin["critic"], timestep=0, timesteps=1)
        agent.record_transition(
            observations=begin["policy"],
            states=begin["critic"],
            actions=actions,
            rewards=torch.ones(16, 1),
            next_observations=following["policy"],
            next_states=following["critic"],
            terminated=torch.zeros_like(truncated),
            truncated=truncated,
            infos={"final": final},
            timestep=0,
            timesteps=1,
        )
        value, _ = agent.value.act({"states": final["critic"].clamp(-5.0, 5.0)}, role="value")
    # Before anything was normalised, mean 0 and variance 1: only the limit of its scaler, 5, acts.
    recorded = agent.memory.get_tensor_by_name("rewards")[0]
    torch.testing.assert_close(recorded, 1.0 + config.ppo.gamma * value * truncated)


def test_the_curriculum_rises_as_in_a_training_of_ours(config: RunConfig) -> None:
    config.task.curriculum = dataclasses.replace(config.task.curriculum, start=0.5, step=0.25, success=0.75)
    environment = build(config, "train", 16)
    curriculum = Curriculum(config, environment)

    def look(episodes: int, successes: int) -> float:
        environment.totals.episodes += episodes
        environment.totals.outcomes["success"] += successes
        curriculum.look()
        return float(environment.level)

    assert look(0, 0) == 0.5
    assert look(10, 10) == 0.5  # fewer episodes than environments
    assert look(10, 10) == 0.75
    assert look(20, 10) == 0.75  # too few successes
    assert [look(20, 20), look(20, 20)] == [1.0, 1.0]


def test_results_go_on_where_they_were_and_refuse_another_setup(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    Results(path, {"num_envs": 16, "milestones": (1, 2)}).add("learning", {"learner": "ours", "seed": 1})
    results = Results(path, {"num_envs": 16, "milestones": (1, 2)})
    results.add("learning", {"learner": "ours", "seed": 2})
    assert [entry["seed"] for entry in results.find("learning", learner="ours")] == [1, 2]
    assert not results.find("learning", learner="ours", seed=3) and not results.entries("speed")
    with pytest.raises(UserError, match="measured with another num_envs"):
        Results(path, {"num_envs": 32, "milestones": (1, 2)})


def test_tables_and_plot(tmp_path: Path) -> None:
    shared = {"task": "uav_nav", "num_envs": 16, "horizon": 8, "milestones": [1_000_000], "validation_episodes": 4}
    results = Results(tmp_path / "x.json", {**shared, "machine": {"processor": "a", "cores": 2}})
    shipped, slow, fast = Setup("ours", 2, 1, 1), Setup("skrl", 1, 1, 2), Setup("skrl", 1, 2, 2)
    for setup, speeds in ((slow, (50.0, 40.0)), (fast, (50.0, 80.0)), (shipped, (100.0, 120.0))):
        for repeat, speed in enumerate(speeds):
            figures = {"steps_per_second": 1e3 * speed, "collect_seconds": 0.5, "update_seconds": 0.25}
            results.add("speed", {**dataclasses.asdict(setup), "repeat": repeat, **figures})
    assert measured(results) == [shipped, slow, fast]
    assert fastest(results, [slow, fast]) == fast
    assert "| skrl | 1 | 2 | 2 | 65.0k | 0.50 | 0.25 | 1.75 |" in report.speed_table(results)
    for seed, share in enumerate((0.5, 0.75, 0.25)):
        figures = {"steps": [1_000_000], "seconds": [60.0], "success": [share]}
        results.add("learning", {"learner": "skrl", "seed": seed, **figures})
    assert "| skrl | 50.0% (25.0%–75.0%) | 1.0 min |" in report.learning_table(results)
    for seed, mean in enumerate((1000.0, 2000.0)):
        returns = {"mean": mean, "std": 1.0, "episodes": 50}
        results.add("gymnasium", {"env_id": "Hopper-v5", "seed": seed, "total_steps": 1, "return": returns})
    ours_beside_others = "| Hopper-v5 | 1500 ± 707 (n = 2) | 2410 ± 10 (Hopper-v3) | 2383 ± 272 (Hopper-v4) |"
    assert ours_beside_others in gymnasium_tasks.table(results)
    plot.draw(results, tmp_path / "x.png")
    plot.draw_gymnasium(results, tmp_path / "y.png")
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("x.png", "y.png"))


@pytest.mark.slow
def test_the_command_measures_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = ["--parts", "learning", "--learners", "ours", "--seeds", "7", "--steps", str(STEPS), str(2 * STEPS)]
    arguments = [*TINY, "--out", str(tmp_path), *chosen]
    command = [sys.executable, "-m", "benchmarks.peers", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "ours seed 7" in result.stdout
    (path,) = tmp_path.glob("peers_*.json")
    found = json.loads(path.read_text())
    (entry,) = found["learning"]
    assert entry["steps"] == [STEPS, 2 * STEPS] and len(entry["success"]) == 2
    assert 0.0 < entry["seconds"][0] < entry["seconds"][1]
    assert found["learners"]["ours"]["settings"]["ppo"]["horizon"] == 8
    assert path.with_suffix(".png").stat().st_size > 1000

    def measure_again(_: Job) -> Outcome:
        raise AssertionError("it is measured already")

    monkeypatch.setattr(learning, "run", measure_again)
    monkeypatch.setattr(sys, "argv", ["peers", *arguments])
    main()
    again = json.loads(path.read_text())
    assert again == found
