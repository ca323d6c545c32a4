"""`reward=my_reward.py`: Hydra finds reward programs where it finds the choices of `conf/reward/`.

    python train.py task=uav_nav reward=rewards/careful.py reward.progress.weight=2

Hydra asks each of its sources for `reward/rewards/careful.py`. This one answers for whatever ends in `.py`: with the
program's weights and settings as the reward, and its text. So it takes the place of the task's own reward as any other
choice does, and what follows on the command line changes it. Nothing is executed (`robo_ppo.env.language`).
"""

from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf
from typing_extensions import override

from robo_ppo.env.language import read
from robo_ppo.run.file_source import FileSource


class ProgramSource(FileSource):
    """Reward programs."""

    group = "reward"
    suffix = ".py"

    @staticmethod
    @override
    def scheme() -> str:
        return "reward-program"

    @override
    def load_config(self, config_path: str) -> ConfigResult:
        program = read(self.file(config_path))
        return self.result(OmegaConf.create({"reward": program.weights, "program": program.text}), "_global_")
