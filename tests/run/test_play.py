"""`play.py`: what it flies, what it refuses and why, and how it ends."""

import dataclasses
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from robo_ppo import command_line
from robo_ppo.config import RandomizationConfig
from robo_ppo.errors import UserError
from robo_ppo.run import checkpoint, play
from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose_play
from robo_ppo.run.live.replay import replay
from robo_ppo_onboard.bundle import read_bundle
from tests.run.by_hand import hover_config, make_run
from tests.run.live.test_replay import break_world, started
from tests.run.training import command, run, start


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def finished(runs: Path) -> Path:
    """A run with an exported policy."""
    folder = make_run(runs / "uav_hover" / "2026-11-21_10-00-00", hover_config(runs))
    folders.point_latest(runs, folder)
    return folder


def chosen(*overrides: str) -> play.Flight:
    config = compose_play(*overrides)
    return play.choose(config, next((name for name in play.SOURCES if getattr(config, name) is not None), None))


def refused(*overrides: str) -> str:
    """What `python play.py` says to a mistake; nothing is served by then."""
    with pytest.raises(UserError) as caught:
        play.run(compose_play("open=false", "port=0", *overrides), list(overrides))
    return str(caught.value)


def test_a_run_is_flown_in_its_own_task(runs: Path, finished: Path) -> None:
    for named in ("run=latest", f"run={finished}"):
        flight = chosen(named, f"runs={runs}")
        assert flight.config == folders.load_config(finished)
        assert flight.bundle == read_bundle(finished / "policy.onnx")
    assert chosen("run=latest", f"runs={runs}", "agent=zero").bundle is None


def test_a_bundle_brings_its_task_with_it(finished: Path) -> None:
    flight = chosen(f"bundle={finished / 'policy.onnx'}")
    assert flight.config.task == folders.load_config(finished).task
    assert flight.bundle is not None and flight.bundle.contract.task == "uav_hover"


def test_a_task_that_is_composed_can_be_changed() -> None:
    flight = chosen("task=uav_nav", "task.settings.range=2.0", "agent=random")
    assert (flight.config.task.name, flight.config.task.settings["range"]) == ("uav_nav", 2.0)
    assert flight.bundle is None


def test_a_run_without_a_policy_flies_with_another_agent(tmp_path: Path) -> None:
    folders.save_config(hover_config(tmp_path), tmp_path)
    message = refused(f"run={tmp_path}")
    assert "has no policy.onnx" in message and f"resume={tmp_path}" in message and "agent=zero" in message
    assert chosen(f"run={tmp_path}", "agent=random").bundle is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("run=latest", "bundle=policy.onnx"), "run=… and bundle=… are two things to look at; name one of them"),
        (("bundle=a.onnx", "dump=b.pt"), "bundle=… and dump=… are two things"),
        (("run=latest", "task=uav_hover"), "run=… is flown as it was trained, so task=uav_hover cannot apply"),
        (("run=latest", "ppo.gamma=0.9"), "so ppo.gamma=0.9 cannot apply; what can: agent, episode"),
        (("bundle=a.onnx", "+task.settings.x=1"), r"so +task.settings.x=1 cannot apply"),
        (("dump=b.pt", "agent=zero"), "dump=… is flown as it was trained, so agent=zero cannot apply"),
        (("dump=b.pt", "randomization=none"), "so randomization=none cannot apply"),
        (("run=latest", "view=false"), "view=false is for dump=…"),
        (("agent=foo",), "agent=foo: known: policy, random, zero"),
        (("agent=zeroo",), "agent=zeroo: did you mean zero?"),
        (("agent=zero", "split=train"), "split=train; it must be test or validation"),
        (("agent=zero", "episode=1000"), "episode=1000: the test split has the episodes 0 to 999"),
        (("agent=zero", "episode=-1", "split=validation"), "episode=-1: the validation split has the episodes"),
        (("bundle=nowhere.onnx",), "cannot read the policy bundle nowhere.onnx"),
        (("bundle=nowhere",), "no shipped policy 'nowhere'"),
        (("run=nowhere",), "there is no run in"),
        (
            ("dump=nowhere.pt",),
            "there is no nowhere.pt; a training keeps the worlds that broke in <run>/broken_worlds/",
        ),
        (("task=gymnasium", "env_id=Pendulum-v1"), "another library's; evaluate.py films them"),
    ],
)
def test_mistakes_are_named(overrides: tuple[str, ...], message: str) -> None:
    assert message in refused(*overrides)


def test_a_randomization_is_replaced_as_a_whole(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flown: list[play.Flight] = []
    monkeypatch.setattr(play, "_fly", lambda flight, _config: flown.append(flight))

    def fly(*overrides: str) -> RandomizationConfig:
        given = (f"run={finished}", *overrides)
        play.run(compose_play(*given), list(given))
        return flown[-1].config.randomization

    own = folders.load_config(finished).randomization
    assert fly() == own
    assert fly("randomization=none").parameters == {}
    changed = fly("randomization=none", "randomization.measurement_errors=0.5")
    assert changed == RandomizationConfig({}, 0.5) != own
    assert "say which randomization" in refused(f"run={finished}", "randomization.measurement_errors=0.5")


def test_a_task_without_a_shipped_policy_asks_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "shipped_policies", dict)
    assert refused("task=uav_hover") == (
        "no policy for uav_hover comes with robo_ppo; say what flies: run=latest, bundle=<policy.onnx>, agent=zero or "
        "agent=random"
    )


def test_a_shipped_policy_flies_where_nothing_is_named(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "shipped_policies", lambda: {"uav_hover": finished / "policy.onnx"})
    assert chosen("task=uav_hover").bundle == read_bundle(finished / "policy.onnx")
    assert chosen("bundle=uav_hover").config.task.name == "uav_hover"


def test_a_dump_is_printed_and_no_page_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = hover_config(tmp_path)
    world = break_world(started(config, 4), "qvel", 4e5)
    folders.save_config(config, tmp_path)
    path = tmp_path / "broken_worlds" / "episode.pt"
    checkpoint.write(path, dataclasses.asdict(world))
    play.run(compose_play(f"dump={path}", "view=false"), [f"dump={path}", "view=false"])
    assert capsys.readouterr().out == replay(config, world).table() + "\n"
    assert torch.equal(world.state["level"], torch.tensor(0.6))


def test_ctrl_c_ends_it_with_0(finished: Path, tmp_path: Path) -> None:
    process = start(command(f"run={finished}", "port=0", "open=false", script="play.py"), tmp_path)
    assert process.stdout is not None
    told = process.stdout.readline()
    assert told.startswith("uav_hover, exported policy: http://127.0.0.1:") and told.endswith("(Ctrl-C ends)\n")
    port = int(told.split(":")[3].split()[0])
    with socket.create_connection(("127.0.0.1", port), timeout=10):
        os.kill(process.pid, signal.SIGINT)
    assert process.communicate(timeout=120) == ("", "")
    assert process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_a_mistake_ends_with_2(train: Callable[..., None]) -> None:
    train("agent=foo", said="error: agent=foo: known: policy, random, zero\n", entry=command_line.play)


def test_help_says_what_can_be_done(tmp_path: Path) -> None:
    done = run(command("--help", script="play.py"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("python play.py run=latest", "dump=<run>/broken_worlds", "port: 8080", "agent:"):
        assert text in done.stdout
