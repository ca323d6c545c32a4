"""The flight log: one row for every tick, as CSV with units in its header, and a status line for whoever watches.

    log = FlightLog(Path("flights/2026-11-21_10-30-00.csv"), contract)
    controller = Controller(…, watchers=[log, StatusLine()])
    …
    log.close()

Rows are written by a thread of their own: a slow disk must not hold a tick. What was not yet on disk when the machine
stops is lost, at most a second.
"""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, List, TextIO

from .background import Background
from .contract import Contract
from .errors import UserError

if TYPE_CHECKING:
    from .controller import Tick

Row = List[object]
FLUSH_EVERY = 1.0  # s


class FlightLog:
    """Writes every tick that it is shown into a file."""

    def __init__(self, path: Path, contract: Contract) -> None:
        self.path = path
        self._inputs: list[tuple[str, int]] = [(port.name, port.size) for port in contract.inputs]
        self._outputs = [port.name for port in contract.outputs]
        header = [
            "time [s]",
            "late [ms]",
            "state",
            "order",
            "fault",
            "trouble",
            "mode",
            "armed",
            "battery [1]",
            "policy [ms]",
        ]
        for port in contract.inputs:
            names = names_of(port.name, port.size, port.quaternion_order is not None)
            header += [f"{name} [{port.unit}]" for name in names] + [f"age of {port.name} [ms]"]
        header += [f"policy's {port.name} [{port.unit}]" for port in contract.outputs]
        header += [f"{port.name} [{port.unit}]" for port in contract.outputs]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO = path.open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot write the flight log {path}: {error.strerror}") from error
        self._writer, self._flushed = csv.writer(self._file), time.monotonic()
        self._rows: Background[Row] = Background(self._write)
        self._rows.put(list(header))
        self._start: float | None = None

    def __call__(self, tick: Tick) -> None:
        """Remember a tick."""
        if self._start is None:
            self._start = tick.time
        status, answer = tick.status, tick.answer
        row: Row = [
            tick.time - self._start,
            1e3 * tick.late,
            tick.state.name,
            tick.setpoint.order.name,
            "" if tick.fault is None else tick.fault.text,
            tick.trouble,
            status.mode,
            int(status.armed),
            "" if status.battery is None else status.battery,
            "" if answer is None else 1e3 * answer.seconds,
        ]
        for name, size in self._inputs:
            entry = tick.inbox.newest.get(name)
            row += [""] * (size + 1) if entry is None else [*entry.values, 1e3 * (tick.time - entry.received)]
        row += [""] * len(self._outputs) if answer is None else [answer.commands[name] for name in self._outputs]
        row += [tick.setpoint.commands[name] for name in self._outputs]
        self._rows.put(row)

    def close(self) -> None:
        """Write what is left."""
        self._rows.close()
        self._file.close()

    def _write(self, row: Row) -> None:
        self._writer.writerow([f"{value:.7g}" if isinstance(value, float) else value for value in row])
        if time.monotonic() - self._flushed > FLUSH_EVERY:
            self._file.flush()
            self._flushed = time.monotonic()


class StatusLine:
    """Says on the terminal who flies: every change as a line, and in between a line that is written over."""

    def __init__(self, stream: TextIO | None = None, every: float = 0.2) -> None:
        self._stream, self._every = stream or sys.stderr, every
        self._lines: Background[tuple[str, bool]] = Background(self._write)
        self._shown = -1e9
        self._start: float | None = None
        self._state = self._trouble = ""

    def __call__(self, tick: Tick) -> None:
        """Show a tick, if it is time."""
        if self._start is None:
            self._start = tick.time
        since, state = tick.time - self._start, tick.state.name
        if tick.trouble and tick.trouble != self._trouble:
            self.say(f"{since:7.2f} s  trouble: {tick.trouble}")
        self._trouble = tick.trouble
        if state != self._state:
            self._state = state
            why = f" ({tick.why})" if tick.why else ""
            self.say(f"{since:7.2f} s  {state.lower():8}{tick.state.value}{why}")
        elif self._stream.isatty() and tick.time - self._shown >= self._every:
            self._shown = tick.time
            place = tick.inbox.newest.get("position")
            parts = [f"{since:7.2f} s  {state.lower():8}"]
            if place is not None:
                parts.append("at " + " ".join(f"{value:+.2f}" for value in place.values) + " m")
            if tick.status.battery is not None:
                parts.append(f"battery {100 * tick.status.battery:.0f} %")
            if tick.answer is not None:
                parts.append(f"policy {1e3 * tick.answer.seconds:.2f} ms")
            self.say("  ".join(parts), over=True)

    def say(self, text: str, *, over: bool = False) -> None:
        """Show a line; `over`: the next one takes its place."""
        self._lines.put((text, over))

    def close(self) -> None:
        """Show what is left."""
        self._lines.close()

    def _write(self, line: tuple[str, bool]) -> None:
        clear = "\r\x1b[K" if self._stream.isatty() else ""
        print(clear + line[0], end="" if line[1] else "\n", file=self._stream, flush=True)


def names_of(port_name: str, size: int, is_rotation: bool) -> tuple[str, ...]:
    """Names of a measurement's numbers: position.x, attitude.w, ranges.7."""
    if size == 1:
        return (port_name,)
    letters = "wxyz" if is_rotation else "xyz" if size == 3 else ""
    return tuple(f"{port_name}.{letters[i] if letters else i}" for i in range(size))
