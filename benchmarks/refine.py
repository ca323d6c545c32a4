"""Rewards that do not work, refined by `refine.py`: `python -m benchmarks.refine [llm=none] [uav_nav_poor_hover …]`.

Each poor reward of `conf/reward/` is given to the loop as a person would, with the shipped settings; what is reported
is success in test episodes before and after, candidates and minutes. With `llm=replay`, answers come from the records
beside this file (`refine_answers/<reward>/`), which say who wrote them.

Writes benchmarks/results/refine_<machine>.json after every reward, and keeps what it holds of others.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import file_name, machine
from robo_ppo.shaping import record
from robo_ppo.shaping.record import Candidate, Refinement, Share

RESULTS = Path(__file__).parent / "results"
ANSWERS = Path(__file__).parent / "refine_answers"
ROOT = Path(__file__).parents[1]
REWARDS = tuple(
    f"{task}_poor_{fault}"
    for task, faults in (("uav_nav", ("weights", "collision", "hover")), ("uav_hover", ("weights", "hurry", "beside")))
    for fault in faults
)


def main(arguments: list[str]) -> None:
    """Refine, print and write."""
    llm = next((a.removeprefix("llm=") for a in arguments if a.startswith("llm=")), "none")
    others = [a for a in arguments if "=" in a and not a.startswith("llm=")]
    rewards = [a for a in arguments if "=" not in a] or list(REWARDS)
    where = machine()
    path = RESULTS / file_name("refine", where)
    for reward in rewards:
        found = refined(reward, llm, others)
        results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        results["machine"] = where
        results.setdefault(llm, {})[reward] = found
        path.write_text(json.dumps(results, indent=2) + "\n")
        print(table(results), flush=True)


def refined(reward: str, llm: str, others: list[str]) -> dict[str, Any]:
    """One run of `refine.py`, and what it came to."""
    task = reward.partition("_poor_")[0]
    given = next((other.removeprefix("runs=") for other in others if other.startswith("runs=")), "runs")
    runs = Path(given) / reward  # its own, so that several rewards can be refined at once
    others = [*(other for other in others if not other.startswith("runs=")), f"runs={runs}"]
    command = [sys.executable, "refine.py", f"task={task}", f"reward={reward}", f"llm={llm}", *others]
    if llm == "replay":
        command.append(f"llm.folder={ANSWERS / reward}")
    before = set(folders(runs, task))
    began = time.monotonic()
    subprocess.run(command, cwd=ROOT, check=True)
    (folder,) = set(folders(runs, task)) - before
    return summary(record.load(folder), time.monotonic() - began)


def folders(runs: Path, task: str) -> list[Path]:
    """The refinements of a task."""
    return [path.parent for path in (ROOT / runs / f"refine_{task}").glob("*/refinement.json")]


def summary(found: Refinement, seconds: float) -> dict[str, Any]:
    """A refinement in numbers."""
    proposed = found.everyone[1:]
    refused = [one for one in proposed if not one.rungs and not _failed(one)]
    return {
        "before": _share(found.test_before),
        "after": _share(found.test_after),
        "winner": found.winner,
        "rounds": len(found.rounds),
        "proposed": len(proposed),
        "refused_before_training": len(refused),
        "trained": len(proposed) - len(refused),
        "failed_in_training": sum(map(_failed, proposed)),
        "flagged": sum(any(v.stage in ("rules", "judge") and not v.passed for v in one.verdicts) for one in proposed),
        "difference": None if found.comparison is None else vars(found.comparison),
        "stopped_by": found.stopped_by,
        "minutes": round(seconds / 60.0, 1),
    }


def _failed(candidate: Candidate) -> bool:
    return any(verdict.stage == "training" and not verdict.passed for verdict in candidate.verdicts)


def _share(share: Share | None) -> dict[str, float] | None:
    return None if share is None else {**vars(share)}


def table(results: dict[str, Any]) -> str:
    """The results for a reader."""
    lines = ["llm       reward                    before                after                 candidates  minutes"]
    for llm, by_reward in results.items():
        if llm == "machine":
            continue
        for reward, found in by_reward.items():
            shares = [_percent(found["before"]), _percent(found["after"])]
            lines.append(
                f"{llm:9} {reward:25} {shares[0]:21} {shares[1]:21} {found['trained']:10}  {found['minutes']:7}"
            )
    return "\n".join(lines)


def _percent(share: dict[str, float] | None) -> str:
    return "–" if share is None else f"{share['value']:.1%} ({share['low']:.1%}–{share['high']:.1%})"


if __name__ == "__main__":
    main(sys.argv[1:])
