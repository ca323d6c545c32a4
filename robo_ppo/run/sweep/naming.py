"""Name of a trial's folder: what is swept and its values, as `seed-0+ppo.gamma-0.98`.

A name must do as a folder on any file system, and typed after `run=` on the command line, where Hydra takes neither =
nor a comma. Names that lose something on the way, or are too long, end in a few digits of what they stand for.
"""

import hashlib
import re
from collections.abc import Sequence

_LONGEST = 80
_UNFIT = re.compile(r"[^\w.+-]+", re.ASCII)


def trial_name(values: Sequence[tuple[str, str]]) -> str:
    """The folder's name for (key, value) of everything that is swept; `trial` where nothing is."""
    exact = "+".join(f"{key.lstrip('+')}-{value}" for key, value in values)
    name = _UNFIT.sub("_", exact)
    if name != exact or len(name) > _LONGEST:
        name = f"{name[:_LONGEST].strip('_')}+{hashlib.sha256(exact.encode()).hexdigest()[:6]}"
    return name or "trial"
