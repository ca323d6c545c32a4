"""A folder's files for a page. Nothing in it is certain: a run may be young, broken off or from another version.

    files = Files(Path("runs/uav_nav/2026-11-21_10-30-00"))
    config = files.mapping("config.yaml")                        # {} where there is none, and then
    film = files.embedded("evaluation/video.mp4", "video/mp4")
    files.missing                                                # → {"config.yaml": "is missing"}

Names may come from a file that someone else wrote: what lies outside of the folder is not read.
"""

import base64
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml


@dataclass
class Files:
    """What a folder holds, and what of it could not be shown."""

    folder: Path
    room: float = math.inf  # bytes that may still be embedded in the page
    missing: dict[str, str] = field(default_factory=dict)  # file → what is wrong with it

    def has(self, name: str) -> bool:
        """Whether there is such a file within the folder."""
        try:
            return self._path(name).is_file()
        except OSError:
            return False

    def read(self, name: str) -> str | None:
        """A text file's content; None, and noted, where there is none."""
        try:
            return self._path(name).read_text(encoding="utf-8")
        except FileNotFoundError:
            self.missing[name] = "is missing"
        except (OSError, UnicodeDecodeError) as error:
            self.missing[name] = f"could not be read ({error.__class__.__name__})"
        return None

    def mapping(self, name: str) -> dict[str, Any]:
        """A JSON or YAML file's mapping; an empty one, and noted, where there is none."""
        text = self.read(name)
        if text is None:
            return {}
        try:
            content = json.loads(text) if name.endswith(".json") else yaml.safe_load(text)
        except (ValueError, RecursionError, yaml.YAMLError):
            content = None
        if not isinstance(content, dict):
            self.missing[name] = "could not be read (it is damaged)"
            return {}
        return content

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The whole lines of a JSON-lines file: a run that was killed may have left half a line."""
        return list(self._rows((self.read(name) or "").splitlines()))

    def last_line(self, name: str) -> dict[str, Any]:
        """The last whole line of a JSON-lines file."""
        return next(self._rows(reversed((self.read(name) or "").splitlines())), {})

    def embedded(self, name: str, kind: str, most: float = math.inf) -> str | None:
        """A file of at most so many bytes as a data URI; None, and noted, where there is none or no room for it."""
        try:
            path = self._path(name)
            size = path.stat().st_size
            if size > min(most, self.room):
                self.missing[name] = f"is too large to be embedded ({size / 1e6:.0f} MB)"
                return None
            content = path.read_bytes()
        except FileNotFoundError:
            self.missing[name] = "is missing"
            return None
        except OSError as error:
            self.missing[name] = f"could not be read ({error.__class__.__name__})"
            return None
        self.room -= len(content)
        return data_uri(content, kind)

    def below(self, name: str, pattern: str) -> list[str]:
        """The names of what matches a pattern in a folder within the folder."""
        try:
            place = self._path(name)
            return [f"{name}/{path.relative_to(place)}" for path in sorted(place.glob(pattern))]
        except OSError:
            return []

    def link(self, name: str) -> str:
        """A file's address as seen from a page in the folder."""
        return f"./{quote(name)}"

    def place(self, runs: str) -> str:
        """The folder from the folder of runs on. A page is sent to others: it never says where that lies."""
        within = Path(runs).name
        parts = self.folder.absolute().parts
        return "/".join(parts[-1 - parts[::-1].index(within) :]) if within in parts else self.folder.name

    def _path(self, name: str) -> Path:
        path = self.folder / name
        if "\0" in name or not path.resolve().is_relative_to(self.folder.resolve()):
            raise PermissionError(f"{name} lies outside of {self.folder}")
        return path

    def _rows(self, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
        for line in lines:
            try:
                content = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(content, dict):
                yield content


def data_uri(content: bytes, kind: str) -> str:
    """A file's content as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
