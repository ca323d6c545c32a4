"""Stored flights: nothing is lost, what is damaged is told, and what they are paid is what was paid live."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typing_extensions import override

from robo_ppo.env.dry_run import DryRun
from robo_ppo.env.environment import Environment
from robo_ppo.env.flights import Flights, Kind, Script
from robo_ppo.env.language import program_of
from robo_ppo.env.vector import Transition
from robo_ppo.errors import UserError
from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose
from robo_ppo.shaping.__main__ import main
from robo_ppo.shaping.flights import recording
from robo_ppo.shaping.flights import trajectories as stored
from robo_ppo.shaping.flights.returns import Returns
from robo_ppo.shaping.flights.stored_signals import StoredSignals
from robo_ppo.shaping.flights.trajectories import Flight, Trajectories
from robo_ppo.shaping.gate import Gate
from robo_ppo_onboard.bundle import read_bundle
from tests.env import toy


def made_up(rows: tuple[int, ...] = (4, 3, 6)) -> Trajectories:
    """Flights of leaves of several kinds, some of which never change in an episode."""
    rng, total = np.random.default_rng(0), sum(rows)
    lasting = np.repeat(rng.normal(size=(len(rows), 2, 3)).astype(np.float32), rows, axis=0)
    leaves = {
        "moving": torch.from_numpy(rng.normal(size=(total, 3)).astype(np.float32)),
        "single": torch.from_numpy(rng.normal(size=total).astype(np.float32)),
        "flag": torch.from_numpy(rng.random(total) < 0.5),
        "count": torch.arange(total),
        "lasting": torch.from_numpy(lasting),
    }
    flights = tuple(Flight("good", n, "success", sum(rows[:n]), count) for n, count in enumerate(rows))
    return Trajectories("made_up", 0.02, 1.0, (stored.Kind("good", "being good", {}),), flights, leaves)


def test_nothing_is_lost(tmp_path: Path) -> None:
    given = made_up()
    size = stored.write(given, tmp_path / "a.npz")
    found = stored.read(tmp_path / "a.npz")
    assert size == (tmp_path / "a.npz").stat().st_size
    assert (found.task, found.control_period, found.kinds, found.flights) == (
        "made_up",
        0.02,
        given.kinds,
        given.flights,
    )
    for name, values in given.leaves.items():
        assert values.dtype == found.leaves[name].dtype and torch.equal(values, found.leaves[name]), name


def test_what_never_changes_is_stored_once(tmp_path: Path) -> None:
    stored.write(made_up(), tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["episode/lasting"].shape == (4, 3 * 6) and archive["step/moving"].shape == (4, 13 * 3)


def test_a_damaged_file_is_told_wherever_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    stored.write(made_up(), path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place])
        with pytest.raises(UserError, match=r"a\.npz"):
            stored.read(path)
    for place in range(0, len(whole), 11):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            found = stored.read(path)
        except UserError as error:
            assert "a.npz" in str(error) and "\n" not in str(error)
        else:  # a byte that says nothing, such as a date of the archive
            assert torch.equal(found.leaves["moving"], made_up().leaves["moving"])


def changed(path: Path, **changes: object) -> None:
    """Write a file whose description says something else."""
    stored.write(made_up(), path)
    with np.load(path) as archive:
        arrays = dict(archive)
    about = json.loads(arrays["about"].tobytes()) | changes
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez_compressed(path, **arrays)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 2}, "version 2"),
        ({"flights": []}, "no flights"),
        ({"flights": [{"kind": "bad", "episode": 0, "end": "success", "first": 0, "rows": 13}]}, "no kind 'bad'"),
        ({"flights": [{"kind": "good", "episode": 0, "end": "success", "first": 0, "rows": 10**12}]}, "follow"),
        ({"leaves": {"moving": ["O", [3]]}}, "numbers"),
        ({"leaves": {"moving": ["float32", [10**9]]}}, "moving is"),
        ({"leaves": {"else": ["float32", [3]]}}, "else"),
        ({"kinds": [{"name": "good", "title": "", "below": {"better": ""}}]}, "not there"),
        ({"control_period": 0.0}, "above 0"),
    ],
)
def test_a_file_that_says_what_cannot_be_is_refused(tmp_path: Path, changes: dict[str, object], reason: str) -> None:
    changed(tmp_path / "a.npz", **changes)
    with pytest.raises(UserError, match=reason):
        stored.read(tmp_path / "a.npz")


def test_a_foreign_file_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, about=np.array([{"x": 1}], dtype=object))  # a pickle
    with pytest.raises(UserError, match="damaged"):
        stored.read(path)
    with pytest.raises(UserError, match="cannot read"):
        stored.read(tmp_path / "none.npz")


def test_a_file_that_would_be_too_large_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="MB"):
        stored.write(made_up((150_000,)), tmp_path / "a.npz")
    assert not (tmp_path / "a.npz").exists()


def watched(monkeypatch: pytest.MonkeyPatch) -> list[Transition]:
    """Every transition from now on."""
    transitions: list[Transition] = []
    step = Environment.step

    def watch(self: Environment, *args: object, **kwargs: object) -> Transition:
        transitions.append(step(self, *args, **kwargs))  # pyright: ignore
        return transitions[-1]

    monkeypatch.setattr(Environment, "step", watch)
    return transitions


def paid_live(transitions: list[Transition], found: Trajectories) -> Tensor:
    """What the environment paid, in the order of the stored rows; 0 for the beginnings."""
    rewards = torch.stack([t.reward for t in transitions], 1)
    parts = [torch.cat((torch.zeros(1), rewards[f.episode, : f.steps])) for f in found.flights]
    return torch.cat(parts)


@pytest.mark.parametrize("task", ["uav_nav", "uav_hover"])
def test_stored_flights_are_paid_what_was_paid_live(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose(f"task={task}")
    transitions = watched(monkeypatch)
    found = recording.wander(config, scenes=6, seconds=1.2)
    assert {flight.end for flight in found.flights} >= {"failure"} and found.rows > 100
    trial = DryRun(config)
    reward = trial.reward(program_of(config.reward, "given"))
    terms = Returns(StoredSignals(found, trial.table), 0.99).rewards(reward)
    paid, live = terms.sum(0), paid_live(transitions, found)
    beginnings = [flight.first for flight in found.flights]
    paid[beginnings] = 0.0
    torch.testing.assert_close(paid, live, atol=2e-6, rtol=1e-6)
    assert live.abs().max() > 1.0  # a crash was among it


def test_a_task_without_flights_has_no_ranking_and_its_rewards_are_tried_on_random_ones() -> None:
    gate = Gate(toy.config())
    verdicts = gate.judge('"""Toy."""\nversion = 1\nweights = {"gain": 1.0}\n')
    assert [v.passed for v in verdicts] == [True, True, True]
    assert "not available" in verdicts[-1].message and "visits has no stored flights" in verdicts[-1].message
    broken = '"""Toy."""\nversion = 1\nweights = {"odd": 1.0}\n\ndef odd(gap):\n    return log(gap - 100.0)\n'
    refused = gate.judge(broken, "odd.py")
    assert [v.stage for v in refused] == ["language", "dry run"] and "'odd' is not finite" in refused[-1].message


@pytest.mark.parametrize(
    ("text", "stage", "reason"),
    [
        ("what", "language", "odd.py:1"),
        ('"""A."""\nversion = 1\nweights = {"gian": 1.0}\n', "language", "did you mean gain"),
        ('"""A."""\nversion = 1\nweights = {"a": 1.0}\n\ndef a(gpa):\n    return gpa\n', "language", "gap"),
        ('"""A."""\nversion = 1\nweights = {"a": 1.0}\n\ndef a(place):\n    return place\n', "dry run", "one value"),
    ],
)
def test_each_stage_says_what_is_wrong(text: str, stage: str, reason: str) -> None:
    last = Gate(toy.config()).judge(text, "odd.py")[-1]
    assert (last.stage, last.passed) == (stage, False) and reason in last.message


class Still(Script):
    """Leaves the controls alone."""

    @override
    def act(self, now: object, action: Tensor) -> Tensor:
        return torch.full_like(action, -1.0)


def test_a_recording_keeps_scenes_in_which_all_kinds_end_as_they_should() -> None:
    """Success can be had in every scene here, and so can falling: the pairs are of the same scenes."""
    bundle = read_bundle(folders.find_bundle("uav_hover"))
    kinds = (
        Kind("success", "succeeding", Script, ends="success"),
        Kind("falls", "falling", Still, ends="failure", below={"success": "it must"}),
    )
    found = recording.fly_all(compose("task=uav_hover"), bundle, flights=Flights(kinds, 3, 4.0), tried=6)
    assert [(f.kind, f.end) for f in found.flights] == [("success", "success")] * 3 + [("falls", "failure")] * 3
    assert len({f.episode for f in found.flights}) == 3
    begins = found.leaves["qpos"][[f.first for f in found.flights]]
    assert torch.equal(begins[:3], begins[3:])  # paired: the same start
    with pytest.raises(UserError, match="in 6 of 6 scenes only"):
        recording.fly_all(compose("task=uav_hover"), bundle, flights=Flights(kinds[:1], 7, 4.0), tried=6)


def test_a_task_that_rewrites_states_or_tells_nothing_is_not_recorded() -> None:
    bundle = read_bundle(folders.find_bundle("uav_hover"))
    with pytest.raises(UserError, match="describes no flights"):
        recording.fly_all(toy.config(), bundle)
    with pytest.raises(UserError, match="changes states"):
        recording.fly_all(toy.config(), bundle, flights=Flights((), 1, 1.0))


def test_mistakes_on_the_command_line_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["record", "task=uav_hover", "bundle=none"]) == 2
    assert "no shipped policy 'none'" in capsys.readouterr().err
