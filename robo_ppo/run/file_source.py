"""A choice of a group may be a file: `reward=my_reward.py`, `randomization=my_ranges.yaml`.

Hydra asks each of its sources for a choice, these last (`robo_ppo.run.search_path`). Each answers for the files of one
group, below the present folder or anywhere by their absolute paths.
"""

from pathlib import Path
from typing import ClassVar

from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource
from omegaconf import Container
from typing_extensions import override


class FileSource(ConfigSource):
    """One kind of file; a subclass has a scheme and says what `load_config` makes of a file."""

    group: ClassVar[str]  # of the choices that files stand beside
    suffix: ClassVar[str]

    @override
    def is_group(self, config_path: str) -> bool:
        return config_path.rstrip("/") == self.group

    @override
    def is_config(self, config_path: str) -> bool:
        return config_path.startswith(f"{self.group}/") and config_path.endswith(self.suffix)

    @override
    def available(self) -> bool:
        return True

    @override
    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        return []

    def file(self, config_path: str) -> Path:
        """The file that a choice names."""
        return Path(config_path.removeprefix(f"{self.group}/"))

    def result(self, config: Container, package: str) -> ConfigResult:
        """A file's configuration, to be merged into a package."""
        return ConfigResult(self.provider, f"{self.scheme()}://", config, {"package": package})
