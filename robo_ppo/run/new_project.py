"""`robo-ppo new my_project`: writes a repository of a person's own, with a task, a robot, settings and a test.

What it writes lies in `robo_ppo/templates/project/`, as Jinja templates whose one variable is the project's name. All
names that other projects see (the package, the options of Hydra's groups) are the project's, so that several projects
can be installed side by side.
"""

import importlib.util
import keyword
import re
import sys
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

import jinja2
import yaml

from robo_ppo.errors import UserError
from robo_ppo.run.search_path import OURS, configs_of

USAGE = """\
usage: robo-ppo new <my_project>

Writes ./<my_project>: a Python package with a task, a robot and their settings, ready to be trained.
Then: docs/new_task.md leads through it."""

_RESERVED = {"conf", "robo_ppo", "runs", "test", "tests"}
_NEXT = """\
wrote {name}/; go on with:

  cd {name}
  pip install -e '.[dev]'       # robo-ppo finds the project by this
  pytest
  robo-ppo train task={name}"""


def main(arguments: list[str]) -> None:
    """Write the project that the arguments name into the present folder; a `UserError` where that cannot be."""
    if arguments in (["--help"], ["-h"]):
        print(USAGE)
        return
    if len(arguments) != 1 or arguments[0].startswith("-"):
        given = " ".join(arguments) or "nothing"
        raise UserError(f"robo-ppo new takes one name, as in robo-ppo new my_project, not {given}")
    (name,) = arguments
    _check_name(name)
    folder = Path.cwd() / name
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder} exists already and is not an empty folder; choose another name")
        for path, text in project_files(name):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from error
    print(_NEXT.format(name=name))


def project_files(name: str) -> Iterator[tuple[Path, str]]:
    """Every file of a project with this name: its path inside the project, and its text."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False)
    names = {"package": name, "name.yaml": f"{name}.yaml", "gitignore": ".gitignore"}
    for parts, template in _walk(resources.files("robo_ppo") / "templates" / "project"):
        path = Path(*(names.get(part, part) for part in parts))
        yield path, environment.from_string(template.read_text(encoding="utf-8")).render(name=name)


def _walk(folder: Traversable, *above: str) -> Iterator[tuple[tuple[str, ...], Traversable]]:
    """Every template below a folder, with the parts of its path without `.jinja`."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, *above, entry.name)
        elif entry.name.endswith(".jinja"):
            yield (*above, entry.name.removesuffix(".jinja")), entry


def _check_name(name: str) -> None:
    """Refuse what cannot be the name of a package, of an option of a Hydra group, or is taken."""
    if not re.fullmatch(r"[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?", name):
        proposal = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_0123456789")
        hint = f"; {proposal} can" if proposal else ""
        raise UserError(f"'{name}' cannot be the name of a Python package (letters, digits and _){hint}")
    # YAML and Hydra read some words as numbers or truths: task=on
    if yaml.safe_load(name) != name or name.lower() in ("nan", "inf") or keyword.iskeyword(name):
        raise UserError(f"'{name}' is a word of Python or YAML; choose another name")
    if name in _RESERVED or name in sys.stdlib_module_names:
        raise UserError(f"'{name}' is the name of something else in Python or here; choose another name")
    found = importlib.util.find_spec(name)
    if found is not None and found.origin is not None:
        raise UserError(f"there is a package '{name}' already, {found.origin}; choose another name")
    for path in configs_of(OURS):
        if Path(path).name == f"{name}.yaml":
            raise UserError(f"'{name}' is taken: robo_ppo has a {path}; choose another name")
