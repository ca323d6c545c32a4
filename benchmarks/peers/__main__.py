"""Our learner beside rsl_rl's, skrl's and Stable-Baselines3's PPO: `python -m benchmarks.peers [task=uav_nav …]`.

All of them learn the same task on the same physics, with the same network, rollout, epochs and minibatches, each with
the settings that its own documentation and users recommend (`with_….py` say which, and where). Measured are

    speed        training steps per second, in turn, several times
    learning     success in validation after 2, 5 and 10 M steps, three seeds
    gymnasium    (only when asked for) the return of ours on three tasks of Gymnasium's, beside published figures

Results are added to benchmarks/results/peers_<machine>.json one by one, so a benchmark that was stopped goes on where
it was, and its parts can be run on their own. Needs `pip install 'robo-ppo[peers]'`.
"""

import argparse
import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Any

from benchmarks.machine import file_name, machine
from benchmarks.peers import gymnasium_tasks, learning, plot, report, speed
from benchmarks.peers.learner import MODULES
from benchmarks.peers.results import Results
from robo_ppo.config import RunConfig
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from robo_ppo.run.resolve import resolved

PARTS = ("speed", "learning", "gymnasium")
RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Measure what is missing, print tables, write JSON and a plot."""
    arguments = _parse()
    config = _alone(resolved(compose("precision=float32", *arguments.overrides)))
    where = machine()
    results = Results(arguments.out / file_name("peers", where), _setup(config, where, arguments.steps))
    before = results.count(PARTS)
    if "speed" in arguments.parts:
        speed.measure(results, config, arguments.learners, arguments.repeats, arguments.warm_up, arguments.iterations)
    if "learning" in arguments.parts:
        learning.measure(results, config, arguments.learners, arguments.seeds, arguments.steps)
    if "gymnasium" in arguments.parts:
        gymnasium_tasks.measure(results, arguments.env_ids, arguments.seeds, arguments.gymnasium_steps)
    if results.count(PARTS) > before:
        results.content["commands"].append("python -m benchmarks.peers " + shlex.join(sys.argv[1:]))
        results.write()
    else:
        print(f"nothing was measured: {results.path} has all of it; --out=<folder> measures anew")
    tables = {"speed": report.speed_table, "learning": report.learning_table, "gymnasium": gymnasium_tasks.table}
    for part, table in tables.items():
        if results.entries(part):
            print(f"\n{table(results)}")
    plot.draw(results, results.path.with_suffix(".png"))
    plot.draw_gymnasium(results, results.path.with_name(f"{results.path.stem}_gymnasium.png"))
    print(f"\n{results.path}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Our PPO beside that of others.")
    parser.add_argument("overrides", nargs="*", help="configuration, as for train.py")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=["speed", "learning"])
    parser.add_argument("--learners", nargs="+", choices=list(MODULES), default=list(MODULES))
    parser.add_argument("--repeats", type=int, default=5, help="of every measurement of speed")
    parser.add_argument("--warm-up", type=int, default=8, help="iterations before those that are timed")
    parser.add_argument("--iterations", type=int, default=8, help="that are timed in each repeat")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--steps",
        nargs="+",
        type=int,
        default=[2_000_000, 5_000_000, 10_000_000],
        help="when to validate; the last is the budget that every learner is told",
    )
    parser.add_argument("--env-ids", nargs="+", default=list(gymnasium_tasks.ENV_IDS))
    parser.add_argument("--gymnasium-steps", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser.parse_intermixed_args()


def _alone(config: RunConfig) -> RunConfig:
    """Nothing but training: no validation, no checkpoints and no target on the way."""
    never = 10**12
    validation = dataclasses.replace(config.validation, every=never, target=None)
    return dataclasses.replace(config, validation=validation, checkpoint_every=never)


def _setup(config: RunConfig, where: dict[str, Any], milestones: list[int]) -> dict[str, Any]:
    """What all learners share; results of another setup are not added to the same file."""
    versions = {name: version for name, version in where["versions"].items() if name != "commit"}
    return {
        "machine": where | {"versions": versions},
        "task": config.task.name,
        "num_envs": config.num_envs,
        "horizon": config.ppo.horizon,
        "epochs": config.ppo.epochs,
        "minibatches": config.ppo.minibatches,
        "networks": dataclasses.asdict(config.policy),
        "milestones": milestones,
        "validation_episodes": config.validation.episodes,
    }


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
