"""Make the launchers, the sweeper and the schemas of their settings known to Hydra.

None of the libraries that they drive is imported by it.
"""

import importlib
import sys
from types import ModuleType

from hydra.core.plugins import Plugins

from robo_ppo.run.sweep import settings
from robo_ppo.run.sweep.local import JoblibLauncher, SerialLauncher
from robo_ppo.run.sweep.optuna_sweeper import OptunaSweeper
from robo_ppo.run.sweep.ray_launcher import RayLauncher
from robo_ppo.run.sweep.submitit_launcher import SubmititLauncher

_PLUGINS = (SerialLauncher, JoblibLauncher, RayLauncher, SubmititLauncher, OptunaSweeper)


def register() -> None:
    """From now on `hydra/launcher=joblib` and the others can be chosen."""
    settings.register()
    for plugin in _PLUGINS:
        Plugins.instance().register(plugin)
    # Hydra looks each of them up by the name of its module, and takes none from outside of `hydra_plugins`. A folder of
    # that name would be one more in everybody's installation; a module in memory does as well.
    if settings.PLUGINS not in sys.modules:
        module = sys.modules[settings.PLUGINS] = ModuleType(settings.PLUGINS)
        vars(module).update({plugin.__name__: plugin for plugin in _PLUGINS})
        parent, _, name = settings.PLUGINS.rpartition(".")
        setattr(_package(parent), name, module)


def _package(name: str) -> ModuleType:
    """The package, also where no plugin is installed that brings it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = []
        return package
