"""The one exception for a person's mistake: wrong name, wrong type, unreadable file, a vehicle that is not ready.

Entry points print its message without a stack trace and exit with code 2. A message says what was wrong, where, and
what would be right. Anything else that is raised is a fault of the program and keeps its stack trace.
"""

from __future__ import annotations

import difflib
from typing import Iterable


class UserError(Exception):
    """A mistake that the person at the command line can mend; the message is all that they see."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint naming the closest of the `known` names, or all of them where none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(names)}" if names else "none is known"
