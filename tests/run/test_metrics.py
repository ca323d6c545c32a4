"""Rows in metrics.jsonl, and what a person sees of them on a terminal or in a file."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from robo_ppo.errors import UserError
from robo_ppo.run.metrics import MetricsLog, Progress
from tests.run.training import rows


def write(folder: Path, from_step: int, *steps: int) -> None:
    with MetricsLog(folder, from_step) as log:
        for step in steps:
            log.write({"step": float(step), "loss": step / 7})


def test_rows_beyond_the_checkpoint_are_written_anew(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2, 3, 4)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5.0, "lo')  # killed while it wrote
    write(tmp_path, 2, 3, 4, 5)
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3, 4, 5]
    assert rows(tmp_path)[2]["loss"] == 3 / 7


def test_a_run_from_the_start_begins_an_empty_file(tmp_path: Path) -> None:
    write(tmp_path, 0, 1, 2)
    write(tmp_path, 0, 9)
    assert [row["step"] for row in rows(tmp_path)] == [9]


def test_a_row_is_there_at_once(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 0) as log:
        log.write({"step": 1.0, "loss": 0.5})
        assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1.0, "loss": 0.5}


def test_a_folder_that_has_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*gone: No such file or directory; the last checkpoint"):
        MetricsLog(tmp_path / "gone", 0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_one_line_that_renews_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((140, 24)))
    out = Terminal()
    progress = Progress(2_000_000, "success", out=out)
    progress.show(1_000_000, 0.25, None)
    progress.show(1_500_000, 0.5, 0.75)  # too soon to be shown
    assert out.getvalue().count("\r\x1b[2K") == 1
    assert "[████████████            ]   1.00 / 2.00 M steps" in out.getvalue()
    progress.end()
    last = out.getvalue().split("\r\x1b[2K")[-1]
    assert "1.50 / 2.00 M steps" in last
    assert "success 50.0%  validation 75.0%" in last
    assert out.getvalue().endswith("\n")
    assert out.getvalue().count("\n") == 1


def test_a_file_gets_plain_lines_now_and_then() -> None:
    out = io.StringIO()
    progress = Progress(2_000_000, "success", out=out, every_seconds=1e9)
    for step in range(1, 5):
        progress.show(step * 500_000, 0.1 * step, None)
    progress.end()
    progress.end()
    lines = out.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["0.50", "2.00"]
    assert "success 40.0%" in lines[-1]
    assert not re.search(r"[\r\x1b]", out.getvalue())
    assert lines[-1].endswith("at most 0:00 to go")


def test_a_training_goes_on_when_nobody_reads_any_more() -> None:
    program = (
        "import sys; from robo_ppo.run.metrics import Progress; progress = Progress(10, 'success', every_seconds=0.0)\n"
        "for _ in range(2000): progress.show(5, 0.5, 0.5)\n"
        "progress.end(); print('and prints'); sys.stdout.flush(); print('the end', file=sys.stderr)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == "the end\n"
    assert process.returncode == 0


def test_a_resumed_run_counts_its_speed_from_where_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 110.0])
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    out = io.StringIO()
    Progress(2_000_000, "success", 1_000_000, out).show(1_200_000, None, None)
    assert "20k steps/s" in out.getvalue()
    assert out.getvalue().endswith("at most 0:40 to go\n")
