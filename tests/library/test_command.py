"""`python -m robo_ppo.library`: one path on standard output, or a message and exit code 2."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from robo_ppo.library.command import main
from robo_ppo.library.pictures import read_picture
from robo_ppo.library.shelf import add
from tests.library.librarian import HOVER, NAV, picture
from tests.shaping.llm.stub_server import chat, stub


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def answered(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that succeeds prints on standard output."""
    assert main(arguments) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    output, errors = capsys.readouterr()
    assert output == "" and re.search("^error: ", errors, re.MULTILINE)
    return errors


def test_as_the_docs_show_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = picture(tmp_path / "scene.png")
    told = answered(capsys, "add", "bundle=uav_nav", "name=gate", "text=Fly through a square gate", f"image={scene}")
    assert told.startswith("added gate: Fly through a square gate\nlibrary/gate.2a1cbbd92232.onnx (success 99.2%")
    rows = answered(capsys, "list").splitlines()
    assert [row.split()[0] for row in rows] == ["name", "gate", "uav_hover", "uav_nav"]
    assert rows[1].split() == ("gate uav_nav crazyflie 99.2% (98.4% … 99.6%) of 1000 Fly through a square gate".split())
    assert main(["select", "fly through the gate"]) == 0
    output, errors = capsys.readouterr()
    assert output == "library/gate.2a1cbbd92232.onnx\n"
    assert errors.startswith("gate, with a confidence of 0.") and "words on its card: gate, fly" in errors
    assert "\n  success 99.2% (98.4% … 99.6%) of 1000" in errors  # what fits may still fly badly


def test_a_shipped_policy_is_found_without_a_library_and_without_what_takes_long_to_import(tmp_path: Path) -> None:
    code = (
        "import sys; from robo_ppo.library.command import main; code = main(sys.argv[1:])\n"
        "assert not {'torch', 'mujoco', 'pydantic'} & set(sys.modules); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "select", "hover at a point"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{HOVER}\n"


def test_broken_cards_are_told_beside_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    add(Path("library"), NAV, name="gate").bundle.unlink()
    Path("library/\x1b[2Jevil.json").write_text("{}")
    listed = answered(capsys, "list")
    assert "gate cannot be used: its bundle gate.2a1cbbd92232.onnx is missing" in listed
    assert "[2Jevil cannot be used: '[2Jevil' is no name" in listed and "\x1b" not in listed
    assert "gate cannot be used" in refused(capsys, "select", "through a gate")


def test_nothing_but_lines_and_printable_text_is_ever_printed(capsys: pytest.CaptureFixture[str]) -> None:
    bell = "dance \x1b[2J\x07\u202e now"
    answered(capsys, "add", "bundle=uav_nav", "name=dance", f"text={bell}")
    printed = [
        answered(capsys, "list"),
        refused(capsys, "select", f"{bell}imports\x1b]0;title\x07 swimming sailing diving running"),
        refused(capsys, "add", f"bundle={bell}"),
        refused(capsys, bell),
        refused(capsys, "list", f"{bell}=1"),
    ]
    assert all(letter.isprintable() or letter == "\n" for text in printed for letter in text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "add, list or select"),
        ("lst", "add, list or select"),
        ("list librray=x", "did you mean library"),
        ("add", "say what to add: bundle=<policy.onnx>"),
        ("add bundle=none.onnx", "cannot read the policy bundle none.onnx"),
        ("add bundle=uav_naw", "no shipped policy 'uav_naw'; did you mean uav_nav"),
        ("add bundle=uav_nav name=../x", "is no name for a policy"),
        ("add bundle=uav_nav replace=yes", "it must be true or false"),
        ("add bundle=uav_nav name=x image=none.png", "there is no picture none.png"),
        ("select", "say in one argument"),
        ("select fly high", "say in one argument"),
        ("select fly imge=x.png", "did you mean image"),
        ("select fly image=none.png", "there is no picture none.png"),
        ("select fly llm=opnai", "there is no llm=opnai"),
        ("select fly llm.max_requests=3", "llm=none has no setting llm.max_requests"),
        ("select fly llm=replay llm.folder=nowhere", "holds no recorded answers"),
    ],
)
def test_mistakes_are_told_and_nothing_is_left(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, *arguments.split())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_picture_that_nobody_looks_at_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["select", "hover", f"image={picture(tmp_path / 'a.png')}"]) == 0
    assert "the picture was not looked at" in capsys.readouterr().err


def test_a_recorded_answer_selects_and_nothing_else_is_on_standard_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = tmp_path / "earlier/llm/0001_select/answer.json"
    answer.parent.mkdir(parents=True)
    answer.write_text(json.dumps({"name": "uav_nav", "confidence": 0.9, "reason": "It sees columns."}))
    (answer.parent / "question.json").write_text('{"hash": "another"}')
    command = ["select", "fly", "llm=replay", "llm.folder=earlier", f"image={picture(tmp_path / 'a.png')}"]
    assert main(command) == 0
    output, errors = capsys.readouterr()
    assert output == f"{NAV}\n"
    assert "uav_nav, with a confidence of 0.90\n  It sees columns." in errors and "word for word" in errors
    (kept,) = Path("runs/library_select").glob("*/llm/0001_select")
    assert len(list(kept.glob("*.png"))) == 1 and json.loads((kept / "answer.json").read_text())["name"] == "uav_nav"
    answer.write_text(json.dumps({"name": "/etc/passwd", "confidence": 1.0, "reason": "a path"}))
    assert "there is no policy '/etc/passwd'" in refused(capsys, *command)


def test_a_server_is_shown_the_cards_and_the_pictures_and_cannot_name_a_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ROBO_PPO_LLM_API_KEY", raising=False)
    card, scene = picture(tmp_path / "card.jpg", (40, 30)), picture(tmp_path / "scene.png", (60, 50))
    entry = add(Path("library"), NAV, name="gate", text="Fly through a gate", image=str(card))
    path = json.dumps({"name": str(NAV), "confidence": 1.0, "reason": "a path"})
    good = json.dumps({"name": "gate", "confidence": 0.7, "reason": "There is a \x1b[31mgate."})
    with stub(chat(path), chat(good)) as server:
        command = ["select", "through that", f"image={scene}", "llm=compatible", "llm.model=m"]
        assert main([*command, f"llm.base_url={server.url}/v1"]) == 0
    output, errors = capsys.readouterr()
    assert output == f"{entry.bundle}\n"
    assert "gate, with a confidence of 0.70\n  There is a [31mgate.\n" in errors
    first, second = (json.dumps(seen.body, ensure_ascii=False) for seen in server.seen)
    assert "Fly through a gate" in first and "through that" in first and "99.2%" in first
    assert entry.picture is not None
    for png in (entry.picture.read_bytes(), read_picture(scene)):
        assert base64.b64encode(png).decode() in first
    assert "the name is one of gate, uav_hover, uav_nav, or none" in second


def test_a_key_on_the_command_line_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = "sk-0123456789abcdef0123"
    told = refused(capsys, "select", "fly", "llm=openai", f"llm.api_key={key}")
    assert "a key does not belong on the command line" in told and key not in told
    assert not (tmp_path / "runs").exists()


def test_robo_ppo_library_is_the_same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from robo_ppo import command_line

    monkeypatch.setattr(sys, "argv", ["robo-ppo", "library", "list"])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 0 and "uav_hover" in capsys.readouterr().out
