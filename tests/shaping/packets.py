"""Candidates for the tests of diagnosis and judge: runs whose policy was written down, and packets made by hand."""

import json
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from robo_ppo.config import RunConfig
from robo_ppo.learn.actor_critic import ActorCritic
from robo_ppo.run import checkpoint
from robo_ppo.run import folder as folders
from robo_ppo.shaping.packets.packet import VERSION, Behaviour, Curve, EnergyGain, Packet, Spread, Stalling, Term
from robo_ppo.shaping.record import Share
from tests.run.by_hand import hover_config, hovering

QUICK = ("randomization=none", "task.episode_seconds=2.6")
ABOVE = 0.3  # m: where the hovering hack stays


def config_of(*overrides: str) -> RunConfig:
    """`uav_hover` for a linear policy, without randomization."""
    return hover_config(Path("runs"), *QUICK, *overrides)


def hovering_above(config: RunConfig) -> ActorCritic:
    """The controller that hovers, but this far above its goal: within reach of success, for ever."""
    model = hovering(config)
    layer = model.actor[0]
    assert isinstance(layer, nn.Linear)
    with torch.no_grad():
        layer.bias[0] += 0.6 * ABOVE
    return model


def run_of(folder: Path, config: RunConfig, model: ActorCritic, rows: list[dict[str, float]]) -> Path:
    """A run's folder as a training leaves it."""
    folder.mkdir(parents=True)
    folders.save_config(config, folder)
    best = {"model": model.state_dict(), "steps": 600, "validation": 1.0}
    checkpoint.write(folder / "checkpoints" / checkpoint.BEST, best)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def curve(*values: float) -> Curve:
    """A curve through these points."""
    steps = [100.0 * (i + 1) for i in range(len(values))]
    return Curve(steps, list(values), max(values), sum(values) / len(values), min(values))


def share(value: float, episodes: int = 200) -> Share:
    return Share(value, max(0.0, value - 0.05), min(1.0, value + 0.05), episodes)


SOUND = Packet(
    version=VERSION,
    task="uav_hover",
    policy_steps=1e6,
    training_steps=1.5e6,
    success=share(0.8),
    outcomes={"success": 160, "timeout": 30, "ground": 10},
    return_correlation=0.8,
    metrics={"top_speed": Spread(1.2, 0.7, 1.9, "m/s")},
    terms=[
        Term("progress", 3.0, curve(-5, -2, 0, 1, 2, 2, 2, 2, 2, 2), 0.4, 0.01, 0.4, 2.4, 1.5),
        Term("success_bonus", 10.0, curve(0, 0, 0, 1, 2, 4, 6, 7, 8, 8), 0.5, 1.0, 1.0, 10.0, 0.0),
        Term("failure", 10.0, None, 0.1, 1.0, 0.5, 0.0, -2.5),
    ],
    behaviour=Behaviour(
        quantities={"speed (m/s)": Spread(0.5, 0.1, 1.4, "m/s")},
        action_change=0.01,
        saturated=0.02,
        episode_seconds=3.0,
        success_seconds=2.4,
        stalling=Stalling(1.0, 0.05, 3.0, 11.0, 0.2),
        energy=EnergyGain(0.005, 0.0004, 0.08, 8),
    ),
    curves={
        "success": curve(0, 0, 0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.8, 0.8),
        "validation": curve(0, 0.3, 0.6, 0.8, 0.8),
        "return": curve(-10, -5, 0, 2, 4, 6, 8, 9, 9, 9),
    },
    failures=[],
    files=[],
    notes=[],
)
"""A candidate that learned what it should, though not all of it."""


def behaving(packet: Packet, **changes: object) -> Packet:
    """The packet with another behaviour."""
    return replace(packet, behaviour=replace(packet.behaviour, **changes))  # pyright: ignore[reportArgumentType]


def with_curves(packet: Packet, **changes: Curve) -> Packet:
    """The packet with other learning curves, and no validation unless it is named."""
    kept = {name: values for name, values in packet.curves.items() if name != "validation"}
    return replace(packet, curves=kept | changes)
