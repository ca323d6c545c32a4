"""A push: an impulse on the body that carries a vehicle, in a direction of its heading."""

from typing import Literal, get_args

import mujoco
import numpy as np
import torch

from robo_ppo.sim.simulation import Simulation

Direction = Literal["forward", "backward", "left", "right", "up", "down"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


def push(sim: Simulation, direction: Direction, speed: float) -> None:
    """Push the vehicle of the first world so that its momentum grows as if all of it gained `speed` (m/s)."""
    model, data = sim.world(0)
    root = root_body(model)
    impulse = float(model.body_subtreemass[root]) * speed * _vector(direction, data.xmat[root].reshape(3, 3))
    change = velocity_change(model, data, impulse)
    first = sim.rows(torch.arange(sim.num_envs, device=sim.device) == 0)
    qvel = torch.from_numpy(data.qvel + change).to(sim.device)
    sim.write("qvel", qvel.expand(len(first), -1), first)


def root_body(model: mujoco.MjModel) -> int:
    """The body that carries the vehicle: the heaviest, with its parts, of those that move and hang on what stands."""
    moving = model.body_weldid != 0
    tops = [body for body in range(model.nbody) if moving[body] and not moving[model.body_parentid[body]]]
    return max(tops, key=lambda body: model.body_subtreemass[body])


def velocity_change(model: mujoco.MjModel, data: mujoco.MjData, impulse: np.ndarray) -> np.ndarray:
    """What an impulse p (3,) in N s at the root body's centre of mass adds to `qvel` (nv,): M⁻¹ Jᵀ p.

    M is the inertia matrix, J the Jacobian of that point.
    """
    jacobian = np.zeros((3, model.nv))
    mujoco.mj_jacBodyCom(model, data, jacobian, None, root_body(model))
    change = np.zeros((1, model.nv))
    mujoco.mj_solveM(model, data, change, (jacobian.T @ impulse)[None])
    return change[0]


def _vector(direction: Direction, rotation: np.ndarray) -> np.ndarray:
    """A direction of the heading frame as a unit vector of the world (3,), from the body's rotation (3, 3)."""
    ahead = np.array([rotation[0, 0], rotation[1, 0], 0.0])
    length = np.linalg.norm(ahead)
    ahead = ahead / length if length > 1e-6 else np.array([1.0, 0.0, 0.0])
    left, up = np.array([-ahead[1], ahead[0], 0.0]), np.array([0.0, 0.0, 1.0])
    vectors = {"forward": ahead, "backward": -ahead, "left": left, "right": -left, "up": up, "down": -up}
    return vectors[direction]
