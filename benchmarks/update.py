"""The learner's update alone, ours beside rsl_rl's PPO: `python -m benchmarks.update [task=uav_nav device=cpu …]`.

One rank's share of a training as it is shipped: the same rollout (observations, actions, rewards, ends), the same
networks, epochs and minibatches, on one thread; on a GPU, all of a training. Both begin with the same freshly made
networks before each update and work in turn, the one that goes first changing from pair to pair, since a machine
drifts. Timed is all that lies between the last step of a rollout and the first of the next one: advantages, the passes
over the minibatches with the adaptive learning rate, the normalisers.

Writes benchmarks/results/update_<machine or card>.json. Needs `pip install 'robo-ppo[peers]'`.
"""

import argparse
import contextlib
import copy
import dataclasses
import io
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict

from benchmarks.machine import card, file_name, gpu_versions, machine
from benchmarks.peers import with_rsl_rl
from robo_ppo.config import RunConfig
from robo_ppo.env.environment import Environment
from robo_ppo.run.compose import compose
from robo_ppo.run.distributed import Ranks
from robo_ppo.run.resolve import resolved
from robo_ppo.run.train import Trainer

IN_THE_SAME_PRECISION = ("precision=float32",)  # as the others compute
RESULTS = Path(__file__).parent / "results"
_WARM_UP = 3  # updates; on a GPU the third is recorded


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.update", description="Our update beside rsl_rl's.")
    parser.add_argument("overrides", nargs="*", help="configuration, as for train.py")
    parser.add_argument("--pairs", type=int, default=9, help="updates of each")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_intermixed_args()
    config = share_of_a_rank(resolved(compose(*IN_THE_SAME_PRECISION, *arguments.overrides)))
    where = machine()
    results = measure(config, arguments.pairs) | {"machine": where, "versions": gpu_versions()}
    print(table(results))
    path = arguments.out / file_name("update", where, results["card"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{path}")


def share_of_a_rank(config: RunConfig) -> RunConfig:
    """What one of the ranks learns from, on its own."""
    return dataclasses.replace(config, num_envs=config.num_envs // config.ranks, ranks=1)


def measure(config: RunConfig, pairs: int) -> dict[str, Any]:
    """Seconds of every update, and how many times faster ours is, pair by pair."""
    trainer = Trainer(config, Path("nowhere"), Ranks(0, 1))
    trainer.collect()
    works = {"ours": _ours(trainer), "rsl_rl": _rsl_rl(trainer)}
    for work in works.values():
        for _ in range(_WARM_UP):
            work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for pair in range(pairs):
        for name in sorted(works, reverse=bool(pair % 2)):
            times[name].append(works[name]())
    ratios = [theirs / ours for ours, theirs in zip(times["ours"], times["rsl_rl"], strict=True)]
    return {
        "task": config.task.name,
        "num_envs": config.num_envs,
        "horizon": config.ppo.horizon,
        "epochs": config.ppo.epochs,
        "minibatches": config.ppo.minibatches,
        "networks": dataclasses.asdict(config.policy),
        "observation_sizes": trainer.environment.observation_sizes,
        "threads": config.threads,
        "device": config.device,
        "card": card(trainer.environment.device),
        "precision": config.precision,
        "seconds": {name: {"median": statistics.median(values), "all": values} for name, values in times.items()},
        "times_faster": {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)},
        "rsl_rl_settings": with_rsl_rl.settings(config),
    }


def table(results: dict[str, Any]) -> str:
    """The result for a terminal."""
    seconds, faster = results["seconds"], results["times_faster"]
    samples = results["num_envs"] * results["horizon"]
    where = results["card"]["name"] if results["card"] else f"{results['threads']} thread of {results['device']}"
    return "\n".join(
        [
            f"update of {samples} samples, {results['epochs']} epochs × {results['minibatches']} minibatches, {where}",
            f"ours    {1e3 * seconds['ours']['median']:8.1f} ms",
            f"rsl_rl  {1e3 * seconds['rsl_rl']['median']:8.1f} ms",
            f"{faster['median']:.2f} times faster (pairs: {faster['min']:.2f} to {faster['max']:.2f})",
        ]
    )


def _timed(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def _ours(trainer: Trainer) -> Callable[[], float]:
    ppo, device = trainer.ppo, trainer.environment.device
    fresh, rate = copy.deepcopy(ppo.model.state_dict()), ppo.learning_rate.clone()
    last = trainer.stepper.observation["critic"]

    def update() -> float:
        # In place, since a recorded graph works on these very tensors.
        ppo.model.load_state_dict(fresh)
        ppo.learning_rate.copy_(rate)
        return _timed(lambda: ppo.update(last), device)

    return update


def _rsl_rl(trainer: Trainer) -> Callable[[], float]:
    """Its PPO, made by its own runner, with our rollout in its storage."""
    environment, rollout = trainer.environment, trainer.ppo.rollout
    assert isinstance(environment, Environment)
    adapter = with_rsl_rl.TaskVecEnv(environment)
    with contextlib.redirect_stdout(io.StringIO()):  # it introduces itself
        algorithm: Any = with_rsl_rl.runner_on(adapter, trainer.config, lambda _: None).alg
    algorithm.train_mode()
    actor, critic = (copy.deepcopy(network.state_dict()) for network in (algorithm.actor, algorithm.critic))
    rate = algorithm.learning_rate

    def seen(step: int) -> TensorDict:
        groups = {name: values[step] for name, values in rollout.observation.items()}
        return TensorDict(groups, batch_size=[rollout.num_envs])

    with torch.no_grad():
        for step in range(rollout.horizon):
            algorithm.act(seen(step))
            algorithm.transition.actions = rollout.action[step]
            algorithm.transition.actions_log_prob = algorithm.actor.get_output_log_prob(rollout.action[step])
            ended = rollout.ended[step]
            time_outs = ended & ~rollout.terminated[step]
            algorithm.process_env_step(seen(step), rollout.reward[step], ended, {"time_outs": time_outs})

    def learn() -> None:
        with torch.no_grad():
            algorithm.compute_returns(seen(rollout.horizon - 1))
        algorithm.update()

    def update() -> float:
        algorithm.actor.load_state_dict(actor)
        algorithm.critic.load_state_dict(critic)
        algorithm.learning_rate = rate
        return _timed(learn, environment.device)

    return update


if __name__ == "__main__":
    main()
