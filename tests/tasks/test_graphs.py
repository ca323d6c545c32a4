"""Every shipped task on an accelerator: a step asks the device nothing, and its recording does what the step does."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from torch import Tensor

from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment
from robo_ppo.env.vector import Observation
from robo_ppo.run.compose import compose
from robo_ppo.run.stepper import Stepper
from tests.graphs import RecordedOnCpu, WouldWait, forbid_waiting

ROOT = Path(__file__).parents[2]
TASKS = sorted(
    path.stem for path in (ROOT / "conf" / "task").glob("*.yaml") if "entry_point: robo_ppo.tasks" in path.read_text()
)
N = 6


def on_warp(task: str, *overrides: str) -> Environment:
    environment = build(compose(f"task={task}", "sim=mujoco_warp", "device=cpu", *overrides), "train", N)
    environment.level.fill_(0.5)
    return environment


def pilot(environment: Environment) -> torch.Tensor:
    size = environment.observation_sizes["policy"], environment.action_size
    return 0.3 * torch.randn(size, generator=torch.Generator().manual_seed(0))


def test_all_shipped_tasks_are_here() -> None:
    assert {"uav_nav", "uav_hover"} <= set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_a_step_asks_the_device_nothing(task: str) -> None:
    environment = on_warp(task, "randomization=strong")
    observation, weights = environment.reset(), pilot(environment)
    environment.episode.age[:3] = environment.max_episode_steps - 2  # some end by their time
    ends = 0
    for step in range(4):
        # What is made once, constants for one, is made before anything is recorded.
        with forbid_waiting() if step else nullcontext():
            transition = environment.step(torch.tanh(observation["policy"] @ weights))
        observation = transition.observation
        ends += int((transition.terminated | transition.truncated).sum())
    assert ends >= 3


def test_the_check_itself_finds_what_waits() -> None:
    values, mask = torch.arange(3.0), torch.tensor([True, False, True])
    for waits in (
        lambda: values.sum().item(),
        lambda: bool(mask.any()),
        lambda: values[mask],
        lambda: mask.nonzero(),
        lambda: values.new_tensor([1.0, 2.0]),
        lambda: torch.tensor([1.0]),
        lambda: values.numpy(),
        lambda: values.tolist(),
        lambda: torch.masked_select(values, mask),
    ):
        with pytest.raises(WouldWait), forbid_waiting():
            waits()
    with forbid_waiting():
        torch.where(mask, values, 0.0).cumsum(0).index_select(0, torch.ones(1, dtype=torch.int64))


@pytest.mark.parametrize("task", TASKS)
def test_a_recorded_step_is_the_step(task: str) -> None:
    """Bit for bit, over ends, resets, randomization, delays and a world that breaks."""
    flown: list[list[Tensor]] = []
    for recorded in (False, True):
        environment = on_warp(task, "randomization=strong")
        weights = pilot(environment)
        seen: list[Tensor] = []

        def act(observation: Observation, weights: Tensor = weights) -> Tensor:
            return torch.tanh(observation["policy"] @ weights)

        stepper = Stepper(environment, act)
        if recorded:
            stepper._graph = RecordedOnCpu(stepper._step_in_place)
        stepper.place(environment.reset())
        for step in range(45):
            if step == 20:
                first = environment.sim.rows(torch.arange(N) == 1)
                environment.sim.write("qvel", torch.full((N, 6), torch.nan), first)
            transition = stepper.step()
            seen += [group.clone() for group in stepper.observation.values()]
            seen += [transition.reward.clone(), transition.terminated.clone(), transition.valid.clone()]
            seen += [group.clone() for group in transition.final_observation.values()]
            seen += [values.clone().float() for _, values in sorted(transition.values.items())]
        totals = environment.take_totals()
        seen += [total.clone() for total in totals.tensors()]
        assert totals.broken == 1 and totals.episodes >= 2
        world = environment.take_broken_world()
        assert world is not None
        seen += list(world.state.values())
        flown.append(seen)
        if recorded:
            assert isinstance(stepper._graph, RecordedOnCpu) and stepper._graph.replays == 42
    for number, (eager, replayed) in enumerate(zip(*flown, strict=True)):
        assert torch.equal(eager.nan_to_num(), replayed.nan_to_num()), number
