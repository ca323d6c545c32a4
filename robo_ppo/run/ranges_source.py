"""`randomization=my_ranges.yaml`: Hydra finds ranges in files where it finds the choices of `conf/randomization/`.

    python train.py task=uav_nav randomization=runs/refine_uav_nav/…/best_randomization.yaml

Hydra asks each of its sources for the choice, this one last. It answers for whatever ends in `.yaml` and is a file:
below the present folder, or anywhere by its absolute path.
"""

from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from typing_extensions import override
from yaml import YAMLError

from robo_ppo.config import check_plain
from robo_ppo.errors import UserError
from robo_ppo.run.file_source import FileSource


class RangesSource(FileSource):
    """Files with the YAML of a randomization."""

    group = "randomization"
    suffix = ".yaml"

    @staticmethod
    @override
    def scheme() -> str:
        return "ranges-file"

    @override
    def load_config(self, config_path: str) -> ConfigResult:
        path = self.file(config_path)
        try:
            text = path.read_text(encoding="utf-8")
            check_plain(text)
            config = OmegaConf.create(text)
        except (OSError, ValueError, YAMLError) as error:
            raise UserError(f"{path} cannot be read: {error}") from error
        return self.result(config, "randomization")

    @override
    def is_config(self, config_path: str) -> bool:
        return super().is_config(config_path) and self.file(config_path).is_file()
