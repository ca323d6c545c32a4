"""A run's configuration as the command line composes it: for every test that needs a real one.

config = compose("task=uav_hover", "randomization=none", "num_envs=64")
"""

from typing import TypeVar

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from robo_ppo.config import EvaluateConfig, RunConfig, register

Schema = TypeVar("Schema", RunConfig, EvaluateConfig)


def compose(*overrides: str) -> RunConfig:
    """What `python train.py <overrides>` runs with."""
    return _compose("train", RunConfig, overrides)


def compose_evaluation(*overrides: str) -> EvaluateConfig:
    """What `python evaluate.py <overrides>` runs with."""
    return _compose("evaluate", EvaluateConfig, overrides)


def _compose(name: str, schema: type[Schema], overrides: tuple[str, ...]) -> Schema:
    register()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("robo_ppo.conf", version_base=None):
        composed = OmegaConf.to_object(hydra.compose(name, list(overrides)))
    assert isinstance(composed, schema)
    return composed
