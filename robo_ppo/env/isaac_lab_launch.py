"""Starting Isaac Lab: first the simulator, then an environment's configuration, then the one simulation of a process.

    simulation = Simulation.of_this_process(Wanted("Isaac-Cartpole", num_envs=1024, device="cuda:0"))
    simulation.environment.step(action)

Isaac Lab 3 starts what a configuration needs (`launch_simulation`: nothing at all for Newton's physics, Isaac Sim's app
for PhysX); Isaac Lab 2 must have its app (`AppLauncher`) before its environments can be imported. A `Launcher` hides
the difference. `task.settings.launcher` may name another one, for environments of the same interface that start
otherwise.
"""

import atexit
import importlib
import importlib.metadata
import platform
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, Self, cast

import gymnasium
import torch
from typing_extensions import override

from robo_ppo.env.classes import load_class
from robo_ppo.env.isaac_lab_api import IsaacEnvironment
from robo_ppo.errors import UserError, did_you_mean, why_not_imported

CONFIGURATION = "env_cfg_entry_point"
"""What Isaac Lab's environments have in Gymnasium's registry: where their configuration is."""


@dataclass(frozen=True)
class Wanted:
    """What to simulate."""

    env_id: str
    num_envs: int
    device: str
    seed: int = 0
    launcher: str = "robo_ppo.env.isaac_lab_launch:IsaacLabLauncher"
    cfg: Mapping[str, Any] = field(default_factory=dict[str, Any])  # changes, nested as the configuration is
    overrides: tuple[str, ...] = ()  # in Isaac Lab 3's own words: physics=newton_mjwarp

    def is_served_by(self, other: "Wanted") -> bool:
        """Whether the other is the same but for its number of environments, of which it has enough."""
        mine, its = ((w.env_id, w.device, w.seed, w.launcher, w.cfg, w.overrides) for w in (self, other))
        return mine == its and self.num_envs <= other.num_envs


class Launcher(ABC):
    """Starts what the environments of a process need."""

    @abstractmethod
    def configure(self, wanted: Wanted) -> Any:
        """The environment's configuration, for `gymnasium.make(env_id, cfg=…)`, with the simulator ready for it."""

    @abstractmethod
    def describe(self) -> str:
        """Which simulator this is, with its version."""

    def close(self) -> None:
        """End what was started."""
        return


class IsaacLabLauncher(Launcher):
    """Isaac Lab 2 and 3, without a window."""

    def __init__(self) -> None:
        try:
            self._app_module: Any = importlib.import_module("isaaclab.app")
        except ImportError as error:
            reason = why_not_imported("isaaclab", error, if_missing=f" for Python {platform.python_version()}")
            raise UserError(
                f"task=isaac_lab needs Isaac Lab: {reason}. Install it as docs/isaac_lab.md says (Isaac Lab 3: "
                "pip install isaaclab, with Python 3.12), and robo_ppo into the same environment"
            ) from error
        self._started = ExitStack()
        self._app: Any = None

    @override
    def configure(self, wanted: Wanted) -> Any:
        starts_by_configuration = hasattr(self._app_module, "launch_simulation")
        if not starts_by_configuration and self._app is None:
            self._app = self._app_module.AppLauncher(headless=True, device=wanted.device).app
            self._started.callback(self._app.close)
        tasks = _imported("isaaclab_tasks", "task=isaac_lab")
        check_registered(wanted.env_id)
        parse: Any = importlib.import_module(f"{tasks.__name__}.utils").parse_env_cfg
        name = wanted.env_id.rpartition(":")[2]
        overrides = {"overrides": wanted.overrides} if wanted.overrides else {}
        cfg = parse(name, device=wanted.device, num_envs=wanted.num_envs, **overrides)
        if starts_by_configuration:
            self._started.enter_context(
                self._app_module.launch_simulation(cfg, {"device": wanted.device, "visualizer": "none"})
            )
        return cfg

    @override
    def describe(self) -> str:
        return f"Isaac Lab {importlib.metadata.version('isaaclab')}"

    @override
    def close(self) -> None:
        self._started.close()


class Simulation:
    """The one simulation of this process, shared by whoever needs environments of it.

    Isaac Lab allows one at a time, so training and validation have the same: each resets all of it when its turn comes,
    and `holder` says whose turn it is. It is kept when nobody uses it, since to build it again takes minutes.
    """

    _living: ClassVar["Simulation | None"] = None
    _launchers: ClassVar[dict[str, Launcher]] = {}

    def __init__(self, wanted: Wanted, launcher: Launcher) -> None:
        self.wanted = wanted
        if wanted.device.startswith("cuda") and not torch.cuda.is_available():
            raise UserError(
                f"device={wanted.device}, but torch finds no CUDA device here; device=cpu is for physics that can run "
                "there (Newton)"
            )
        cfg = launcher.configure(wanted)
        cfg.seed = wanted.seed
        if hasattr(cfg, "compute_final_obs"):  # Isaac Lab 3: what was seen last before a reset
            cfg.compute_final_obs = True
        if wanted.cfg:
            _change(cfg, wanted.cfg)
        self.description = launcher.describe()
        made = gymnasium.make(wanted.env_id, cfg=cfg, disable_env_checker=True)
        self.environment = cast(IsaacEnvironment, made)  # with what its registration wraps around it
        self.unwrapped = cast(IsaacEnvironment, made.unwrapped)
        self.holder: object | None = None
        self.users: set[object] = set()

    @classmethod
    def of_this_process(cls, wanted: Wanted) -> Self:
        """The living simulation if it is what is wanted, or else a new one in its place, if nobody uses it."""
        living = Simulation._living
        if living is not None and not wanted.is_served_by(living.wanted):
            if living.users:
                raise UserError(
                    f"Isaac Lab has one simulation per process, and this one has {living.wanted.num_envs} environments "
                    f"of {living.wanted.env_id}; {wanted.num_envs} of {wanted.env_id} do not fit beside it "
                    "(validation.episodes must be at most num_envs)"
                )
            living._close()
        if Simulation._living is None:
            if not Simulation._launchers:
                atexit.register(Simulation._end)
            if wanted.launcher not in Simulation._launchers:
                launcher = load_class(wanted.launcher, Launcher, "task.settings.launcher")
                Simulation._launchers[wanted.launcher] = cast(Callable[[], Launcher], launcher)()
            Simulation._living = cls(wanted, Simulation._launchers[wanted.launcher])
        return cast(Self, Simulation._living)

    def _close(self) -> None:
        self.environment.close()
        Simulation._living = None

    @staticmethod
    def _end() -> None:
        """Close everything, when the process ends."""
        if Simulation._living is not None:
            Simulation._living._close()
        for launcher in Simulation._launchers.values():
            launcher.close()


def check_registered(env_id: str) -> None:
    """UserError unless the id is one of Isaac Lab's kind; "package.module:Name" imports the module first."""
    module, _, name = env_id.rpartition(":")
    if module:
        _imported(module, f"env_id={env_id}")
    known = [key for key, spec in gymnasium.registry.items() if CONFIGURATION in spec.kwargs]
    if name not in gymnasium.registry:
        raise UserError(f"env_id={env_id}: no such environment is registered; {did_you_mean(name, known)}")
    if name not in known:
        raise UserError(f"env_id={env_id} is not an environment of Isaac Lab's (it has no {CONFIGURATION})")


def _imported(module: str, key: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except Exception as error:  # whatever the module raises
        raise UserError(f"{key}: {why_not_imported(module, error)}") from error


def _change(cfg: Any, changes: Mapping[str, Any]) -> None:
    """Change fields of a configuration as Isaac Lab itself does; a `UserError` for one that it does not have."""
    try:
        cfg.from_dict(dict(changes))
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"task.settings.cfg: {error.args[0] if error.args else error}") from error
