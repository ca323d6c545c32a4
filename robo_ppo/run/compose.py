"""A configuration as the command line composes it: for tests, notebooks and scripts of one's own.

    from robo_ppo.env.build import build
    from robo_ppo.run.compose import compose

    environment = build(compose("task=my_project", "num_envs=64"), "test", num_envs=64)

Raises what Hydra and OmegaConf raise where something does not fit.
"""

from typing import TypeVar

import hydra
from hydra.core.global_hydra import GlobalHydra

from robo_ppo.config import EvaluateConfig, LibraryConfig, PlayConfig, RefineConfig, RunConfig, register, typed
from robo_ppo.run import search_path
from robo_ppo.run.sweep import plugins

Schema = TypeVar("Schema", RunConfig, EvaluateConfig, PlayConfig, LibraryConfig, RefineConfig)


def compose(*overrides: str) -> RunConfig:
    """What `robo-ppo train <overrides>` runs with."""
    return _compose("train", RunConfig, overrides)


def compose_evaluation(*overrides: str) -> EvaluateConfig:
    """What `robo-ppo evaluate <overrides>` runs with."""
    return _compose("evaluate", EvaluateConfig, overrides)


def compose_play(*overrides: str) -> PlayConfig:
    """What `robo-ppo play <overrides>` runs with."""
    return _compose("play", PlayConfig, overrides)


def compose_refinement(*overrides: str) -> RefineConfig:
    """What `robo-ppo refine <overrides>` runs with."""
    return _compose("refine", RefineConfig, overrides)


def compose_library(*overrides: str) -> LibraryConfig:
    """Whom `robo-ppo library select <overrides>` asks."""
    return _compose("library", LibraryConfig, overrides)


def _compose(name: str, schema: type[Schema], overrides: tuple[str, ...]) -> Schema:
    register(name)
    plugins.register()
    search_path.register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("robo_ppo.conf", version_base=None):
        return typed(hydra.compose(name, list(overrides)), schema)
