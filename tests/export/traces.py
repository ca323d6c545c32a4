"""What an exported file must not tell: where it was made, by whom, on which machine, from which lines of code."""

import getpass
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import onnx

from robo_ppo.export.bundle import every_message

ROOT = Path(__file__).parents[2]
PLACES = {str(ROOT), str(ROOT.resolve()), str(Path.home()), "/tmp", "/home", "site-packages", 'File "', "stack_trace"}
PATTERNS = [
    *(re.escape(place) for place in sorted(PLACES)),
    r"\.py\b",
    r"(?<![\w.])/\w+/\w+",
    r"\b[A-Z]:\\\w",
    *(
        rf"\b{re.escape(name)}\b"
        for name in sorted({getpass.getuser(), Path.home().name, socket.gethostname()})
        if name
    ),
]


def traces_in(model: onnx.ModelProto) -> list[str]:
    """Every text in a model that tells where it was made, with what it tells."""
    found: list[str] = []
    for text in texts_of(model):
        for pattern in PATTERNS:
            match = re.search(pattern, text)
            if match:
                found.append(f"{match[0]!r} in {text[max(0, match.start() - 40) : match.end() + 40]!r}")
    return found


def texts_of(model: onnx.ModelProto) -> Iterator[str]:
    """Every text in a model, however deep, and every key and text in its metadata."""
    for message in every_message(model):
        for field, value in message.ListFields():
            if field.message_type is None and field.name != "raw_data":  # random bytes may spell anything
                for item in value if isinstance(value, (list, tuple)) or hasattr(value, "append") else (value,):
                    if isinstance(item, bytes):
                        yield item.decode("utf-8", "replace")
                    elif isinstance(item, str):
                        yield from texts_of_json(item)


def texts_of_json(text: str) -> Iterator[str]:
    """A text, or the keys and texts of the JSON document that it is."""
    try:
        waiting: list[object] = [json.loads(text)]
    except ValueError:
        waiting = [text]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            waiting += value
