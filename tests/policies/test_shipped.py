"""The policies that come with robo_ppo: one for each shipped task, whole, and as good as they say."""

import re

import onnx
import pytest

from robo_ppo.config import parse_config
from robo_ppo.errors import UserError
from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose
from robo_ppo.run.evaluate import Options, fly
from robo_ppo.run.search_path import OURS, configs_of
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.verify import verify
from tests.export.traces import traces_in

TASKS = [
    path.removeprefix("task/uav_").removesuffix(".yaml") for path in configs_of(OURS) if path.startswith("task/uav_")
]


def test_every_shipped_task_has_one() -> None:
    assert sorted(folders.shipped_policies()) == sorted(f"uav_{task}" for task in TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_it_is_what_the_shown_command_makes(task: str) -> None:
    path = folders.find_bundle(f"uav_{task}")
    assert path.stat().st_size < 200_000
    assert verify(path).passed
    contract = read_bundle(path).contract
    assert (contract.task, contract.training.seed) == (f"uav_{task}", 0)
    assert re.fullmatch("[0-9a-f]{12}", contract.training.commit), "trained from a clean commit"
    trained = parse_config(contract.training.config, str(path))
    now = compose(f"task=uav_{task}")
    for part in ("task", "robot", "reward", "randomization", "policy", "ppo"):
        assert getattr(trained, part) == getattr(now, part), f"{part} has changed since: train it again"


@pytest.mark.parametrize("task", TASKS)
def test_it_tells_nothing_of_the_machine_it_was_made_on(task: str) -> None:
    assert not traces_in(onnx.load(folders.find_bundle(f"uav_{task}")))


@pytest.mark.parametrize("task", TASKS)
def test_it_is_as_good_as_its_contract_says(task: str) -> None:
    bundle = read_bundle(folders.find_bundle(f"uav_{task}"))
    config = parse_config(bundle.contract.training.config, task)
    flown = fly(config, bundle, Options(100, "test", False, 1.0))
    assert bundle.contract.evaluation is not None
    assert bundle.contract.evaluation["success"]["value"] > 0.96  # pyright: ignore[reportIndexIssue]
    assert flown.episodes.success > 0.94


def test_a_name_that_is_not_known_is_told() -> None:
    with pytest.raises(
        UserError, match=r"there is no file .*uav_naw, and no shipped policy 'uav_naw'; did you mean uav_nav"
    ):
        folders.find_bundle("uav_naw")
