"""What text, names and numbers of a contract look like in C."""

import itertools
import re
from collections.abc import Iterable

import numpy as np

from robo_ppo_onboard.contract import Array

_RESERVED = set(
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while "
    # of C++, which may include the header
    "bool catch class delete explicit export false friend mutable namespace new operator private protected public "
    "template this throw true try typename using virtual wchar_t and or not xor".split()
)


def identifier(name: str, taken: Iterable[str] = ()) -> str:
    """A name that C takes: letters, digits and underscores, no keyword, and none that is taken already."""
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "policy"
    plain = f"p_{plain}" if plain[0].isdigit() else plain
    plain = f"{plain}_" if plain in _RESERVED else plain
    candidates = itertools.chain([plain], (f"{plain}_{number}" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate not in taken)


def braces(values: Array) -> str:
    """An initialiser with every bit of float32."""
    return f"{{{', '.join(f'{float(value).hex()}f' for value in np.ravel(values))}}}"


def number(value: float) -> str:
    """A float32 in decimals, with the point that C wants before an f."""
    text = f"{np.float32(value):.9g}" if np.float32(value) != np.float32(f"{value:g}") else f"{value:g}"
    return text if "." in text or "e" in text else f"{text}.0"


def comment(text: str) -> str:
    """Text that cannot end the comment it stands in."""
    plain = " ".join(text.split()).replace("²", "^2").replace("·", " ").replace("°", "deg")
    return plain.encode("ascii", "replace").decode().replace("*/", "* /").replace("/*", "/ *")
