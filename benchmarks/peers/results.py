"""The result of the benchmark as a file that grows: what it holds is not measured again, so a stopped one goes on.

results = Results(path, setup)
if not results.find("learning", learner="ours", seed=0):
    results.add("learning", {"learner": "ours", "seed": 0, "success": [0.5, 0.9]})
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from robo_ppo.errors import UserError

Entry = dict[str, Any]


class Results:
    """Entries by part, below the setup that they share."""

    def __init__(self, path: Path, setup: dict[str, Any]) -> None:
        """Read `path` if there is one; a `UserError` where it was measured in another setup."""
        self.path = path
        self.content: dict[str, Any] = {"commands": [], "setup": _as_read(setup), "learners": {}}
        if path.is_file():
            found = json.loads(path.read_text())
            different = [key for key in setup if found["setup"].get(key) != self.content["setup"][key]]
            if different:
                raise UserError(
                    f"{path} was measured with another {' and '.join(different)}; move it away, or choose another "
                    "folder with --out"
                )
            self.content = found

    def entries(self, part: str) -> list[Entry]:
        """Everything of one part."""
        return self.content.get(part, [])

    def count(self, parts: Iterable[str]) -> int:
        """Entries of some parts together."""
        return sum(len(self.entries(part)) for part in parts)

    def find(self, part: str, **values: object) -> list[Entry]:
        """Entries of a part that have these values."""
        return [e for e in self.entries(part) if all(e.get(key) == value for key, value in values.items())]

    def add(self, part: str, entry: Entry) -> None:
        """Add an entry and write the file."""
        self.content.setdefault(part, []).append(_as_read(entry))
        self.write()

    def describe(self, learner: str, description: Entry) -> None:
        """Say what a learner is: its versions, its settings, where they are documented."""
        self.content["learners"][learner] = _as_read(description)

    def write(self) -> None:
        """Put the file in place of the old one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.content, indent=2) + "\n")
        os.replace(temporary, self.path)


def _as_read(thing: Any) -> Any:
    """As it comes back from a file: tuples are lists."""
    return json.loads(json.dumps(thing))
