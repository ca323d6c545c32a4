"""`refine.py`: mistakes before anything is made, and a whole small refinement with real trainings."""

import subprocess
import sys
from pathlib import Path

import pytest

from robo_ppo import command_line
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose, compose_refinement
from robo_ppo.run.folder import load_config, save_config
from robo_ppo.run.lock import alone_in
from robo_ppo.run.sweep.local import SerialLauncher
from robo_ppo.shaping import command, record
from tests.run.training import ROOT, TINY, environment

MISTAKES = [
    ("refine.seeds=2", "refine.seeds must be at least 3, not 2"),
    ("refine.candidates=0", "refine.candidates must be at least 1, not 0"),
    ("refine.rungs=[0.3,0.1]", "refine.rungs must be rising shares of total_steps"),
    ("refine.rungs=[0.5,1.5]", "refine.rungs must be rising shares of total_steps"),
    ("refine.enough=95", "refine.enough must be a share of episodes, above 0 and at most 1, not 95"),
    ("refine.minutes=-3", "refine.minutes must be more than 0"),
    ("target=rewards", "target=rewards: what is to be refined is reward or randomization"),
    ("info=true", "info=true is for train.py"),
    ("llm=replay", "llm=replay needs the run to repeat"),
    ("llm=replay llm.folder=nowhere", "nowhere holds no recorded answers"),
    ("llm=openai llm.model=gpt-5-mini", "llm=openai needs a key: set OPENAI_API_KEY in the environment"),
    ("llm.model=gpt", "llm=none has no setting llm.model"),
    ("llm.max_dollars=1", "llm=none has no setting llm.max_dollars"),
    ("+reward.progres.weight=1", "the given reward: .*progres"),
    ("resume=nowhere", "is not a refinement: it has no config.yaml"),
    ("resume=latest", "there is no refinement in .* yet"),
]


@pytest.mark.parametrize(("mistake", "message"), MISTAKES)
def test_a_mistake_is_told_before_anything_is_made(
    mistake: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    config = compose_refinement("task=uav_hover", f"runs={tmp_path}", *mistake.split())
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        command.run(config, [mistake], SerialLauncher(retries=0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("started", "message"), [("-m", "no job of a sweep"), ("torchrun", "ranks of one training")])
def test_it_is_one_loop_in_one_process(
    started: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["refine.py", "seed=0,1", *(["-m"] if started == "-m" else [])])
    if started == "torchrun":
        for name in ("RANK", "LOCAL_RANK"):
            monkeypatch.setenv(name, "0")
        for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            monkeypatch.setenv(name, "2")
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(SystemExit) as ended:
        command_line.refine()
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_key_on_the_command_line_is_refused_and_not_repeated(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, str(ROOT / "refine.py"), "llm=openai", "llm.api_key=sk-0123456789abcdef0123"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert "does not belong on the command line" in said.stderr
    assert "0123456789" not in said.stderr + said.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_not_taken_for_a_refinement_nor_the_other_way_round(tmp_path: Path) -> None:
    run, refinement = tmp_path / "run", tmp_path / "refinement"
    for folder, config in ((run, compose("task=uav_hover")), (refinement, compose_refinement("task=uav_hover"))):
        folder.mkdir()
        save_config(config, folder)
    kept = sorted(run.iterdir())
    with pytest.raises(UserError, match=r"run is a run, not a refinement; .*train.* resume=.*run goes on"):
        command.run(compose_refinement(f"resume={run}"), [f"resume={run}"], SerialLauncher(retries=0))
    assert sorted(run.iterdir()) == kept
    with pytest.raises(UserError, match=r"is a refinement, not a run: .*refine.* resume=.*refinement goes on"):
        load_config(refinement)


def test_the_latest_refinement_is_the_one_that_was_begun_last(tmp_path: Path) -> None:
    for name in ("refine_a/2026-11-22_10-00-00", "refine_b/2026-11-21_10-00-00", "c/2026-11-23_10-00-00"):
        (tmp_path / name).mkdir(parents=True)
        save_config(compose_refinement("task=uav_hover"), tmp_path / name)
    (tmp_path / "refine_a/2026-11-22_10-00-00/config.yaml").write_text("refine: of another version\n")
    with pytest.raises(UserError, match=r"refine_a/2026-11-22_10-00-00/config.yaml does not fit"):
        command.run(compose_refinement("resume=latest", f"runs={tmp_path}"), [], SerialLauncher(retries=0))


@pytest.mark.slow
def test_a_small_refinement_with_real_trainings_ends_and_every_candidate_trains(tmp_path: Path) -> None:
    small = ("reward=uav_hover_poor_beside", "evaluation.video=false", f"runs={tmp_path}", "total_steps=1024")
    loop = (
        "refine.candidates=3",
        "refine.rounds=2",
        "refine.episodes=8",
        "refine.video=false",
        "refine.rungs=[0.25,0.5]",
    )
    command_line = [sys.executable, str(ROOT / "refine.py"), *TINY, *small, *loop]
    subprocess.run(command_line, cwd=tmp_path, env=environment(), check=True)
    (folder,) = (tmp_path / "refine_uav_hover").iterdir()
    found = record.load(folder)
    trained = [one for one in found.everyone[1:] if all(v.passed for v in one.verdicts[:3])]
    assert trained
    assert all(one.rungs for one in trained)
    assert found.test_before is not None
    assert (folder / "policy.onnx").exists()
    assert "<html" in (folder / "refine_report.html").read_text()


def test_two_processes_do_not_refine_in_one_folder(tmp_path: Path) -> None:
    config = compose_refinement("task=uav_hover", f"runs={tmp_path}")
    folder = tmp_path / "refine_uav_hover" / "now"
    folder.mkdir(parents=True)
    save_config(config, folder)
    with alone_in(folder), pytest.raises(UserError, match="another process is refining in"):
        command.run(compose_refinement(f"resume={folder}"), [f"resume={folder}"], SerialLauncher(retries=0))
