"""How Isaac Lab is started, on packages of its names; and, where it is installed, the names of what is used of it."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from robo_ppo.env.isaac_lab import LAUNCHER
from robo_ppo.env.isaac_lab_api import ActionManager, IsaacEnvironment, ObservationManager
from robo_ppo.env.isaac_lab_launch import IsaacLabLauncher, Wanted
from robo_ppo.env.isaac_lab_terms import JOINT_UNITS, QUANTITIES
from tests.env.isaac_lab_double import DoubleLauncher

TWO = """
import builtins
class AppLauncher:
    def __init__(self, launcher_args=None, **options):
        assert not getattr(builtins, "isaac_sim", None), "started twice"
        builtins.isaac_sim = options
        self.app = self
    def close(self):
        builtins.isaac_sim = None
"""
THREE = """
import builtins
from contextlib import contextmanager
@contextmanager
def launch_simulation(cfg, args):
    builtins.isaac_sim = {"for": cfg, **args}
    yield
    builtins.isaac_sim = None
"""
TASKS = """
import builtins
assert {condition}, "imported before Isaac Sim's app was there"
import gymnasium, tests.env.isaac_lab_double as double
"""
UTILS = """
import gymnasium
def parse_env_cfg(task_name, device, num_envs{overrides}):
    cfg = gymnasium.spec(task_name).kwargs["env_cfg_entry_point"]()
    cfg.sim.device, cfg.scene.num_envs = device, num_envs
    return cfg
"""


@pytest.mark.parametrize("version", [2, 3])
def test_isaac_lab_is_started_as_each_version_wants_it(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On packages of its names, whose app notes when it was started."""
    import builtins

    for name, text in {
        "isaaclab/__init__.py": "",
        "isaaclab/app.py": TWO if version == 2 else THREE,
        "isaaclab_tasks/__init__.py": TASKS.format(condition="builtins.isaac_sim" if version == 2 else "True"),
        "isaaclab_tasks/utils.py": UTILS.format(overrides="" if version == 2 else ", overrides=()"),
        "isaaclab.dist-info/METADATA": f"Metadata-Version: 2.1\nName: isaaclab\nVersion: {version}.0.0\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("isaaclab", "isaaclab_tasks")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(builtins, "isaac_sim", None, raising=False)
    launcher = IsaacLabLauncher()
    for num_envs in (2, 3):
        cfg = launcher.configure(Wanted("Cart-v0", num_envs, "cuda:1", launcher=LAUNCHER))
        assert (cfg.scene.num_envs, cfg.sim.device) == (num_envs, "cuda:1")
    started = builtins.isaac_sim  # type: ignore
    if version == 2:
        assert started == {"headless": True, "device": "cuda:1"}
    else:
        assert started == {"for": cfg, "device": "cuda:1", "visualizer": "none"}
    assert launcher.describe() == f"Isaac Lab {version}.0.0"
    launcher.close()
    assert builtins.isaac_sim is None  # type: ignore
    for name in [name for name in sys.modules if name.partition(".")[0] in ("isaaclab", "isaaclab_tasks")]:
        del sys.modules[name]


def test_the_double_starts_nothing() -> None:
    cfg = DoubleLauncher().configure(Wanted("Cart-v0", 3, "cpu"))
    assert (cfg.scene.num_envs, cfg.sim.device) == (3, "cpu")


def test_isaac_labs_own_classes_have_what_is_used() -> None:
    """Names alone; of Isaac Lab 3, where it is installed."""
    pytest.importorskip("isaaclab.envs", reason="Isaac Lab is not installed")
    envs: Any = importlib.import_module("isaaclab.envs")
    mdp: Any = importlib.import_module("isaaclab.envs.mdp")
    managers: Any = importlib.import_module("isaaclab.managers")

    def members(protocol: type) -> set[str]:
        return {name for name in vars(protocol) if not name.startswith("_")}

    for real in (envs.ManagerBasedRLEnv, envs.DirectRLEnv):
        assert members(IsaacEnvironment) <= set(dir(real))
    assert members(ObservationManager) <= set(dir(managers.ObservationManager))
    assert members(ActionManager) <= set(dir(managers.ActionManager))
    assert {*QUANTITIES, "last_action", "generated_commands"} - set(dir(mdp)) <= {"imu_projected_gravity"}
    assert set(JOINT_UNITS) <= set(dir(mdp))
    assert hasattr(envs.ManagerBasedRLEnvCfg(), "compute_final_obs")
