"""From untrusted text to a syntax tree, without ever running it: bounds first, Python's own parser last.

    tree = syntax_tree(text, "my_reward.py")

A parser can be attacked too: by size, by nesting that overflows its stack, by letters that only look like others. So
the text is cut into tokens first, and each bound is checked on those. `ast.parse` then sees only short and shallow
text. Outside of comments and docstrings a program is plain ASCII.
"""

import ast
import io
import tokenize
import warnings
from typing import NoReturn

from robo_ppo.errors import UserError

MOST_BYTES = 20_000
MOST_LINES = 600
MOST_COLUMNS = 1_000
MOST_TOKENS = 1_000  # of one statement
MOST_BRACKETS = 16  # inside each other
MOST_DEPTH = 64  # of the syntax tree
MOST_TOKENS_IN_ALL = 6_000
_NO_FILE = "<reward program>"  # Python reads the file of this name to quote from it: there must be none
_MOST_INDENTS = 3
_LONGEST_WORD = 64  # a name or a number
_MARKUP = (tokenize.COMMENT, tokenize.STRING)


def refuse(where: str, line: int, reason: str) -> NoReturn:
    """Say what is wrong, and at which line."""
    raise UserError(f"{where}:{line}: {reason}")


def syntax_tree(text: str, where: str) -> ast.Module:
    """The syntax tree of a program's text; a `UserError` with the line for anything that is not fit to be parsed."""
    _check_characters(text, where)
    _check_tokens(text, where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a docstring is nobody's concern
            tree = ast.parse(text, _NO_FILE)
    except SyntaxError as error:
        refuse(where, error.lineno or 1, f"this is not Python: {error.msg}")
    except (ValueError, MemoryError, RecursionError):
        refuse(where, 1, "this cannot be parsed; write it in shorter statements")
    _check_depth(tree, where)
    return tree


def _check_characters(text: str, where: str) -> None:
    if len(text) > MOST_BYTES or len(text.encode("utf-8", "replace")) > MOST_BYTES:
        refuse(where, 1, f"the file is too long; a program has at most {MOST_BYTES // 1000} kB")
    lines = text.split("\n")
    if len(lines) > MOST_LINES:
        refuse(where, MOST_LINES, f"a program has at most {MOST_LINES} lines")
    for number, line in enumerate(lines, 1):
        if len(line) > MOST_COLUMNS:
            refuse(where, number, f"a line has at most {MOST_COLUMNS} characters")
        if not line.replace("\t", " ").isprintable():
            odd = next(character for character in line if not character.isprintable() and character != "\t")
            refuse(where, number, f"the character {odd!a} cannot stand in a program")
        if "${" in line:  # a run's configuration, where the text is kept, would fill it in
            refuse(where, number, "'${' cannot stand in a program, not even in a comment")


def _check_tokens(text: str, where: str) -> None:
    brackets: list[int] = []  # lines of those that are open
    here, tokens, indents, line = 0, 0, 0, 1
    try:
        for tokens, token in enumerate(tokenize.generate_tokens(io.StringIO(text).readline)):
            line = token.start[0]
            if token.type not in _MARKUP and not token.string.isascii():
                refuse(where, line, f"{token.string[:20]!a} is not plain ASCII, as all but comments must be")
            if token.type in (tokenize.NAME, tokenize.NUMBER) and len(token.string) > _LONGEST_WORD:
                refuse(where, line, f"names and numbers have at most {_LONGEST_WORD} characters")
            if token.type != tokenize.COMMENT and "\\" in token.string:  # a text must say what it seems to say
                refuse(where, line, "a backslash can stand in comments alone")
            if token.string == ";":
                refuse(where, line, "write one statement on each line, without ';'")
            here = 0 if token.type == tokenize.NEWLINE else here + 1
            indents += (token.type == tokenize.INDENT) - (token.type == tokenize.DEDENT)
            if token.string in ("(", "[", "{"):
                brackets.append(line)
            elif token.string in (")", "]", "}"):
                brackets = brackets[:-1]
            if len(brackets) > MOST_BRACKETS or here > MOST_TOKENS or indents > _MOST_INDENTS:
                refuse(where, line, "this is nested too deeply or too long; give parts of it names of their own")
            if tokens > MOST_TOKENS_IN_ALL:
                refuse(where, line, "the program is too long; fewer and simpler terms do")
    except SyntaxError as error:  # an IndentationError is one
        refuse(where, error.lineno or line, f"this is not Python: {error.msg}")
    except tokenize.TokenError:
        refuse(where, (brackets or [line])[-1], "this is not Python: a bracket or a quotation mark is never closed")


def _check_depth(tree: ast.Module, where: str) -> None:
    """A bound on the tree, so that whoever walks it may do so by recursion."""
    stack: list[tuple[ast.AST, int, int]] = [(tree, 0, 1)]
    while stack:
        node, depth, line = stack.pop()
        line = getattr(node, "lineno", line)
        if depth > MOST_DEPTH:
            refuse(where, line, "this is nested too deeply; give parts of it names of their own")
        stack += [(child, depth + 1, line) for child in ast.iter_child_nodes(node)]
