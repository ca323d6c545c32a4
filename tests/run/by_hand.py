"""A run whose policy was written down instead of trained: a linear controller that does hover."""

import copy
import functools
import itertools
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from robo_ppo.config import RunConfig
from robo_ppo.env.build import build
from robo_ppo.learn.actor_critic import ActorCritic
from robo_ppo.run import checkpoint
from robo_ppo.run import folder as folders
from robo_ppo.run.compose import compose
from robo_ppo.run.export import export_run
from robo_ppo.run.train import make_model

# Bundles by configuration: an export takes seconds, and gives the same each time.
_EXPORTED: dict[str, bytes] = {}

SMALL = ("policy.hidden=[]", "policy.critic_hidden=[4]", "num_envs=8", "ranks=1", "threads=1", "total_steps=1000")


def hover_config(runs: Path, *overrides: str) -> RunConfig:
    """`uav_hover` with a policy that is one linear layer."""
    return replace(copy.deepcopy(_composed(*overrides)), runs=str(runs))


@functools.cache  # it takes a third of a second, and the same is asked for again and again
def _composed(*overrides: str) -> RunConfig:
    return compose("task=uav_hover", *SMALL, *overrides)


def hovering(config: RunConfig) -> ActorCritic:
    """Thrust from the height that is missing; tilt towards the goal, as fast as the tilt is wrong."""
    environment = build(config, "validation", 1, episodes=1)
    model = make_model(config, environment.observation_sizes, environment.action_size)
    sizes = [torch.Size(shape).numel() for shape in environment.onboard.sizes.values()]
    starts = [end - size for end, size in zip(itertools.accumulate(sizes), sizes, strict=True)]
    place = dict(zip(environment.onboard.sizes, starts, strict=True))
    layer = model.actor[0]
    assert isinstance(layer, nn.Linear)
    goal, velocity, gravity = (place[name] for name in ("goal_offset", "velocity_heading", "gravity_direction"))
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.tensor([-0.05, 0.0, 0.0, 0.0]))
        layer.weight[0, [goal + 2, velocity + 2]] = torch.tensor([0.6, -0.6])
        for axis, command, sign in ((0, 2, 1.0), (1, 1, -1.0)):
            columns = [goal + axis, velocity + axis, gravity + axis]
            layer.weight[command, columns] = sign * torch.tensor([0.25, -0.25, -0.8])
    return model


def make_run(folder: Path, config: RunConfig) -> Path:
    """A run's folder as training leaves it, with its exported policy."""
    folder.mkdir(parents=True)
    folders.save_config(config, folder)
    best = {"model": hovering(config).state_dict(), "steps": 1000, "validation": 1.0}
    checkpoint.write(folder / "checkpoints" / checkpoint.BEST, best)
    (folder / "metrics.jsonl").write_text('{"step": 1000.0, "seconds": 2.0, "train/success": 0.5}\n{"step": 20')
    text = folders.portable(config)
    if text in _EXPORTED:
        (folder / "policy.onnx").write_bytes(_EXPORTED[text])
    else:
        export_run(config, folder)
        _EXPORTED[text] = (folder / "policy.onnx").read_bytes()
    return folder
