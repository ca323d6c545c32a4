"""The one exception for a person's mistake: wrong name, wrong type, unreadable file.

Entry points print its message without a stack trace and exit with code 2. A message says what was wrong, where, and
what would be right. Anything else that is raised is a fault of the program and keeps its stack trace.
"""

import difflib
import traceback
from collections.abc import Iterable


class UserError(Exception):
    """A mistake that the person at the command line can mend; the message is all that they see."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint naming the closest of the `known` names, or all of them where none is close."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return f"known: {', '.join(names)}" if names else "none is known"


def why_not_imported(module: str, error: Exception, *, if_missing: str = "") -> str:
    """Why importing a module failed: it is not there (then with a hint), or a line of its own package raised, which."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}:{error.lineno})"
    reason = " ".join(str(error).split())
    lines = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__", "").partition(".")[0] == module.partition(".")[0]
    ]
    is_missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
    if is_missing or not lines:
        return reason + if_missing
    return f"{type(error).__name__}: {reason} ({lines[-1]})"
