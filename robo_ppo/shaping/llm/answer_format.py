r"""What an answer must look like, and how a text becomes one: the same for a server, a person and a record.

    form = AnswerFormat(Proposals)            # a plain dataclass; nested ones, lists and Literals are fine
    form.explanation()                        # for the one who is asked: a JSON schema and an example
    form.read("Sure! ```json\n{…}\n```")      # Proposals(…), or BadAnswer with a sentence that says what is wrong

Servers promise valid JSON at best, and no bounds of numbers, so everything is checked here, always. Nothing in a
text is ever executed; a value that is no finite number, and a key that the dataclass does not know, are refused.
"""

import json
import math
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Generic

from pydantic import TypeAdapter, ValidationError

from robo_ppo.shaping.llm.model import Answer
from robo_ppo.shaping.llm.plain_text import one_line

LONGEST = 200_000  # characters of an answer: eight of the longest programs; more mistakes than in these take seconds
_SHOWN = 6  # mistakes in one message


class BadAnswer(Exception):
    """The text is no answer; the message says why, to whoever wrote it."""


class NoJson(BadAnswer):
    """There is no whole JSON in it, as in a file that is still being written."""


class AnswerFormat(Generic[Answer]):
    """The form of one kind of answer."""

    def __init__(self, kind: type[Answer]) -> None:
        self.name = kind.__name__
        self._adapter: TypeAdapter[Answer] = TypeAdapter(kind)
        self.schema: dict[str, Any] = self._adapter.json_schema()

    def explanation(self) -> str:
        """What to answer, in words that a model and a person both can follow."""
        return (
            "Answer with one JSON object and nothing else (a fenced block ```json … ``` is fine). Its schema:\n\n"
            f"```json\n{json.dumps(self.schema, indent=1, ensure_ascii=False)}\n```\n\n"
            "An example of the form, not of the content:\n\n"
            f"```json\n{self.example()}\n```\n"
        )

    def example(self) -> str:
        """JSON of the right form, with placeholders."""
        return json.dumps(_example(self.schema, self.schema, 0), indent=1, ensure_ascii=False)

    def read(self, text: str) -> Answer:
        """The answer in a text.

        Raises:
            BadAnswer: there is none, or it is of another form.
        """
        found = find_json(text)
        try:
            answer = self._adapter.validate_json(json.dumps(found))
        except ValidationError as error:
            raise BadAnswer(_mistakes(error)) from None
        except (ValueError, RecursionError) as error:
            raise BadAnswer(f"it cannot be read: {one_line(str(error))}") from None
        written = self.plain(answer)
        faults = list(islice(chain(_unknown(found, written, ""), _not_finite(written, "")), _SHOWN))
        if faults:
            raise BadAnswer("; ".join(faults))
        return answer

    def plain(self, answer: Answer) -> object:
        """The answer as dictionaries, lists, texts and numbers, for a JSON file."""
        return self._adapter.dump_python(answer, mode="json")


def find_json(text: str) -> dict[str, Any]:
    """The JSON object in a text: all of it, its last fenced block that is one, or the first that stands in prose.

    Raises:
        BadAnswer: the text is too long, or holds none.
    """
    if len(text) > LONGEST:
        raise BadAnswer(f"the answer has {len(text):,} characters; {LONGEST:,} are the most")
    text = text.lstrip("\ufeff").strip()
    if not text:
        raise NoJson("the answer is empty")
    problem = ""
    for candidate in (text, *reversed(_blocks(text))):
        try:
            found = json.loads(candidate)
        except (ValueError, RecursionError) as error:
            # Of a whole that looks like JSON the fault is worth telling; of prose around a block it is not.
            problem = problem or (_fault(error) if candidate.lstrip().startswith(("{", "[")) else "")
            continue
        if isinstance(found, dict):
            return found
        problem = problem or f"the answer must be a JSON object {{…}}, not {one_line(json.dumps(found), 60)}"
    start = text.find("{")
    if start >= 0:
        try:
            found, _ = json.JSONDecoder().raw_decode(text, start)
            return found
        except (ValueError, RecursionError) as error:
            problem = problem or _fault(error)
    raise NoJson(problem or f"there is no JSON object in the answer, which begins: {one_line(text, 80)}")


def _blocks(text: str) -> list[str]:
    """What stands in fenced blocks; read line by line, since a pattern could be made to search for hours."""
    found: list[str] = []
    inside: list[str] | None = None
    for line in text.split("\n"):
        fence = line.strip()
        if inside is None:
            inside = [] if fence.startswith("```") and "`" not in fence[3:] else None
        elif fence == "```":
            found.append("\n".join(inside))
            inside = None
        else:
            inside.append(line)
    return found


def _fault(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"the JSON is not valid or not whole: {error.msg} (line {error.lineno}, column {error.colno})"
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply"
    return f"the JSON is not valid: {one_line(str(error))}"


def _mistakes(error: ValidationError) -> str:
    """What pydantic found, without what it was given: that may be long, and the one who wrote it knows it."""
    found = error.errors(include_url=False, include_input=False, include_context=False)
    sentences = [
        f"{one_line('.'.join(str(part) for part in item['loc']) or 'the answer', 80)}: {one_line(item['msg'])}"
        for item in found[:_SHOWN]
    ]
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return "; ".join(sentences) + more


def _unknown(given: object, known: object, where: str) -> Iterator[str]:
    """Keys that were given and mean nothing: most often a slip in the name of something optional."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            path = f"{where}.{key}".lstrip(".")
            if key not in known:
                yield f"{one_line(path, 80)}: there is no such field; it has {one_line(', '.join(map(str, known)))}"
            else:
                yield from _unknown(value, known[key], path)
    elif isinstance(given, list) and isinstance(known, list):
        for index, (value, other) in enumerate(zip(given, known, strict=False)):
            yield from _unknown(value, other, f"{where}.{index}")


def _not_finite(value: object, where: str) -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{one_line(where, 80)}: it must be a finite number"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{where}.{index}")


def _example(node: dict[str, Any], root: dict[str, Any], depth: int) -> object:
    """A value that a schema describes."""
    if "$ref" in node:
        node = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    for key in ("const", "default"):
        if key in node:
            return node[key]
    if "enum" in node:
        return node["enum"][0]
    if "anyOf" in node:
        return _example(node["anyOf"][0], root, depth)
    if depth > 8:  # a kind that holds itself
        return None
    match node.get("type"):
        case "object" if "properties" in node:
            return {name: _example(inner, root, depth + 1) for name, inner in node["properties"].items()}
        case "object":
            values = node.get("additionalProperties")
            return {"name": _example(values, root, depth + 1) if isinstance(values, dict) else "…"}
        case "array":
            items = node.get("prefixItems") or [node.get("items", {})]
            return [_example(item, root, depth + 1) for item in items]
        case "number":
            return node.get("minimum", 0.5)
        case "integer":
            return node.get("minimum", 1)
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return node.get("description", "…")
