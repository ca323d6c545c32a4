"""The one exception for a person's mistake, `UserError`, and how an import that failed is told.

Both packages raise the same class: what runs on board defines it (`robo_ppo_onboard.errors`).
"""

import traceback

from robo_ppo_onboard.errors import UserError, did_you_mean

__all__ = ["UserError", "did_you_mean", "why_not_imported"]


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
