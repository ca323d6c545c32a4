"""Questions and answers as files: one folder for each question, readable by people, never half written.

For the third question of a run, which was asked by the judge:

0003_judge/question.md        the words, with links to the pictures beside it
0003_judge/question.json      number, purpose, a hash of all that was asked
0003_judge/attempt_01.json    what came: a text or an error, and what it cost
0003_judge/answer.json        the answer that passed
0003_judge/usage.json         what the question cost in all
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from robo_ppo.shaping.documents import set_aside, write, write_json
from robo_ppo.shaping.llm.model import Usage
from robo_ppo.shaping.llm.plain_text import file_name
from robo_ppo.shaping.llm.voice import Asked

LARGEST = 8_000_000  # bytes of a file: the longest answer, escaped, and more


@dataclass(frozen=True)
class Attempt:
    """What came of asking once: a text, or an error; neither, where the process ended while it waited."""

    text: str | None = None
    error: str | None = None  # why there is no text, or why the text was refused
    usage: Usage = field(default_factory=Usage)


def read_text(path: Path) -> str:
    """A text of at most `LARGEST` bytes; an OSError or ValueError where there is none, as in a stranger's record."""
    if path.exists() and not path.is_file():  # a pipe may never say anything
        raise ValueError("it is not a file")
    with open(path, "rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError(f"it has more than {LARGEST // 1_000_000} MB")
    return data.decode("utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty where there is none to be read."""
    try:
        found = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def hash_of(asked: Asked) -> str:
    """The same for the same words, pictures and form of answer."""
    question = asked.question
    parts = [question.purpose, question.system, question.text, json.dumps(asked.form.schema, sort_keys=True)]
    for picture in question.pictures:
        parts += [picture.name, picture.caption, hashlib.sha256(picture.png).hexdigest()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def put_question(folder: Path, asked: Asked) -> None:
    """Write question.md, its pictures and, last, question.json; set aside what another question of its number left."""
    if folder.is_dir() and read_json(folder / "question.json").get("hash") == hash_of(asked):
        return
    for other in sorted(folder.parent.glob(f"{asked.number:04d}_*/")):
        if (other / "question.json").is_file():
            set_aside(other)
    question = asked.question
    names = [f"{index}_{file_name(picture.name)}.png" for index, picture in enumerate(question.pictures, start=1)]
    for name, picture in zip(names, question.pictures, strict=True):
        write(folder / name, picture.png)
    links = [f"![{p.caption}]({name})" for name, p in zip(names, question.pictures, strict=True)]
    pages = [question.system.strip(), *links, asked.text]
    write(folder / "question.md", "\n\n".join(page for page in pages if page) + "\n")
    content = {"number": asked.number, "purpose": question.purpose, "answer": asked.form.name, "pictures": names}
    write_json(folder / "question.json", {**content, "hash": hash_of(asked)})


def attempts(folder: Path) -> list[Attempt]:
    """Every attempt in a question's folder, in order."""
    paths = sorted(folder.glob("attempt_*.json"), key=lambda path: (len(path.name), path.name))
    return [_attempt(read_json(path)) for path in paths]


def put_attempt(folder: Path, number: int, attempt: Attempt) -> None:
    """Write, or write again, the how-manieth attempt (from 1)."""
    write_json(folder / f"attempt_{number:02d}.json", asdict(attempt))


def spent(folder: Path) -> Usage:
    """What all questions below a folder have cost, those set aside included."""
    return sum((a.usage for inner in sorted(folder.glob("*/")) for a in attempts(inner)), Usage())


def _attempt(content: dict[str, Any]) -> Attempt:
    text, error, usage = content.get("text"), content.get("error"), content.get("usage")
    try:
        known = Usage(**usage) if isinstance(usage, dict) else Usage()
    except TypeError:
        known = Usage()
    return Attempt(text if isinstance(text, str) else None, error if isinstance(error, str) else None, known)
