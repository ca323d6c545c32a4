"""The benchmarks run from a plain checkout: where nothing is installed, robo_ppo finds its parts at the top of it."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAPPED = ("conf", "export", "policies", "robots", "tasks")


def test_a_plain_checkout_is_enough(tmp_path: Path) -> None:
    for folder in ("robo_ppo", "benchmarks", *MAPPED):
        # Without links that somebody may have made in robo_ppo to the other folders.
        ignored = shutil.ignore_patterns("__pycache__", "results", *(MAPPED if folder == "robo_ppo" else ()))
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    names = ["robo_ppo.conf", "robo_ppo.policies", "robo_ppo.robots", "robo_ppo.tasks"]
    lines = ["import benchmarks", *(f"import {name}; print({name}.__file__)" for name in names)]
    # -S: no site-packages, and so no installation of robo_ppo; -E: no PYTHONPATH.
    command = [sys.executable, "-S", "-E", "-c", "; ".join(lines)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = [tmp_path / name.removeprefix("robo_ppo.") / "__init__.py" for name in names]
    assert [Path(line).resolve() for line in done.stdout.split()] == [path.resolve() for path in expected]
