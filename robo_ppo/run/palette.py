"""Colours that films, plots and reports share, so that one thing looks alike wherever it is shown."""

OBSTACLE = "#9aa7b8"
GOAL = "#1f9d55"
START = "#1d3557"
PATH = "#2176c7"
VEHICLE = "#f2700c"
INK = "#1c2733"
MUTED = "#5c6b7a"

_SUCCESS = "#1f9d55"
_TIMEOUT = "#d08700"
_FAILURE = "#c8322b"


def outcome_colour(outcome: str) -> str:
    """The colour of an outcome: green for success, amber for running out of time, red for every failure.

    What another library's environment calls terminated may be either, so that is blue.
    """
    return {"success": _SUCCESS, "timeout": _TIMEOUT, "terminated": PATH}.get(outcome, _FAILURE)


def outcome_label(outcome: str) -> str:
    """An outcome's name as a person would write it: `hard_landing` becomes "Hard landing"."""
    return outcome.replace("_", " ").capitalize()


def rgb(colour: str) -> tuple[int, int, int]:
    """`#rrggbb` as three numbers from 0 to 255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def rgba(colour: str, alpha: float = 1.0) -> tuple[float, float, float, float]:
    """`#rrggbb` as four numbers from 0 to 1."""
    red, green, blue = rgb(colour)
    return red / 255, green / 255, blue / 255, alpha
