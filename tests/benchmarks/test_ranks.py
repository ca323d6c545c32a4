"""The benchmark of ranks runs to its end at a tiny size and adds up; its figures are not judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.ranks import table

ROOT = Path(__file__).parents[2]
SIZE = ("task=uav_hover", "num_envs=32", "ppo.horizon=8", "ppo.minibatches=2", "validation.episodes=2")


@pytest.mark.slow
def test_it_measures_every_part_and_writes_json(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.ranks", "--repeats", "2", "--seconds", "0.05", "--out", str(tmp_path)]
    result = subprocess.run([*command, *SIZE], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    (path,) = tmp_path.glob("ranks_*.json")
    found = json.loads(path.read_text())
    assert table(found) in result.stdout and "2 ranks, shared memory" in result.stdout
    assert found["samples_per_iteration"] == {"one rank": 128, "all": 256}
    times, ratios = found["milliseconds_per_iteration"], found["ratio_to_one_rank"]
    assert set(times) - set(ratios) == {"alone"}
    for part in ratios:
        assert 0.0 < times[part]["min"] <= times[part]["median"] <= times[part]["max"]
        assert ratios[part]["max"] <= times[part]["max"] / times["alone"]["min"] + 1e-9
