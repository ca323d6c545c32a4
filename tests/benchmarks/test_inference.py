"""All ways to run a policy that are compared compute the same, and the command writes what it measured."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import inference
from robo_ppo.run.folder import shipped_policies
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.contract import STATE_OUT
from robo_ppo_onboard.runtime import Policy


def test_what_is_bound_is_what_is_measured_and_commanded() -> None:
    bundle = read_bundle(shipped_policies()["uav_hover"])
    work = inference.bound(bundle)
    memory, _ = work.__dict__["memory"]
    assert len(work(3)) == 3
    runner, golden = Policy(bundle), bundle.contract.golden.inputs
    commands, state = runner({name: values[2:3] for name, values in golden.items()}, runner.initial_state())
    for name, expected in commands.items():
        np.testing.assert_array_equal(memory[name], expected)
    np.testing.assert_array_equal(memory[STATE_OUT], state)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["inference", "bundle=uav_hover", "--calls", "20", "--rounds", "3", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    inference.main()
    assert "median" in capsys.readouterr().out
    (path,) = tmp_path.glob("inference_*.json")
    found = json.loads(path.read_text())
    assert found["task"] == "uav_hover" and found["calls"] == 60 and found["nodes"] > 10
    for name in ("policy", "run", "bound", "c"):
        taken = found["microseconds"][name]
        assert 0.0 < taken["median"] <= taken["p99.9"] and len(taken["rounds"]) == 3
