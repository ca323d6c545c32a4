"""Where Hydra looks for configurations: in `robo_ppo.conf`, in installed packages that announce their own, in files.

A package does so with an entry point in its pyproject.toml, whose value is the package that holds the YAML files:

    [project.entry-points."robo_ppo.conf"]
    my_project = "my_project.conf"

Then `robo-ppo train task=my_task` finds my_project/conf/task/my_task.yaml from any folder. No two of them may offer the
same file, so their order does not matter.
"""

import importlib
from importlib import metadata, resources
from importlib.resources.abc import Traversable

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from typing_extensions import override

from robo_ppo.errors import UserError, why_not_imported
from robo_ppo.run.program_source import ProgramSource
from robo_ppo.run.ranges_source import RangesSource

GROUP = "robo_ppo.conf"
OURS = "robo_ppo.conf"
FILES = (ProgramSource, RangesSource)


class OtherPlaces(SearchPathPlugin):
    """Puts the announced packages behind our own, and files behind them."""

    @override
    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for package in announced():
            search_path.append(provider=package, path=f"pkg://{package}")
        for source in FILES:
            search_path.append(provider=source.scheme(), path=f"{source.scheme()}://")


def register() -> None:
    """Let Hydra look into packages and files from now on; a `UserError` where an announced package is broken."""
    offered_configs()
    for plugin in (OtherPlaces, *FILES):
        Plugins.instance().register(plugin)


def announced() -> list[str]:
    """The packages that hold configurations, by name."""
    return sorted({point.value for point in metadata.entry_points(group=GROUP)})


def offered_configs() -> dict[str, str]:
    """Every configuration file (task/uav_nav.yaml) with the package that has it; a `UserError` where two have it."""
    found: dict[str, str] = {}
    for package in (OURS, *announced()):
        for path in configs_of(package):
            if path in found:
                raise UserError(f"{found[path]} and {package} both have {path}; rename one of them")
            found[path] = package
    return found


def configs_of(package: str) -> list[str]:
    """Every configuration file of a package, relative to it; a `UserError` where Hydra could not read them."""
    return _yaml_files(_folder(package))


def _folder(package: str) -> Traversable:
    try:
        module = importlib.import_module(package)
    except Exception as error:
        raise UserError(
            f"{_announcement(package)}, which cannot be imported: {why_not_imported(package, error)}; "
            "mend it, or uninstall the project"
        ) from error
    if module.__file__ is None or not hasattr(module, "__path__"):  # Hydra would not look into it
        raise UserError(f"{_announcement(package)}, which must be a folder with an __init__.py")
    return resources.files(module)


def _announcement(package: str) -> str:
    """Who announces a package."""
    points = [point for point in metadata.entry_points(group=GROUP) if point.value == package]
    owner = points[0].dist.name if points and points[0].dist is not None else "robo-ppo"
    return f"the installed project '{owner}' says that its configurations are in {package}"


def _yaml_files(folder: Traversable, above: str = "") -> list[str]:
    """Paths of all YAML files below a folder, relative to it."""
    found: list[str] = []
    for entry in folder.iterdir():
        if entry.is_dir():
            found += _yaml_files(entry, f"{above}{entry.name}/")
        elif entry.name.endswith((".yaml", ".yml")):
            found.append(above + entry.name)
    return sorted(found)
