r"""Text that a model, a server or a stranger wrote, made fit for a terminal, an error message or a file name.

    printable("\x1b[2Jgone")      # '\\x1b[2Jgone': nothing in it moves a cursor or hides a word any more

What is kept in files stays as it came; only what is shown goes through here.
"""

import re
import unicodedata

# Control characters, invisible formatting (direction overrides, zero-width), lone surrogates, unassigned, separators.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def printable(text: str, limit: int = 2000) -> str:
    """The text with every invisible character written as an escape, new lines kept, and at most `limit` characters."""
    cut = text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit} more characters)"
    return "".join(_visible(character) for character in cut)


def one_line(text: str, limit: int = 300) -> str:
    """The same without new lines: for a sentence that goes on after it."""
    return printable(" ".join(text[: 4 * limit].split()), limit)


def file_name(text: str) -> str:
    """Letters, digits, dots, dashes and underscores of a name; never empty, hidden, or a path."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text).strip("._")[:80] or "unnamed"


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _UNSEEN:
        return character
    return character.encode("unicode_escape").decode("ascii")
