"""`python -m robo_ppo.shaping check`: one line for each file, and exit code 2 if any is refused."""

from pathlib import Path

import pytest

from robo_ppo.env.language import program_of
from robo_ppo.run.compose import compose
from robo_ppo.shaping.__main__ import main

TERM = '"""Go."""\nversion = 1\nweights = {"progress": 1, "slow": 2}\n\ndef slow(speed):\n    return -speed\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.py").write_text(program_of(compose("task=uav_hover").reward, "The hand-made reward.").text)
    (tmp_path / "bad.py").write_text(TERM.replace("-speed", "-sped"))
    (tmp_path / "misfit.py").write_text(TERM.replace("speed", "sped"))
    return tmp_path


def test_every_file_gets_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "task=uav_hover", "good.py", "bad.py", "misfit.py", "none.py"]) == 2
    good, *others = capsys.readouterr().out.splitlines()
    assert good.startswith("good.py: ok, 7 terms")
    assert others == [
        "bad.py:6: there is no 'sped' here: a signal must be a parameter of the function; did you mean speed?",
        "misfit.py:5: there is no signal 'sped'; did you mean speed?",
        "none.py: the reward program none.py cannot be read: No such file or directory",
    ]
    assert main(["check", "task=uav_hover", "good.py"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check"], "error: say which programs to judge"),
        (["check", "task=uav_hoover", "good.py"], "error: there is no task=uav_hoover; did you mean uav_hover?"),
        (["chekc"], "error: there is no 'chekc'; did you mean check?"),
        ([], "usage: python -m robo_ppo.shaping check"),
    ],
)
def test_mistakes(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(said)
