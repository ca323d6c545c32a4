"""A run's folder is made, found again, and says how it was configured."""

import json
from pathlib import Path

import pytest

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
    assert folders.parse_config(text, "it").runs == "runs"


def test_a_configuration_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write into .*nowhere: No such file or directory"):
        folders.save_config(configure(), tmp_path / "nowhere")
