"""A task of the house with `sim=isaac_gym`, over the double: the same episodes as on the CPU back end."""

import pytest
import torch

from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose

from .isaac_gym_double.warm import DOUBLE, warm_python

NUM_ENVS = 6


def hover(*overrides: str) -> Environment:
    config = compose("task=uav_hover", "randomization=strong", "task.episode_seconds=0.3", *overrides)
    return build(config, "test", NUM_ENVS, episodes=24)


@pytest.mark.parametrize("action", ["body_rates", "motors"])
def test_episodes_are_those_of_the_cpu(action: str) -> None:
    """Rate servos and motors with a lag, drag and wind, masses and gains of each episode, resets in between."""
    over_double = (
        "sim=isaac_gym",
        f"sim.isaac_gym.python={warm_python()}",
        f"+sim.isaac_gym.environment.PYTHONPATH={DOUBLE}",
        "sim.isaac_gym.device=cpu",
    )
    ours, theirs = (hover(f"robot.action={action}", *more) for more in ((), over_double))
    seen = [environment.reset() for environment in (ours, theirs)]
    torch.testing.assert_close(seen[1], seen[0], rtol=1e-4, atol=1e-4)
    random = torch.Generator().manual_seed(3)
    ends = 0
    for _ in range(40):
        actions = torch.rand(NUM_ENVS, ours.action_size, generator=random) * 1.6 - 0.8
        one, other = ours.step(actions), theirs.step(actions)
        torch.testing.assert_close(other.reward, one.reward, rtol=2e-3, atol=2e-3)
        torch.testing.assert_close(other.observation, one.observation, rtol=2e-3, atol=2e-3)
        assert torch.equal(other.terminated, one.terminated) and torch.equal(other.truncated, one.truncated)
        ends += int((one.terminated | one.truncated).sum())
    assert ends > NUM_ENVS


def test_its_interpreter_must_be_named() -> None:
    with pytest.raises(UserError, match="no such program"):
        hover("sim=isaac_gym")
