"""A run's folder is made, found again, and says how it was configured."""

import json
from pathlib import Path

import pytest

from robo_ppo.config import parse_config
from robo_ppo.errors import UserError
from robo_ppo.run import folder as folders
from tests.run.training import configure


def test_runs_of_the_same_second_get_folders_of_their_own_and_latest_is_the_last(tmp_path: Path) -> None:
    made = [folders.create(str(tmp_path), "uav_hover") for _ in range(3)]
    assert len(set(made)) == 3
    assert (tmp_path / "latest").resolve() == made[-1].resolve()
    folders.create(str(tmp_path), "uav_nav")
    assert (tmp_path / "latest").resolve().parent.name == "uav_nav"


def test_latest_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(1, "this file system has no links")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    folder = folders.create(str(tmp_path), "uav_hover")
    folders.save_config(configure(), folder)
    assert (tmp_path / "latest").is_file()
    assert folders.find("latest", str(tmp_path)) == folder


def test_a_latest_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    with pytest.raises(UserError, match=r"cannot make .*latest point to"):
        folders.create(str(tmp_path), "uav_hover")


def test_a_run_is_found_by_its_folder_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folders.create(str(tmp_path / "runs"), "uav_hover")
    folders.save_config(configure(), folder)
    monkeypatch.chdir(tmp_path)
    assert folders.find(str(folder), "elsewhere") == folder
    assert folders.find("latest", "runs").resolve() == folder.resolve()
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert folders.find("latest", "moved").is_dir()


def test_the_configuration_survives_and_versions_are_noted(tmp_path: Path) -> None:
    config = configure("seed=7", "ppo.value_clip=0.3", "reward.time.weight=0.5")
    folders.save_config(config, tmp_path)
    assert folders.load_config(tmp_path) == config
    versions = json.loads((tmp_path / "versions.json").read_text())
    assert {"robo_ppo", "python", "torch", "mujoco", "commit"} <= versions.keys()


def test_a_portable_configuration_holds_no_paths_of_this_machine(tmp_path: Path) -> None:
    text = folders.portable(configure(f"runs={tmp_path}"))
    assert str(tmp_path) not in text
    assert parse_config(text, "it").runs == "runs"


def test_a_configuration_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write into .*nowhere: No such file or directory"):
        folders.save_config(configure(), tmp_path / "nowhere")


DOLLARS = ("${oc.env:SECRET}", '"\\x24{oc.env:SECRET}"', '"$\\u007boc.env:SECRET}"', '"$\\\n  {oc.env:SECRET}"')


@pytest.mark.parametrize("written", DOLLARS)
def test_a_stored_configuration_reads_nothing_of_the_machine(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "of this person")
    text = "".join(line + "\n" for line in folders.portable(configure()).splitlines() if not line.startswith("runs:"))
    with pytest.raises(UserError, match="interpolation") as refused:
        parse_config(f"{text}runs: {written}\n", "a stranger's bundle")
    assert "of this person" not in str(refused.value)


def test_a_stored_configuration_cannot_fill_the_memory() -> None:
    bomb = "a: &a [1, 1, 1, 1]\n" + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=False)
    )
    for text, said in (
        (bomb, "by a name"),
        ("a: " + "[" * 9000, "nested"),
        ("seed: !!bool maybe", "tag"),
        ("seed: !!timestamp tomorrow", "tag"),
        ("a: &a [*a]", "by a name"),
        ("a: 1\n" * 10**7, "characters"),
    ):
        with pytest.raises(UserError, match=said):
            parse_config(text, "a stranger's bundle")
