"""The library's folder: what is put in is whole, and what was broken since is told."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from robo_ppo.errors import UserError
from robo_ppo.library.shelf import add, read_shelf
from robo_ppo_onboard.bundle import read_bundle
from tests.library.librarian import HOVER, NAV, names, picture

NAV_SHA256 = read_bundle(NAV).contract.sha256


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library with a policy named gate, which has a picture. Not to be written to."""
    root = tmp_path_factory.mktemp("whole")
    add(root / "library", NAV, name="gate", text="Fly through a gate", image=str(picture(root / "scene.jpg")))
    return root / "library"


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "library"))


def test_shipped_policies_are_there_by_themselves(tmp_path: Path) -> None:
    shelf = read_shelf(tmp_path / "none")
    assert list(shelf.entries) == ["uav_hover", "uav_nav"] and not shelf.broken
    entry = shelf.entries["uav_nav"]
    assert entry.bundle == NAV
    assert entry.card.text.startswith("Fly to a goal in a room full of columns, seeing them only")
    assert entry.card.text.endswith("Fly from start to goal around columns.")
    assert (entry.card.task, entry.card.robot, entry.card.control_period) == ("uav_nav", "crazyflie", 0.02)


def test_what_is_added_is_found_again(folder: Path) -> None:
    entry = read_shelf(folder).entries["gate"]
    assert entry.card.text == "Fly through a gate"
    assert entry.card.evaluation == read_bundle(NAV).contract.evaluation
    assert entry.bundle == folder / f"gate.{NAV_SHA256[:12]}.onnx" and entry.bundle.read_bytes() == NAV.read_bytes()
    assert entry.picture is not None and entry.picture.read_bytes().startswith(b"\x89PNG")
    assert len(list(folder.iterdir())) == 3


def test_without_a_text_the_task_says_what_it_does(tmp_path: Path) -> None:
    entry = add(tmp_path, HOVER, name="still")
    assert entry.card.text.startswith("Recover from any pose up to a large tilt")


def test_without_a_name_it_is_that_of_the_task_which_may_be_taken(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is a shipped policy 'uav_nav' already; choose another name"):
        add(tmp_path, NAV)
    assert not list(tmp_path.iterdir())
    entry = add(tmp_path, NAV, text="Mine", replace=True)
    assert read_shelf(tmp_path).entries["uav_nav"] == entry and entry.bundle.parent == tmp_path


def test_an_existing_name_is_refused_unless_it_is_to_be_replaced(folder: Path) -> None:
    before = names(list(folder.iterdir()))
    with pytest.raises(UserError, match="there is a policy 'gate' already"):
        add(folder, HOVER, name="gate")
    assert names(list(folder.iterdir())) == before
    add(folder, HOVER, name="gate", replace=True)
    after = read_shelf(folder)
    assert after.entries["gate"].card.task == "uav_hover" and not after.broken
    assert len(list(folder.iterdir())) == 2, "bundle and picture of the earlier card are gone"


@pytest.mark.parametrize("name", ["../gate", "a/b", "Gate", "", "-a", ".a", "a.b", "a b", "nul", "none", "é", "x" * 65])
def test_a_name_is_that_of_a_file_anywhere(tmp_path: Path, name: str) -> None:
    if name:
        with pytest.raises(UserError, match="is no name for a policy"):
            add(tmp_path, NAV, name=name)
    assert not list(tmp_path.iterdir())


def test_a_damaged_bundle_is_not_taken(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.onnx"
    data = bytearray(NAV.read_bytes())
    data[1000] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(UserError, match="is not a usable policy bundle"):
        add(tmp_path / "library", damaged, name="gate")
    assert not (tmp_path / "library").exists()


@pytest.mark.parametrize("fails_at", [1, 2, 3])
def test_nothing_half_written_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    moved: list[Path] = []

    def full(source: Path, target: Path) -> None:
        moved.append(target)
        if len(moved) == fails_at:
            raise OSError(28, "No space left on device")
        os.rename(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match=r"cannot write into the library .*: No space left on device"):
        add(tmp_path / "library", NAV, name="gate", image=str(picture(tmp_path / "a.png")))
    assert not list((tmp_path / "library").iterdir())


def test_a_failed_replacement_leaves_what_was_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_shelf(folder)

    def full(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left"):
        add(folder, HOVER, name="gate", replace=True)
    assert read_shelf(folder) == before


def edit(**changes: object) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "gate.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


def rewrite(text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / "gate.json").write_text(text)


def on_bundle(change: Callable[[Path], Any]) -> Callable[[Path], Any]:
    return lambda folder: change(next(folder.glob("gate.*.onnx")))


BREAKS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "bundle gone": (on_bundle(Path.unlink), "its bundle gate.2a1cbbd92232.onnx is missing"),
    "bundle cut": (on_bundle(lambda path: path.write_bytes(NAV.read_bytes()[:-9])), "is not a usable policy bundle"),
    "bundle of another": (on_bundle(lambda path: shutil.copy(HOVER, path)), "is another one than was added"),
    "bundle a folder": (on_bundle(lambda path: (path.unlink(), path.mkdir())), "is missing"),
    "bundle a pipe": (on_bundle(lambda path: (path.unlink(), os.mkfifo(path))), "is missing"),
    "picture gone": (lambda folder: next(folder.glob("*.png")).unlink(), r"its picture gate\..*\.png is missing"),
    "picture altered": (lambda folder: next(folder.glob("*.png")).write_bytes(b"x"), "was altered"),
    "another hash": (edit(sha256="0" * 64), "its bundle gate.000000000000.onnx is missing"),
    "a path for a hash": (edit(sha256="../../../../etc/passwd"), "its sha256 is no SHA-256"),
    "a path for a picture": (edit(picture="/etc/passwd"), "its picture is no SHA-256"),
    "a path for a name": (edit(name="../gate"), "its card is that of '../gate'"),
    "a better success": (edit(evaluation={"success": {"value": 1.0}}), "gives another evaluation than its bundle"),
    "another task": (edit(task="uav_gate"), "gives another task than its bundle"),
    "no text": (edit(text=""), "a card's text has 1 to"),
    "a number for a text": (edit(text=1), "its text is a int"),
    "another key": (edit(path="/etc/passwd"), "it does not have exactly the keys"),
    "no object": (rewrite("[]"), "it does not have exactly the keys"),
    "no JSON": (rewrite("{"), "its card cannot be read"),
    "nested without end": (rewrite("[" * 50_000), "its card cannot be read"),
    "long": (rewrite(" " * 200_000), "its card has more than 100 kB"),
    "not UTF-8": (lambda folder: (folder / "gate.json").write_bytes(b"\xff"), "its card cannot be read"),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_broken_card_is_told_and_does_not_stand_in_the_way(folder: Path, case: str) -> None:
    spoil, reason = BREAKS[case]
    spoil(folder)
    shelf = read_shelf(folder)
    assert list(shelf.broken) == ["gate"] and list(shelf.entries) == ["uav_hover", "uav_nav"]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(shelf.broken["gate"])


def test_a_broken_card_of_a_shipped_name_hides_the_shipped_policy(tmp_path: Path) -> None:
    add(tmp_path, NAV, replace=True).bundle.unlink()
    shelf = read_shelf(tmp_path)
    assert list(shelf.broken) == ["uav_nav"] and list(shelf.entries) == ["uav_hover"]


def test_a_text_is_read_without_control_characters(folder: Path) -> None:
    edit(text="fly\x1b[2J through\n\u202ea gate", added="\x07today")(folder)
    card = read_shelf(folder).entries["gate"].card
    assert (card.text, card.added) == ("fly [2J through a gate", "today")


def test_what_is_no_folder_is_told(tmp_path: Path) -> None:
    path = picture(tmp_path / "a.png")
    with pytest.raises(UserError, match="cannot read the library"):
        read_shelf(path)
    with pytest.raises(UserError, match="cannot write into the library"):
        add(path, NAV, name="gate")
