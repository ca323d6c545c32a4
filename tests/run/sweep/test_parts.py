"""Names, records, tables and attempts, each alone."""

import csv
import dataclasses
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from robo_ppo.errors import UserError
from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose
from robo_ppo.run.sweep import attempt, table
from robo_ppo.run.sweep.attempt import Job, work
from robo_ppo.run.sweep.naming import trial_name
from robo_ppo.run.sweep.prepare import prepare, refuse_another
from robo_ppo.run.sweep.record import Record, read, write
from robo_ppo.run.sweep.table import Trial
from tests.run.training import ROOT, TINY


def test_a_name_says_what_is_swept() -> None:
    assert trial_name([("seed", "0"), ("ppo.gamma", "0.98")]) == "seed-0+ppo.gamma-0.98"
    assert trial_name([("+task.settings.x", "1e-3")]) == "task.settings.x-1e-3"
    assert trial_name([]) == "trial"


@given(st.lists(st.tuples(st.from_regex(r"\+?[a-z]+(\.[a-z]+)*", fullmatch=True), st.text(max_size=60)), max_size=5))
def test_any_name_is_a_folder_that_can_be_typed(values: list[tuple[str, str]]) -> None:
    name = trial_name(values)
    assert re.fullmatch(r"[\w.+-]{1,90}", name, re.ASCII)
    assert name not in (".", "..")
    path = f"runs/uav_nav/sweep_2026-11-21_10-30-00/{name}"
    assert OverridesParser.create().parse_override(f"run={path}").value() == path


def test_different_values_have_different_names() -> None:
    values = ["[64,64]", "[64 64]", "{64,64}", "x" * 200, "x" * 201, "é", "è", "64,64"]
    assert len({trial_name([("policy.hidden", value)]) for value in values}) == len(values)


def test_a_record_is_what_was_written(tmp_path: Path) -> None:
    assert read(tmp_path) == Record()
    record = Record("finished", 2, "return", -3.5, 1000, 1.5, "")
    write(tmp_path, record)
    assert read(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == ["trial.json"]
    for damaged in ("", "[]", '{"odd": 1}', "[" * 100_000):
        (tmp_path / "trial.json").write_text(damaged)
        with pytest.raises(UserError, match=r"trial\.json is damaged"):
            read(tmp_path)


def test_a_table_in_text_and_as_a_file(tmp_path: Path) -> None:
    trials = [
        Trial("seed-0", {"seed": "0"}, tmp_path / "seed-0", Record("finished", 1, "success", 0.925, 2_000_000, 33.3)),
        Trial("seed-1", {"seed": "1"}, tmp_path / "seed-1", Record("finished", 3, "success", 0.95, 2_100_000, 36.0)),
        Trial("seed-2", {"seed": "2"}, tmp_path / "seed-2", Record("failed", 1, error='a "comma", and\na line')),
    ]
    assert table.text(trials).splitlines() == [
        "trial   score   steps  seconds",
        "seed-0  92.5%  2.00 M       33  finished",
        "seed-1  95.0%  2.10 M       36  finished after 3 attempts",
        "seed-2      –       –        –  failed",
        f"best: seed-1, 95.0%: {os.path.relpath(tmp_path / 'seed-1')}",
    ]
    table.save(tmp_path, trials)
    with open(tmp_path / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["seed"] for row in rows] == ["0", "1", "2"]
    assert [row["value"] for row in rows] == ["0.925", "0.95", ""]
    assert rows[2]["error"] == 'a "comma", and\na line'


def test_scores_of_two_kinds_have_no_best() -> None:
    finished = [Record("finished", 1, "success", 0.9), Record("finished", 1, "return", 300.0)]
    assert table.best_of([Trial(str(i), {}, Path(), record) for i, record in enumerate(finished)]) is None
    assert table.best_of([Trial("0", {}, Path())]) is None


def test_a_folder_keeps_the_configuration_it_was_made_with(tmp_path: Path) -> None:
    config = compose(*TINY, "ranks=0", "threads=0")
    prepare(config, tmp_path / "a", cores=2)
    made = folders.load_config(tmp_path / "a")
    assert (made.ranks, made.threads, made.sim.threads) == (2, 1, 1)
    refuse_another(config, tmp_path / "a")
    prepare(config, tmp_path / "a", cores=1)  # elsewhere it goes on as it began
    assert folders.load_config(tmp_path / "a") == made
    for changed in ("reward.progress.weight=9", "ranks=1", "policy.hidden=[8]"):
        with pytest.raises(UserError, match=re.escape(f"another {changed.partition('=')[0]};")):
            refuse_another(compose(*TINY, "ranks=0", "threads=0", changed), tmp_path / "a")


def job(folder: Path, **changed: object) -> Job:
    paths = (str(folder.parent), str(ROOT))
    return dataclasses.replace(Job(folder, 1, 2, folder.parent, paths, {}, False), **changed)


def test_what_is_killed_is_tried_again_so_often_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trial").mkdir()
    codes = iter([-9, attempt.LOST, -9, 0])
    monkeypatch.setattr(attempt, "_train", lambda job: next(codes))
    record = work(job(tmp_path / "trial"))
    assert (record.state, record.error) == ("lost", "it was killed 3 times, at last ended by SIGKILL")
    assert next(codes) == 0


def test_a_folder_that_is_not_shared(tmp_path: Path) -> None:
    record = work(job(tmp_path / "elsewhere"))
    assert record.state == "failed"
    assert "all machines must share that of the runs" in record.error


def test_a_process_that_cannot_even_begin(tmp_path: Path) -> None:
    (tmp_path / "trial").mkdir()
    (tmp_path / "robo_ppo.py").write_text("")  # stands in the way of ours
    record = work(job(tmp_path / "trial"))
    assert (record.state, record.error) == ("failed", f"its process ended with 1; see {tmp_path / 'trial/output.log'}")
    assert "robo_ppo" in (tmp_path / "trial/output.log").read_text()


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "trial"
    prepare(compose(*TINY, "total_steps=100_000_000"), folder, cores=1)
    code = "from robo_ppo.run.sweep import trial; trial._PATIENCE = 0.0; trial.main()"
    started: list[subprocess.Popen[str]] = []
    for _ in range(2):
        pipe = subprocess.PIPE  # a trial lives as long as its standard input
        command = [sys.executable, "-c", code, str(folder)]
        started.append(
            subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=subprocess.DEVNULL, stderr=pipe, text=True)
        )
        deadline = time.monotonic() + 60
        while read(folder).state != "running" and time.monotonic() < deadline:
            time.sleep(0.05)
    first, second = started
    assert second.wait(timeout=60) == attempt.BUSY
    assert second.communicate()[1] == f"error: another process trains in {folder}\n"
    assert read(folder).attempts == 1
    _, err = first.communicate()  # closes its standard input
    assert first.returncode == attempt.LOST, err
