"""Our learner on Gymnasium's own tasks, through `python train.py`, beside what others have published.

Three tasks that nearly every PPO has been reported on; `published.yaml` says by whom, and how it was measured there.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.peers.results import Results
from robo_ppo.run.folder import commit

ENV_IDS = ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5")
ROOT = Path(__file__).parents[2]
PUBLISHED = Path(__file__).with_name("published.yaml")


def measure(results: Results, env_ids: Sequence[str], seeds: Sequence[int], steps: int) -> None:
    """Train and evaluate what is not there yet."""
    for seed in seeds:
        for env_id in env_ids:
            wanted = {"env_id": env_id, "seed": seed, "total_steps": steps}
            if not results.find("gymnasium", **wanted):
                results.add("gymnasium", {**wanted, "commit": commit(), "return": train(wanted)})
                print(
                    f"{env_id} seed {seed}: return {results.entries('gymnasium')[-1]['return']['mean']:.0f}", flush=True
                )


def train(settings: dict[str, Any]) -> dict[str, Any]:
    """Run the command; the returns of the exported policy over the evaluation's episodes."""
    overrides = [f"{key}={value}" for key, value in settings.items()]
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "train.py", "task=gymnasium", *overrides, f"runs={runs}", "evaluation.video=false"]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        found = json.loads((Path(runs) / "latest" / "evaluation" / "metrics.json").read_text())
    return {key: found["metrics"]["return"][key] for key in ("mean", "std")} | {"episodes": found["episodes"]}


def others() -> list[dict[str, Any]]:
    """What others have published, and where."""
    return yaml.safe_load(PUBLISHED.read_text())


def figure_of(entry: dict[str, Any], env_id: str) -> dict[str, Any] | None:
    """What one of `others` reports for a task, whatever its version."""
    return entry["returns"].get(env_id.partition("-")[0])


def table(results: Results) -> str:
    """Mean return over our seeds, and the published figures."""
    published = others()
    lines = [f"| task | robo_ppo | {' | '.join(entry['name'] for entry in published)} |"]
    lines.append("|---" * (2 + len(published)) + "|")
    for env_id in dict.fromkeys(entry["env_id"] for entry in results.entries("gymnasium")):
        own = [entry["return"]["mean"] for entry in results.find("gymnasium", env_id=env_id)]
        spread = f" ± {statistics.stdev(own):.0f}" if len(own) > 1 else ""
        cells = [f"{statistics.fmean(own):.0f}{spread} (n = {len(own)})"]
        for entry in published:
            figure = figure_of(entry, env_id)
            cells.append(f"{figure['mean']:.0f} ± {figure['std']:.0f} ({figure['version']})" if figure else "–")
        lines.append(f"| {env_id} | {' | '.join(cells)} |")
    episodes = results.entries("gymnasium")[0]["return"]["episodes"]
    lines.append(f"\nrobo_ppo: the exported policy, which is the best in validation, in {episodes} test episodes")
    lines += [f"{entry['name']}: {entry['what']}; {entry['source']}" for entry in published]
    return "\n".join(lines)
