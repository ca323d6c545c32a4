"""Follows a page of the documentation: writes the files that it shows, runs its commands, compares what they print.

A block of code means what the line before it says:

    `path`              an excerpt: the file has exactly these lines
    Write `path`:       the whole of a new file
    … add to … `path`:  lines for its end
    sh                  commands; an output that follows as `text` must be among what they print, … is anything
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^(?P<before>[^\n]*)\n(?:\n)?```(?P<language>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One block of code of a page, with the line before it, and whether it comes directly after commands."""

    before: str
    language: str
    body: str
    follows_commands: bool


def blocks(page: str) -> Iterator[Block]:
    end, language = -1, ""
    for found in BLOCK.finditer(page):
        adjacent = language == "sh" and not page[end : found.start("language") - 3].strip()
        yield Block(found["before"], found["language"], found["body"], adjacent)
        end, language = found.end(), found["language"]


class Reader:
    """Someone who does what a page says, in a folder; `tiny` is appended to every training."""

    def __init__(self, folder: Path, environment: Mapping[str, str], tiny: str) -> None:
        self.folder, self._environment, self._tiny = folder, environment, tiny
        self._printed = ""

    def follow(self, page: str) -> None:
        """From top to bottom."""
        expected = list(blocks(page))
        assert len(expected) == page.count("\n```") / 2, "every block of code is understood"
        for number, block in enumerate(expected):
            path = re.search(r"`([\w./]+)`:?$", block.before)
            answer = expected[number + 1] if number + 1 < len(expected) else None
            if block.language == "sh":
                fails = answer is not None and answer.follows_commands and answer.body.startswith("error:")
                self._run(block.body, fails)
            elif block.language == "text":
                if block.follows_commands:
                    self._compare(block.body)
            else:
                assert path is not None, f"nothing says what this is:\n{block.body}"
                self._write(self.folder / path[1], block)

    def _write(self, file: Path, block: Block) -> None:
        if re.search(r"Write `[^`]+`:$", block.before):
            assert not file.exists()
            file.write_text(block.body)
        elif re.search(r"[Aa](dd|nd) to ", block.before):
            gap = "" if file.suffix == ".yaml" else "\n" if block.body.startswith(" ") else "\n\n"
            file.write_text(file.read_text() + gap + block.body)
        else:
            assert block.body in file.read_text(), f"{file} does not have\n{block.body}"

    def _run(self, commands: str, fails: bool) -> None:
        commands = re.sub(r"^robo-ppo train (?!.*info=true).*$", rf"\g<0> {self._tiny}", commands, flags=re.MULTILINE)
        script = f"set -e\n{commands}\necho; pwd"
        done = subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=self._environment, capture_output=True, text=True, check=False
        )
        self._printed = done.stdout + done.stderr
        assert done.returncode == (2 if fails else 0), f"{commands}\n{self._printed}"
        if not fails:
            self.folder = Path(done.stdout.splitlines()[-1])

    def _compare(self, expected: str) -> None:
        for line in expected.splitlines():
            pattern = ".*".join(r"\s+".join(map(re.escape, part.split())) for part in line.split("…"))
            assert re.search(pattern, self._printed), f"'{line}' is not in\n{self._printed}"
