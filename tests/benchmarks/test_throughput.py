"""The throughput benchmark runs to its end at a tiny size and adds up; its figures are not judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_it_measures_every_part_and_writes_json_and_a_plot(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks.throughput",
        "--repeats",
        "2",
        "--seconds",
        "0.05",
        "--out",
        str(tmp_path),
    ]
    overrides = ["num_envs=32", "ranks=2", "threads=1", "ppo.minibatches=2", "validation.episodes=2"]
    result = subprocess.run([*command, *overrides], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    assert "training ÷ physics limit" in result.stdout
    (path,) = tmp_path.glob("throughput_*.json")
    assert path.with_suffix(".png").stat().st_size > 1000
    found = json.loads(path.read_text())
    micro = {part: times["median"] for part, times in found["microseconds_per_step"].items()}
    # What contains another part takes longer, even at this size.
    assert micro["physics"] < micro["inference"] < micro["training"]
    assert 0.0 < found["training_over_physics_limit"] < 1.0
    assert found["ranks"] == 2 and found["machine"]["cores"] >= 1
