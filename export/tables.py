"""A bundle's contract as tables for a terminal: what `python -m robo_ppo.export inspect policy.onnx` prints."""

import math
from collections.abc import Mapping, Sequence

from robo_ppo_onboard.contract import Contract, Port


def tables(contract: Contract) -> str:
    """Everything in a contract that a person would ask for."""
    training = contract.training
    rate = f"every {contract.control_period:g} s ({1.0 / contract.control_period:g} Hz)"
    inputs = ["name", "size", "unit", "frame", "noise", "bias", "lost", "delay (s)", ""]
    outputs = ["name", "size", "unit", "frame", "from", "to", "delay (s)", ""]
    versions = [[name, version] for name, version in contract.versions.items() if name != "commit"]
    parts = [
        f"{contract.task} · {contract.robot} · {rate} · schema {contract.schema}",
        _section("inputs, with the errors it was trained with", inputs, [_input(port) for port in contract.inputs]),
        _section("outputs", outputs, [_output(port) for port in contract.outputs]),
        _section("state", ["name", "size", "at first"], _state(contract)),
        _section("limits for the safety net", ["name", "value"], [[n, f"{v:g}"] for n, v in contract.limits.items()]),
        f"trained at commit {training.commit} · seed {training.seed} · {training.steps / 1e6:.2f} M steps",
        _section("evaluation", ["", "", "unit"], _evaluation(contract.evaluation)),
        _section("versions", ["", ""], versions),
        f"golden sequence of {len(next(iter(contract.golden.inputs.values())))} steps",
        f"SHA-256 {contract.sha256}",
    ]
    return "\n\n".join(parts)


def _input(port: Port) -> list[str]:
    errors = [f"{value:g}" if value else "" for value in (port.noise, port.bias, port.dropout)]
    return [port.name, _size(port.shape), port.unit, port.frame or "", *errors, _delay(port), _remarks(port)]


def _output(port: Port) -> list[str]:
    limits = [" ".join(f"{value:.4g}" for value in values or ()) for values in (port.lower, port.upper)]
    return [port.name, _size(port.shape), port.unit, port.frame or "", *limits, _delay(port), _remarks(port)]


def _state(contract: Contract) -> list[list[str]]:
    return [
        [part.name, _size(part.shape), f"{part.initial[0]:g}" if len(set(part.initial)) == 1 else "as in the file"]
        for part in contract.state
    ]


def _evaluation(evaluation: Mapping[str, object] | None) -> list[list[str]]:
    """Plain values first, then what was counted, then means of the metrics; anything else is left to its reader."""
    if evaluation is None:
        return [["not evaluated", "", ""]]
    rows: list[list[str]] = []
    for name, value in evaluation.items():
        if isinstance(value, Mapping) and "value" in value and "low" in value:
            rows.append(
                [name, f"{_float(value['value']):.1%} ({_float(value['low']):.1%} … {_float(value['high']):.1%})", ""]
            )
        elif name == "metrics" and isinstance(value, Mapping):
            rows += [
                [str(n), f"{_float(m['mean']):.4g}", str(m.get("unit", ""))] for n, m in value.items() if "mean" in m
            ]
        elif isinstance(value, Mapping):
            rows.append([name, ", ".join(f"{key} {item}" for key, item in value.items()), ""])
        else:
            rows.append([name, str(value), ""])
    return rows


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _delay(port: Port) -> str:
    return f"{port.delay[0]:g} … {port.delay[1]:g}" if port.delay and port.delay[1] else ""


def _remarks(port: Port) -> str:
    return "; ".join(filter(None, [f"quaternion {port.quaternion_order}" if port.quaternion_order else "", port.note]))


def _size(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "1"


def _section(title: str, header: list[str], rows: list[list[str]]) -> str:
    """A title with its rows, columns that nobody fills left out."""
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    shown = [[row[i] for i in used] for row in ([header] if any(header) else []) + (rows or [])]
    if not used:
        return f"{title}: none"
    widths = [max(len(row[i]) for row in shown) for i in range(len(used))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in shown]
    return "\n".join([title, *("  " + line for line in lines)])
