"""What happened in a flight, kept step by step, for films, plots and figures.

    recording = Recording(flight)
    recording.add(now, "offboard", armed=True)     # after every step
    recording.write(folder)                        # flight.npz

The file has `time`, `mode`, `armed`, `episode`, `outcome`, `judged`, and one array (T, …) for every state of the
task (`state/goal_position`) and every signal that an evaluation records (`signal/clearance`).
"""

from pathlib import Path
from typing import Any

import numpy as np

from robo_ppo.export.vehicles.flight import Flight

FILE = "flight.npz"


class Recording:
    """The steps of one flight."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self._rows: dict[str, list[Any]] = {}
        self._decided = False

    def add(self, now: float, mode: str, armed: bool) -> None:
        """After a step."""
        transition = self._flight.transition
        if transition is None:
            return
        environment = self._flight.environment
        judged = self._flight.judged_steps > 0 and not self._decided
        self._decided = self._flight.outcome is not None
        row: dict[str, Any] = {"time": now, "mode": mode, "armed": armed, "judged": judged}
        row |= {f"state/{name}": transition.values[name][0].numpy().copy() for name in environment.states}
        row |= {f"signal/{name}": transition.values[name][0].numpy().copy() for name in environment.task.recorded()}
        for name, value in row.items():
            self._rows.setdefault(name, []).append(value)

    def write(self, folder: Path) -> None:
        """Into a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {name: np.array(values) for name, values in self._rows.items()}
        arrays |= {"episode": np.array(self._flight.episode), "outcome": np.array(self._flight.outcome or "undecided")}
        np.savez_compressed(folder / FILE, **arrays)
