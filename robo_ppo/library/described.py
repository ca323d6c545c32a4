"""What a bundle's task is about, in words: from the docstrings of the task's source, or else from the contract.

    described(read_bundle("policy.onnx").contract)   # "Fly to a goal in a room full of columns, seeing them only …"

A bundle names its task's class, and anyone may write a bundle. So the source is looked for and parsed, never imported.
"""

import ast
import importlib.util
import re
from collections.abc import Iterable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

import yaml

from robo_ppo.config import check_plain
from robo_ppo.library.plain import plain
from robo_ppo_onboard.contract import Contract

_OURS = "robo_ppo."


def described(contract: Contract) -> str:
    """A sentence or two on what the policy does."""
    module, _, name = _entry_point(contract.training.config).partition(":")
    said = _docstrings(module, name) if module and name else []
    if said:
        return " ".join(said)
    takes, gives = (", ".join(port.name for port in ports) for ports in (contract.inputs, contract.outputs))
    return plain(f"{contract.task} with {contract.robot}: takes {takes}; commands {gives}")


def _entry_point(config: str) -> str:
    """The class of a run's task as its configuration gives it; empty where that is not to be had.

    An environment of another library has an adapter's class there, which says nothing of the task.
    """
    try:
        check_plain(config)
        document = yaml.safe_load(config)
        found = "" if document.get("env_id") else document["task"]["entry_point"]
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


def _docstrings(module: str, name: str) -> list[str]:
    """First paragraphs of a module's docstring and of a class within it, those that there are."""
    try:
        spec = _found(module)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            return []
        tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    except (ImportError, OSError, SyntaxError, ValueError, RecursionError):
        return []
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    return [said for node in (tree, *classes) if (said := _paragraph(ast.get_docstring(node)))] if classes else []


def _found(module: str) -> ModuleSpec | None:
    """Where a module's source lies; of what is not ours, nothing is imported on the way, parents included."""
    if module.startswith(_OURS):
        return importlib.util.find_spec(module)
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    for part in rest:
        places: Iterable[str] | None = spec.submodule_search_locations if spec is not None else None
        if places is None:
            return None
        spec = PathFinder.find_spec(part, list(places))
    return spec


def _paragraph(docstring: str | None) -> str:
    """The first paragraph as a sentence, without the name of what it describes in front: "`uav_nav`: fly to …"."""
    text = plain(re.sub(r"^`[^`]*`: ", "", (docstring or "").partition("\n\n")[0]))
    return text[:1].upper() + text[1:]
