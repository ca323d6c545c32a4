"""What docs/benchmarks.md shows is what was measured: its tables are those of the results that lie beside it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.peers import gymnasium_tasks, report
from benchmarks.peers.results import Results

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "benchmarks/results/peers_amd_epyc_2_cores.json"


@pytest.mark.parametrize("table", [report.speed_table, report.learning_table, gymnasium_tasks.table])
def test_the_page_shows_what_was_measured(table: Callable[[Results], str]) -> None:
    results = Results(MEASURED, json.loads(MEASURED.read_text())["setup"])
    measured, _, _ = table(results).partition("\n\n")
    assert measured in (ROOT / "docs/benchmarks.md").read_text()
