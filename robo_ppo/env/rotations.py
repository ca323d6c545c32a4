"""Quaternions in torch: wxyz, unit length, rotating vectors from the body frame to the world frame.

Shapes are `(..., 4)` and `(..., 3)`. Formulas: J. Solà, "Quaternion kinematics for the error-state Kalman filter"
(arXiv:1711.02508), Hamilton convention.
"""

import torch
from torch import Tensor


def rotation_matrix(quaternion: Tensor) -> Tensor:
    """Matrix (..., 3, 3) that turns body vectors into world vectors (Solà eq. 115)."""
    w, x, y, z = quaternion.unbind(-1)
    rows = (
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    )  # fmt: skip
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def rotate(quaternion: Tensor, vector: Tensor) -> Tensor:
    """A body vector in the world frame: v + 2 w (u × v) + 2 u × (u × v)."""
    w, u = quaternion[..., :1], quaternion[..., 1:]
    t = 2.0 * torch.linalg.cross(u, vector)
    return vector + w * t + torch.linalg.cross(u, t)


def rotate_inverse(quaternion: Tensor, vector: Tensor) -> Tensor:
    """A world vector in the body frame."""
    w, u = quaternion[..., :1], quaternion[..., 1:]
    t = 2.0 * torch.linalg.cross(vector, u)
    return vector + w * t + torch.linalg.cross(t, u)


def multiply(a: Tensor, b: Tensor) -> Tensor:
    """Hamilton product a ⊗ b: the rotation b, then a (Solà eq. 12)."""
    aw, ax, ay, az = a.unbind(-1)
    bw, bx, by, bz = b.unbind(-1)
    return torch.stack(
        (
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ),
        -1,
    )


def perturb(quaternion: Tensor, rotation_vector: Tensor) -> Tensor:
    """Turn by a small rotation vector θ (rad, body frame): q ⊗ [1, θ/2], normalised (eq. 193).

    The angle is 2·atan(‖θ‖/2): exact to second order.
    """
    one = torch.ones_like(rotation_vector[..., :1])
    turned = multiply(quaternion, torch.cat((one, 0.5 * rotation_vector), -1))
    return turned / turned.norm(dim=-1, keepdim=True)


def heading(quaternion: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the yaw angle: direction of the body's x axis in the horizontal plane. Shapes (...,)."""
    w, x, y, z = quaternion.unbind(-1)
    forward_x = 1 - 2 * (y * y + z * z)
    forward_y = 2 * (x * y + w * z)
    # Straight up or down has no heading; any unit vector will do there.
    length = torch.sqrt(forward_x * forward_x + forward_y * forward_y).clamp_min(1e-6)
    return forward_x / length, forward_y / length
