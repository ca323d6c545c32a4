"""The state of a robot in the words of MuJoCo and of Isaac Gym.

    root, dof = frames.to_isaac(qpos, qvel, origins)
    qpos, qvel = frames.to_mujoco(root, dof, origins)

| | MuJoCo: `qpos`, `qvel` | Isaac Gym: root (worlds, 13), dof (worlds, dofs, 2) |
|---|---|---|
| position of the base | its frame's origin, in its world | the same plus the origin of the world: all share one frame |
| attitude | quaternion wxyz | quaternion xyzw |
| linear velocity | of the frame's origin, world axes | of the centre of mass, world axes (PhysX) |
| angular velocity | body axes | world axes |
| joint position | `qpos`, `qpos0` in the model's default pose | 0 in that pose |
"""

import mujoco
import numpy as np
import torch
from torch import Tensor

from robo_ppo.sim.isaac_gym.robot import Robot

_WXYZ_TO_XYZW = [1, 2, 3, 0]
_XYZW_TO_WXYZ = [3, 0, 1, 2]


class Frames:
    """Conversions for one robot; all tensors float64."""

    def __init__(self, robot: Robot) -> None:
        self._robot = robot
        self._rest = torch.from_numpy(robot.rest)
        self._centre = torch.tensor(robot.model.body_ipos[robot.root])
        self._data = mujoco.MjData(robot.model)

    def to_isaac(self, qpos: Tensor, qvel: Tensor, origins: Tensor) -> tuple[Tensor, Tensor]:
        """Root states (worlds, 13) and dof states (worlds, dofs, 2)."""
        robot = self._robot
        dof = torch.stack((qpos[:, robot.positions] - self._rest, qvel[:, robot.dofs]), 2)
        root = qpos.new_zeros(len(qpos), 13)
        root[:, 0:3], root[:, 6] = origins, 1.0
        if robot.floats:
            attitude = torch.nn.functional.normalize(qpos[:, 3:7], dim=1)
            turn = _rotation(attitude)
            spin = _rotate(turn, qvel[:, 3:6])
            root[:, 0:3] += qpos[:, 0:3]
            root[:, 3:7] = attitude[:, _WXYZ_TO_XYZW]
            root[:, 7:10] = qvel[:, 0:3] + torch.linalg.cross(spin, _rotate(turn, self._centre))
            root[:, 10:13] = spin
        return root, dof

    def to_mujoco(self, root: Tensor, dof: Tensor, origins: Tensor) -> tuple[Tensor, Tensor]:
        """`qpos` (worlds, nq) and `qvel` (worlds, nv)."""
        robot = self._robot
        qpos, qvel = root.new_zeros(len(root), robot.model.nq), root.new_zeros(len(root), robot.model.nv)
        qpos[:, robot.positions], qvel[:, robot.dofs] = dof[:, :, 0] + self._rest, dof[:, :, 1]
        if robot.floats:
            qpos[:, 0:3] = root[:, 0:3] - origins
            qpos[:, 3:7] = root[:, 3:7][:, _XYZW_TO_WXYZ]
            turn, spin = _rotation(qpos[:, 3:7]), root[:, 10:13]
            qvel[:, 0:3] = root[:, 7:10] - torch.linalg.cross(spin, _rotate(turn, self._centre))
            qvel[:, 3:6] = _rotate(turn.transpose(1, 2), spin)
        return qpos, qvel

    def links(self, qpos: Tensor, qvel: Tensor, origins: Tensor) -> Tensor:
        """States of all links (worlds, links, 13) by MuJoCo's kinematics, each as Isaac Gym's rigid bodies."""
        model, data, bodies = self._robot.model, self._data, self._robot.bodies
        states = np.zeros((len(qpos), len(bodies), 13))
        for state, position, velocity in zip(states, qpos.numpy(), qvel.numpy(), strict=True):
            data.qpos[:], data.qvel[:] = position, velocity
            mujoco.mj_kinematics(model, data)
            mujoco.mj_comPos(model, data)
            mujoco.mj_comVel(model, data)
            spin, centres = data.cvel[bodies, 0:3], data.xipos[bodies]
            state[:, 0:3], state[:, 3:7] = data.xpos[bodies], data.xquat[bodies][:, _WXYZ_TO_XYZW]
            # MuJoCo's cvel is that of the point of the body at its tree's centre of mass.
            state[:, 7:10] = data.cvel[bodies, 3:6] + np.cross(spin, centres - data.subtree_com[self._robot.root])
            state[:, 10:13] = spin
        links = torch.from_numpy(states)
        links[:, :, 0:3] += origins.unsqueeze(1)
        return links


def _rotation(attitude: Tensor) -> Tensor:
    """Matrices (n, 3, 3) from quaternions (n, 4), wxyz."""
    w, x, y, z = attitude.unbind(1)
    rows = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(rows, 1).reshape(-1, 3, 3)


def _rotate(turn: Tensor, vectors: Tensor) -> Tensor:
    """Vectors (n, 3) or (3,) turned by matrices (n, 3, 3)."""
    return torch.einsum("nij,nj->ni", turn, vectors.expand(len(turn), 3))
