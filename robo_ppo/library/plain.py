r"""Text of cards, bundles and models as it may go to a terminal: one line, without control characters.

    plain("fly\x1b[2J\n fast")                       # "fly [2J fast"

An escape sequence could repaint the terminal, and a mark that turns the direction of writing could hide a word.
The reward loop shows such characters as escapes (`shaping.llm.plain_text`), for those who look for a fault; a card is
better without them.
"""


def plain(text: str, most: int | None = None) -> str:
    """The text on one line, what is not printable taken out, and cut after `most` characters."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if most is None or len(line) <= most else line[: most - 1].rstrip() + "…"
