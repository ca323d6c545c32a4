"""Things in a scene that a vehicle can see, hit or fly to, as plain shapes.

Distances to them are computed in torch (`robo_ppo.env.distances`); films and plots draw them. A task says what its
scene holds through `Task.shapes`.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["sphere", "cylinder", "box", "capsule"]
Role = Literal["obstacle", "goal", "bounds"]


@dataclass(frozen=True)
class Shape:
    """One shape, in the world frame (m, z up).

    `size` is MuJoCo's: sphere (radius,), cylinder and capsule (radius, half height), box (half x, half y, half z).
    `quaternion` is wxyz.
    """

    kind: Kind
    position: tuple[float, float, float]
    size: tuple[float, ...]
    role: Role
    quaternion: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
