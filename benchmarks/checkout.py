"""Makes a plain checkout importable: `robo_ppo.tasks` and the like lie at the top of it, and an installation maps them.

On a machine where nothing may be installed, `PYTHONPATH=. python -m benchmarks.gpu` is all that it takes. With an
installation, editable or not, nothing is changed.
"""

import importlib.util
from pathlib import Path

import robo_ppo

ROOT = Path(__file__).parents[1]


def prepare() -> None:
    """Let `robo_ppo` look for its parts at the top of the checkout too, if it does not find them."""
    if importlib.util.find_spec("robo_ppo.tasks") is None:
        robo_ppo.__path__.append(str(ROOT))
