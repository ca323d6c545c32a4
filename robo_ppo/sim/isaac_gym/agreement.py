"""Whether Isaac Gym's robot is the model's: one step of every link in motion, before anything is learned from it.

The importer reads the robot's file in its own way, and the meaning of its tensors is documented in part only. So at
every start one step is taken from a pose with all joints bent and everything in motion, and what the engine reports is
held against MuJoCo's kinematics: the links must be where base and joints put them, move as base and joints say, and the
base must have gone where its velocity led. A wrong axis, sign, order, frame or point of reference shows in one of the
three. What forces do to the robot is not checked here.
"""

import numpy as np
import torch
from torch import Tensor

from robo_ppo.errors import UserError
from robo_ppo.sim.isaac_gym.frames import Frames
from robo_ppo.sim.isaac_gym.robot import Robot

PLACE_TOLERANCE = 2e-3
"""Metres, and sines of half an angle."""
VELOCITY_TOLERANCE = 0.05
"""Metres or radians per second, of motions near 1."""
_HEIGHT = 20.0  # above whatever could be touched


def in_motion(robot: Robot) -> tuple[Tensor, Tensor]:
    """`qpos` and `qvel` of a robot whose joints are bent and whose base tumbles."""
    model = robot.model
    qpos, qvel = np.array(model.qpos0), np.zeros(model.nv)
    if robot.floats:
        qpos[2] += _HEIGHT
        qpos[3:7] = np.array((0.8, 0.36, -0.36, 0.32)) / np.linalg.norm((0.8, 0.36, -0.36, 0.32))
        qvel[:6] = 0.5, -0.3, 0.4, 3.0, -2.0, 1.5
    for number, (joint, position, dof) in enumerate(zip(robot.joints, robot.positions, robot.dofs, strict=True)):
        bent = qpos[position] + (0.3 if number % 2 else -0.2)
        low, high = model.jnt_range[joint] if model.jnt_limited[joint] else (-np.inf, np.inf)
        qpos[position] = np.clip(bent, low, high)
        qvel[dof] = 0.7 if number % 2 else -0.6
    return torch.from_numpy(qpos), torch.from_numpy(qvel)


def check_agreement(robot: Robot, frames: Frames, before: Tensor, arrays: dict[str, Tensor]) -> None:
    """Refuse a robot that is not the model's, from the first world's arrays after one step from `before` (qpos)."""
    root, dof, links, origin = (arrays[name][:1].double() for name in ("root", "dof", "links", "origin"))
    qpos, qvel = frames.to_mujoco(root, dof, origin)
    expected = frames.links(qpos, qvel, origin)
    same = (expected[..., 3:7] * links[..., 3:7]).sum(-1).abs().clamp(max=1.0)
    differences = (
        ("places", (expected - links)[0, :, 0:3].norm(dim=1), PLACE_TOLERANCE),
        ("attitudes", (1.0 - same**2).sqrt()[0], PLACE_TOLERANCE),
        ("velocities", (expected - links)[0, :, 7:10].norm(dim=1), VELOCITY_TOLERANCE),
        ("angular velocities", (expected - links)[0, :, 10:13].norm(dim=1), VELOCITY_TOLERANCE),
    )
    for what, difference, tolerance in differences:
        if not (difference <= tolerance).all():
            worst = int(difference.argmax())
            name = robot.model.body(robot.bodies[worst]).name or f"number {robot.bodies[worst]}"
            raise UserError(
                f"Isaac Gym's robot is not that of the model: the {what} of its links do not follow from its base and "
                f"joints (body '{name}' is {float(difference[worst]):.3g} off, {tolerance:g} is allowed)"
            )
    if robot.floats:
        led = (qpos[0, :3] - before[:3]) / float(robot.model.opt.timestep)
        if not (led - qvel[0, :3]).norm() <= VELOCITY_TOLERANCE:
            raise UserError(
                "Isaac Gym's base does not move as its velocity says: in one step it went at "
                f"{[round(v, 3) for v in led.tolist()]} m/s and reported {[round(v, 3) for v in qvel[0, :3].tolist()]}"
            )
