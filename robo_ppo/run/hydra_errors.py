"""What Hydra and OmegaConf complain of, in one line that names the mistake and what would be right."""

import re
from collections.abc import Sequence

import yaml
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from robo_ppo.errors import did_you_mean

COMPOSING = (HydraException, OmegaConfBaseException, ValueError)
"""What composing a configuration raises where something does not fit."""

_MERGED = re.compile(r"Error merging override (?P<override>.*)", re.DOTALL)


def explain(error: Exception) -> str:
    """The message for the person at the command line."""
    cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else error
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options is not None:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"there is no {group}={name}; {did_you_mean(name, error.options)}"
    if isinstance(cause, MissingMandatoryValue):
        return f"{cause.full_key} has no value; give it one with {cause.full_key}=…"
    if isinstance(cause, ConfigKeyError | AttributeError) and isinstance(cause, OmegaConfBaseException):
        return _unknown_key(cause)
    merged = _MERGED.match(str(error))
    if merged is not None and cause is not error:
        return f"{merged['override']}: {_how_to_add(merged['override']) or _first_line(cause)}"
    if isinstance(cause, OmegaConfBaseException) and cause.full_key:
        return f"{cause.full_key}: {_first_line(cause)}"
    if "does not support sweep type : INTERVAL" in str(error):
        return (
            "an interval(…) is for Optuna to draw from: add hydra/sweeper=optuna, or name the values, as in seed=0,1,2"
        )
    lines = [line.strip() for line in str(error).splitlines()]
    return "; ".join(line for line in lines if line and "hydra.cc" not in line)


def explain_half_group(error: AssertionError, arguments: Sequence[str]) -> str | None:
    """The message for a part of `randomization` where the group has no choice yet; None for any other failure."""
    if "Unexpected type for root" not in str(error):
        return None
    parts = " ".join(argument for argument in arguments if argument.startswith("randomization."))
    return f"{parts}: a part of what has no value; choose the whole first, as in randomization=nominal {parts}"


def explain_yaml(error: yaml.MarkedYAMLError) -> str:
    """The message for a file that is not YAML: which, where, and what the parser did not expect."""
    mark = error.problem_mark or error.context_mark
    where = f"{mark.name}, line {mark.line + 1}" if mark is not None else "the configuration"
    return f"{where} is not YAML: {error.problem or error.context}"


def _unknown_key(error: OmegaConfBaseException) -> str:
    """A key that is not there: where it was looked for, and which ones are."""
    parent = error.parent_node
    if not isinstance(parent, DictConfig):
        return _first_line(error)
    key, full_key = str(error.key), str(error.full_key)
    where = full_key.removesuffix(key).rstrip(".") or "the configuration"
    is_open = not isinstance(error.object_type, type) or issubclass(error.object_type, dict)
    add = f"; to add one, write +{full_key}=…" if is_open else ""
    return f"there is no '{key}' in {where}; {did_you_mean(key, map(str, parent))}{add}"


def _how_to_add(override: str) -> str | None:
    """Hydra appends a whole entry to a dictionary of dataclasses, but not a part of one that is not there yet."""
    added = re.match(r"\+(task\.(?:measurements|observation\.\w+))\.(\w+)", override)
    return f"to add an entry, write '+{added[1]}={{{added[2]}: {{…}}}}'" if added else None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
