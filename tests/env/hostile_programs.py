"""Reward programs of somebody who means harm, or knows no better: every one of them must be refused.

Each is a whole text. Those of one family put their tricks, the lines of
`hostile_programs.txt`, at the same place of an otherwise right program; the others are made here.
"""

import string
from collections.abc import Iterator
from pathlib import Path

SENTINEL = "sentinel_of_the_hostile_programs"
TOUCH = f"open('{SENTINEL}', 'w')"
_HEAD = '"""A trap."""\nversion = 1\n'
_WEIGHTS = 'weights = {"trap": 1.0}\n'
_SIGNALS = "goal_distance, speed, velocity, success, previous_goal_distance"


def with_expression(expression: str) -> str:
    return f"{_HEAD}{_WEIGHTS}\ndef trap({_SIGNALS}, *, margin=0.3):\n    return {expression}\n"


def with_statement(statement: str) -> str:
    body = "\n".join(f"    {line}" for line in statement.split("\n"))
    return f"{_HEAD}{_WEIGHTS}\ndef trap({_SIGNALS}, *, margin=0.3):\n{body}\n    return speed\n"


def with_top(statement: str) -> str:
    return f"{_HEAD}{_WEIGHTS}{statement}\n\ndef trap({_SIGNALS}):\n    return speed\n"


def with_parameters(parameters: str, before: str = "", after: str = "") -> str:
    return f"{_HEAD}{_WEIGHTS}{before}\ndef trap({parameters}){after}:\n    return 0.5 * speed\n"


def with_weights(weights: str) -> str:
    return f"{_HEAD}{weights}\n\ndef trap(speed, *, margin=0.3):\n    return speed * margin\n"


def _texts() -> Iterator[tuple[str, str]]:
    """What attacks the parser rather than the language."""
    good = with_expression("speed")
    yield "empty", ""
    yield "blank lines", "\n" * 100
    yield "a comment", "# nothing\n"
    yield "no docstring", good.split("\n", 1)[1]
    yield "no version", good.replace("version = 1\n", "")
    yield "no weights", good.replace(_WEIGHTS, "")
    yield "version 1.0", good.replace("version = 1", "version = 1.0")
    yield "version True", good.replace("version = 1", "version = True")
    yield "10 MB of letters", "a" * 10_000_000
    yield "10 MB of brackets", "(" * 10_000_000
    yield "10 MB of a right program", good + "# padding\n" * 1_000_000
    yield "10 MB in a docstring", f'"""{"x" * 10_000_000}"""\n'
    yield "10 MB of newlines", good + "\n" * 10_000_000
    yield "19 kB in one line", with_expression("speed" + " + speed" * 2300)
    yield "a number of 19,000 digits", with_expression("speed * " + "9" * 19_000)
    yield "a number of 5,000 digits in lines", with_expression("speed * " + "9" * 900)
    yield "a hexadecimal number", with_expression("speed * 0x" + "f" * 900)
    yield "a long name", with_expression("s" * 900)
    yield "many functions", good + "".join(f"\ndef t{n}(speed): return speed" for n in range(400))
    yield "many terms", good + "".join(f"\ndef t{n}(speed): return speed" for n in range(60))
    for name, trick in {
        "dollar": "\\x24\\x7bseed}",
        "surrogate": "\\ud800",
        "escape": "\\x1b[31m",
        "name": "\\N{BELL}",
    }.items():
        yield f"{name} by its code in a docstring", good.replace("A trap.", trick)
        yield f"{name} by its code in a term", good.replace("    return", f'    """{trick}"""\n    return')
        yield f"{name} by its code in a weight", with_weights(f'weights = {{"trap": 1, "{trick}": 1}}')
    yield "a weight by its code", with_weights('weights = {"tr\\x61p": 1}')
    yield "many assignments", with_statement("\n".join(f"x{n} = speed" for n in range(700)))
    yield "many operations in many lines", with_statement("\n".join("x = " + "+".join("1" * 200) for _ in range(45)))
    for name, text in {
        "null byte": "\0",
        "form feed": "\f",
        "vertical tab": "\v",
        "carriage return": "\r",
        "escape": "\x1b[31m",
        "backspace": "\b",
        "delete": "\x7f",
        "next line": "\x85",
        "no-break space": "\xa0",
        "line separator": "\u2028",
        "paragraph separator": "\u2029",
        "zero-width space": "\u200b",
        "zero-width joiner": "\u200d",
        "right-to-left override": "\u202e",
        "left-to-right isolate": "\u2066",
        "byte order mark inside": "\ufeff",
        "surrogate": "\ud800",
        "private use": "\ue000",
        "not a character": "\uffff",
        "tag letter": "\U000e0041",
    }.items():
        yield f"{name} in an expression", with_expression(f"speed{text} + 1")
        yield f"{name} in a comment", good + f"# {text}\n{TOUCH}\n"
        yield f"{name} in a docstring", good.replace("A trap.", f"A {text} trap.\n{text}") + "x = 1\n"
    for fancy in (
        "ｅｘｐ",
        "𝐞𝐱𝐩",
        "ℯxp",
        "eхp",
        "еxp",
        "ｅval",
        "ｏｐｅｎ",
        "_﹏class__",
        "ｓｐｅｅｄ",
        "ſpeed",
        "ºpen",
    ):
        yield f"look-alike {fancy}", with_expression(f"{fancy}(speed)")
        yield f"look-alike weight {fancy}", with_weights(f'weights = {{"trap": 1, "{fancy}": 1}}')
        yield f"look-alike parameter {fancy}", with_parameters(f"speed, {fancy}")
    for interpolation in ("${oc.env:HOME}", "${seed}", "${now:}", "${", "\\${x}", "${${x}}"):
        yield f"interpolation {interpolation}", good.replace("A trap.", f"A {interpolation} trap.")
        yield f"interpolation in a comment {interpolation}", good + f"# {interpolation}\n"
    for cookie in ("utf-7", "rot13", "utf-16", "raw_unicode_escape", "unicode_escape", "hex", "nonsense"):
        yield f"coding {cookie}", f"# -*- coding: {cookie} -*-\n" + with_expression("+AG8-")
    for depth in (20, 90, 150, 900, 3_000, 9_000):
        size = depth if depth <= 6_000 else 6_000
        yield f"{depth} brackets", with_expression("(" * size + "speed" + ")" * size)
        yield f"{depth} open brackets", with_expression("(" * depth)
        yield f"{depth} square brackets", with_expression("[" * size + "speed" + "]" * size)
        yield f"{depth} curly brackets", with_expression("{" * depth)
        yield f"{depth} mixed brackets", with_expression("([{" * (depth // 3))
        yield f"{depth} calls", with_expression("exp(" * depth + "speed" + ")" * depth)
        yield f"{depth} closing brackets", with_expression("speed" + ")" * depth)
        if depth < 90:
            continue
        yield f"{depth} minus signs", with_expression("-" * depth + "speed")
        yield f"{depth} tildes", with_expression("~" * depth + "success")
        yield f"{depth} not", with_expression("not " * depth + "success")
        yield f"{depth} powers", with_expression("**".join(["2"] * (depth // 2)) + " * speed")
        yield f"{depth} sums", with_expression("+".join(["speed"] * (depth // 3)) + "+ x")
        yield f"{depth} lines of sums", with_expression("(" + "\n+".join(["1"] * (depth // 3)) + "+ x)")
        yield f"{depth} dots", with_expression("speed" + ".a" * (depth // 2))
        yield f"{depth} subscripts", with_expression("velocity" + "[:, :]" * (depth // 4))
        yield f"{depth} choices", with_expression("1 if success else " * (depth // 9) + "velocity")
        yield f"{depth} lambdas", with_expression("lambda: " * (depth // 4) + "speed")
        yield f"{depth} indents", _HEAD + "".join(" " * n + "if 1:\n" for n in range(min(depth // 4, 180)))
        yield f"{depth} comparisons", with_expression("<".join(["velocity"] * (depth // 4)))
        yield f"{depth} f-strings", with_expression("f'{" * (depth // 4))
        yield f"{depth} decorators", with_parameters("speed", "@trap\n" * (depth // 4))
        yield f"{depth} continuations", with_expression("\\\n" * (depth // 4) + "x")
    for broken in ('"""', "'''", "'", '"', "(", "\\", "f'{", "0x", "1__0", "0777", "1e", "@", "$", "?", "`", "!", "´"):
        yield f"broken off {broken}", with_expression("velocity * " + broken)
        yield f"broken top {broken}", good + broken + "x"
    yield "tabs and spaces", good.replace("    return", "\t return") + "\n        x\n\ty"
    yield "wrong indent", good.replace("    return", "  x = 1\n    return")


def corpus() -> dict[str, str]:
    """Name → text."""
    placed = {
        "attributes": with_expression,
        "builtins": lambda name: with_expression(f"{name}(speed)"),
        "names": lambda name: with_expression(f"{name} * velocity"),
        "expressions": with_expression,
        "mixing": with_expression,
        "numbers": with_expression,
        "statements": with_statement,
        "top": with_top,
        "parameters": with_parameters,
        "weights": with_weights,
    }
    found: dict[str, str] = {}
    for section in Path(__file__).with_suffix(".txt").read_text().strip().split("\n\n"):
        family, *lines = section.splitlines()
        family = family.strip("[]")
        for line in lines:
            trick = line.replace("$TOUCH", TOUCH).replace("$SENTINEL", SENTINEL)
            found[f"{family}: {line}"] = placed[family](trick.replace("\\n", "\n").replace("\\t", "\t"))
    for decorator in ("@trap", "@exp", f"@{TOUCH}", "@torch.no_grad()"):
        found[f"decorator {decorator}"] = with_parameters("speed", decorator)
    for annotation in (TOUCH, f'"{TOUCH}"', "exp(1)", "[1]"):
        found[f"returns {annotation}"] = with_parameters("speed", "", f" -> {annotation}")
    found |= {f"letter {c}": with_expression(f"speed {c} 1") for c in string.punctuation if c not in "+-*/%<>,.#"}
    found["type parameters"] = f"{_HEAD}{_WEIGHTS}def trap[T](speed):\n    return speed\n"
    found["type parameters with a bound"] = f"{_HEAD}{_WEIGHTS}def trap[T: {TOUCH}](speed):\n    return speed\n"
    return found | dict(_texts())
