"""A reward program: one text with a version, a description, weights, and functions that are terms.

    program = parse(Path("my_reward.py").read_text(), "my_reward.py")
    config = applied(config, program)            # train on it: build() finds its terms
    doubled = program.with_weights({**program.weights, "progress": {"weight": 6.0}})

`weights` names every term that counts: the functions of the text, and terms that the task has anyway. So a mere change
of weights is a program too (`program_of`).
"""

import ast
import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_ppo.config import RunConfig
from robo_ppo.env.language.functions import WEIGHT, check_name, compiled, docstring, number
from robo_ppo.env.language.steps import Code
from robo_ppo.env.language.text import MOST_BYTES, refuse, syntax_tree
from robo_ppo.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from robo_ppo.env.language.term import Term

VERSION = 1
MOST_TERMS = 50
PROGRAM = "the reward program"  # what messages call one whose file is not known
Weights = dict[str, dict[str, float]]


@dataclasses.dataclass(frozen=True)
class Program:
    """A text that was parsed, and what it says."""

    text: str
    where: str
    description: str
    version: int
    weights: Weights  # with every setting, also those that are left at their defaults
    codes: dict[str, Code]
    lines: tuple[int, int]  # of the weights, from and to

    @cached_property
    def functions(self) -> "dict[str, Term]":
        """Its terms, compiled: callable with signals, settings by keyword."""
        from robo_ppo.env.language.term import Term  # brings torch, which a mistake need not wait for

        return {name: Term(code, self.where) for name, code in self.codes.items()}

    def with_weights(self, weights: Mapping[str, Mapping[str, float]]) -> "Program":
        """The same text with other weights and settings."""
        lines, (first, last) = self.text.split("\n"), self.lines
        return parse("\n".join([*lines[: first - 1], _written(weights), *lines[last:]]), self.where)


def parse(text: str, where: str) -> Program:
    """A program from its text; a `UserError` with file, line and reason for anything that is not one.

    `where` is what messages call it: its file. Nothing of the text is ever executed.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    body = list(syntax_tree(text, where).body)
    says = docstring(body)
    if not says:
        refuse(where, 1, 'a program begins with what it is for: """…"""')
    functions = [node for node in body[1:] if isinstance(node, ast.FunctionDef)]
    terms = tuple(node.name for node in functions)
    if len(functions) > MOST_TERMS:
        refuse(where, functions[MOST_TERMS].lineno, f"a program has at most {MOST_TERMS} terms of its own")
    version, weights = _statements(body[1:], where)
    if version is None:
        refuse(where, 1, f"say which version of the language this is: version = {VERSION}")
    if weights is None:
        refuse(where, 1, 'say what the terms weigh: weights = {"progress": 3.0, …}')
    codes: dict[str, Code] = {}
    for node in functions:
        check_name(node.name, "term", where, node.lineno)
        if node.name in codes or node.name in ("version", "weights"):
            refuse(where, node.lineno, f"the name '{node.name}' stands there twice")
        codes[node.name] = compiled(node, where, terms)
    found = _weights(weights.value, where)
    for name, code in codes.items():
        if name not in found:
            refuse(where, code.line, f"the term '{name}' has no weight; add \"{name}\": … to weights, or leave it out")
        _check_settings(name, found[name], code, where, weights.lineno)
        defaults = {setting: value for setting, value in code.settings.items() if value is not None}
        found[name] = {WEIGHT: found[name][WEIGHT], **defaults, **found[name]}
    lines = weights.lineno, weights.end_lineno or weights.lineno
    return Program(text, where, says.strip(), version, found, codes, lines)


def read(path: Path) -> Program:
    """A program from its file."""
    try:
        if path.exists() and not path.is_file():  # a pipe may never say anything
            raise UserError(f"the reward program {path} is not a file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 4)  # a little more than is allowed, whatever the file's size
        return parse(content.decode("utf-8"), str(path))
    except OSError as error:
        raise UserError(f"the reward program {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the reward program {path} is not a text in UTF-8: {error.reason}") from error


def program_of(reward: Mapping[str, Mapping[str, Any]], description: str) -> Program:
    """A reward of the configuration as a program without functions of its own."""
    plain = "".join(c if c.isprintable() else " " for c in description).replace("\\", "/").replace('"', "'")
    plain = " ".join(plain.replace("${", "$ {").split()) or "A reward."
    return parse(f'"""{plain[:800]}"""\nversion = {VERSION}\n{_written(reward)}\n', "the reward")


def applied(config: RunConfig, program: Program) -> RunConfig:
    """The same run with the program for its reward."""
    reward: dict[str, dict[str, Any]] = {name: dict(settings) for name, settings in program.weights.items()}
    return dataclasses.replace(config, reward=reward, program=program.text)


def _statements(body: list[ast.stmt], where: str) -> tuple[int | None, ast.Assign | None]:
    """The version and the weights; all else at the top must be functions."""
    version: int | None = None
    weights: ast.Assign | None = None
    for node in body:
        if isinstance(node, ast.FunctionDef):
            continue
        target = node.targets[0] if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        name = target.id if isinstance(target, ast.Name) else None
        if isinstance(node, ast.Assign) and name == "weights" and weights is None:
            weights = node
        elif isinstance(node, ast.Assign) and name == "version" and version is None:
            if not isinstance(node.value, ast.Constant) or node.value.value is not VERSION:
                refuse(where, node.lineno, f"this is not version {VERSION} of the language: write version = {VERSION}")
            version = VERSION
        elif isinstance(node, ast.Import | ast.ImportFrom):
            refuse(where, node.lineno, "nothing needs importing; the operations are there: exp(x), norm(x), where(…)")
        else:
            said = f"'{name}' cannot be set here; " if name else ""
            refuse(where, node.lineno, f"{said}a program has a docstring, version = …, weights = …, and functions")
    return version, weights


def _weights(node: ast.expr, where: str) -> Weights:
    """The dictionary of weights; {"term": 1.0} is short for {"term": {"weight": 1.0}}."""
    if not isinstance(node, ast.Dict) or not node.keys:
        refuse(where, node.lineno, 'weights are written out: weights = {"progress": 3.0, …}')
    found: Weights = {}
    for name, value in _entries(node, where):
        settings = dict(_numbers(value, where)) if isinstance(value, ast.Dict) else {WEIGHT: _number(value, where)}
        if name in found:
            refuse(where, value.lineno, f"the weight of '{name}' stands there twice")
        if settings.get(WEIGHT, -1.0) < 0.0:
            refuse(
                where,
                value.lineno,
                f"the weight of '{name}' must be a number of at least 0; a penalty's term is itself negative",
            )
        found[name] = {WEIGHT: settings[WEIGHT], **settings}
    return found


def _numbers(node: ast.Dict, where: str) -> list[tuple[str, float]]:
    found = [(name, _number(value, where)) for name, value in _entries(node, where)]
    if len(dict(found)) < len(found):
        refuse(where, node.lineno, "a setting stands there twice")
    return found


def _entries(node: ast.Dict, where: str) -> list[tuple[str, ast.expr]]:
    found: list[tuple[str, ast.expr]] = []
    for key, value in zip(node.keys, node.values, strict=True):
        name = key.value if isinstance(key, ast.Constant) else None
        if not isinstance(name, str) or not name.isascii() or not name.isidentifier():
            refuse(where, value.lineno, 'names stand in quotation marks, as in "progress": 3.0')
        check_name(name, "name", where, value.lineno)
        found.append((name, value))
    return found


def _number(node: ast.expr, where: str) -> float:
    found = number(node)
    if found is None:
        refuse(where, node.lineno, "here must be a number that is written out, neither infinite nor huge")
    return found


def _check_settings(name: str, given: Mapping[str, float], code: Code, where: str, line: int) -> None:
    for setting in given:
        if setting != WEIGHT and setting not in code.settings:
            refuse(where, line, f"'{name}' has no setting '{setting}'; {did_you_mean(setting, code.settings)}")
    for setting, default in code.settings.items():
        if default is None and setting not in given:
            refuse(where, line, f"'{name}' needs the setting {setting}; give it a default, or a value in weights")


def _written(weights: Mapping[str, Mapping[str, Any]]) -> str:
    """The statement that sets the weights."""
    rows: list[str] = []
    for name, settings in weights.items():
        for key, value in settings.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(f"{name}.{key} must be a number in a program, not {value!r}")
        inner = ", ".join(f'"{key}": {float(value)!r}' for key, value in settings.items())
        rows.append(
            f'    "{name}": ' + (repr(float(settings[WEIGHT])) if list(settings) == [WEIGHT] else f"{{{inner}}}")
        )
    return "weights = {\n" + "".join(f"{row},\n" for row in rows) + "}"
