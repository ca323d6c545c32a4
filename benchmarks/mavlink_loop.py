"""What the way through MAVLink costs a policy: `python -m benchmarks.mavlink_loop [--bundle …]`.

The same test episodes are flown twice: in the trainer's simulation, as an evaluation does, and by the onboard
controller through MAVLink, with a vehicle process in lockstep (`robo_ppo.export.vehicles.lockstep`). Both have the same
starts, scenes, parameters, biases and delays; only the noise of single samples differs. Writes
benchmarks/results/mavlink_loop_<machine>.json. The share of successes through MAVLink over that of the simulation must
be at least 0.97.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import file_name, machine
from robo_ppo.config import parse_config
from robo_ppo.env.task import SUCCESS
from robo_ppo.export.vehicles.lockstep import Flown, LockstepFlights
from robo_ppo.run.evaluate import Options, fly
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.runtime import Policy

RESULTS = Path(__file__).parent / "results"
BAR = 0.97


def main() -> int:
    """Fly, print a table, write JSON; exit code 1 below the bar."""
    parser = argparse.ArgumentParser(description="What the way through MAVLink costs a policy.")
    parser.add_argument("--bundle", type=Path, default=Path("policies/uav_nav.onnx"))
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    results: dict[str, Any] = {**measure(arguments.bundle, arguments.episodes), "machine": machine()}
    print(table(results))
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / file_name("mavlink_loop", results["machine"])
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(f"\n{path}")
    return 0 if float(results["ratio"]) >= BAR else 1


def measure(path: Path, episodes: int) -> dict[str, Any]:
    """Both shares of successes, and what became of every episode."""
    bundle = read_bundle(path)
    config = parse_config(bundle.contract.training.config, str(path))
    simulated = fly(config, bundle, Options(episodes, "test", video=False, video_seconds=1.0)).episodes
    policy, flown, start = Policy(bundle), list[Flown](), time.monotonic()
    with LockstepFlights(path, episodes=episodes) as flights:
        for episode in range(episodes):
            flown.append(flights.fly(policy, episode))
            _show(episode, episodes, flown)
    through = sum(flight.outcome == SUCCESS for flight in flown) / episodes
    pairs = Counter(f"{a} → {flight.outcome}" for a, flight in zip(simulated.outcome, flown, strict=True))
    return {
        "bundle": path.name,
        "episodes": episodes,
        "simulation": simulated.success,
        "mavlink": through,
        "ratio": through / simulated.success if simulated.success else float("nan"),
        "pairs": dict(pairs.most_common()),
        "taken_over": dict(Counter(flight.taken_over for flight in flown if flight.taken_over)),
        "seconds": time.monotonic() - start,
    }


def table(results: dict[str, Any]) -> str:
    """The figures as lines."""
    lines = [
        f"{results['episodes']} test episodes of {results['bundle']}",
        f"  success in the trainer's simulation   {100 * results['simulation']:6.1f} %",
        f"  success through MAVLink, lockstep     {100 * results['mavlink']:6.1f} %",
        f"  ratio                                 {results['ratio']:8.3f}   (bar: {BAR})",
        "  simulation → MAVLink",
    ]
    lines += [f"    {pair:35} {count:4}" for pair, count in results["pairs"].items()]
    lines += [f"  the safety net took over: {why} ({count})" for why, count in results["taken_over"].items()]
    return "\n".join(lines)


def _show(episode: int, episodes: int, flown: Sequence[Flown]) -> None:
    if sys.stderr.isatty() or (episode + 1) % 50 == 0:
        good = sum(flight.outcome == SUCCESS for flight in flown)
        print(f"\r{episode + 1} of {episodes}: {good} successes", end="", file=sys.stderr, flush=True)
        if episode + 1 == episodes or not sys.stderr.isatty():
            print(file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
