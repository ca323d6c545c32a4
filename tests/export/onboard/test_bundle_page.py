"""`docs/bundle.md` is right: its tables have every key of the schema with its type, and its code runs."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import get_type_hints

import pytest

from robo_ppo_onboard.contract import Contract, Fallback, Golden, Port, StateSlice, Training

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/bundle.md").read_text(encoding="utf-8")

# How the page calls the types of the dataclasses.
TYPES = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "Tuple[int, ...]": "integers",
    "Tuple[float, ...]": "numbers",
    "Tuple[float, float]": "two numbers",
    "Tuple[Tuple[float, float], ...]": "pairs of numbers",
    "Tuple[Port, ...]": "ports",
    "Tuple[StateSlice, ...]": "state slices",
    "Mapping[str, float]": "numbers by name",
    "Mapping[str, str]": "texts by name",
    "Mapping[str, Tuple[float, ...]]": "lists of numbers by name",
    "Mapping[str, ndarray]": "arrays by name",
    "Mapping[str, object]": "plain JSON",
    "Fallback": "fallback",
    "Training": "training",
    "Golden": "golden",
}


def type_of(hint: object) -> str:
    text = re.sub(r"<class '(.*?)'>", r"\1", str(hint))
    text = re.sub(r"(\w+\.)+(?=\w)", "", text)
    optional = re.fullmatch(r"Optional\[(.*)\]", text)
    return f"{TYPES[optional[1]]} or null" if optional else TYPES[text]


def table(heading: str) -> list[list[str]]:
    """The rows under a heading: key, type, unit, meaning."""
    part = PAGE.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line for line in part.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]


@pytest.mark.parametrize(
    ("heading", "record"),
    [
        ("The document", Contract),
        ("A port", Port),
        ("A state slice", StateSlice),
        ("The fallback", Fallback),
        ("The training", Training),
        ("The golden sequence", Golden),
    ],
)
def test_the_tables_are_the_schema(heading: str, record: type) -> None:
    hints = get_type_hints(record)
    rows = table(heading)
    shown = {key.strip("`"): kind for key, kind, _, _ in rows}
    assert len(shown) == len(rows)
    assert shown == {field.name: type_of(hints[field.name]) for field in dataclasses.fields(record)}
    assert all(meaning for *_, meaning in rows)


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(ROOT / "policies/uav_nav.onnx", tmp_path / "policy.onnx")
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)
    assert "ranges (24,) m heading" in capsys.readouterr().out
    commands = names["commands"]
    assert isinstance(commands, dict)
    assert list(commands) == ["collective_thrust", "roll_rate", "pitch_rate", "yaw_rate"]
