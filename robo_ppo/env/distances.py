"""Distances between a moving point and shapes, in batched torch, the same on every backend.

"Swept" distances are the smallest ones on the straight way from the previous to the present position, so that a fast
vehicle cannot pass through a thin thing between two control steps. All shapes broadcast over leading axes; lengths in
m. The signed distance to a convex body is a convex function of the point, so that along a segment it has one minimum.
"""

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from robo_ppo.env.rotations import rotate_inverse


def swept_sphere(start: Tensor, end: Tensor, center: Tensor, radius: Tensor) -> Tensor:
    """Smallest signed distance from the segment start → end (..., 3) to a sphere; also to a circle, with (..., 2)."""
    return _to_segment((end - start).unbind(-1), (center - start).unbind(-1)) - radius


def swept_column(start: Tensor, end: Tensor, center: Tensor, radius: Tensor) -> Tensor:
    """As `swept_sphere`, for a vertical cylinder from floor to ceiling: center (..., 2), start and end (..., 3)."""
    return _to_segment((end - start)[..., :2].unbind(-1), [center[..., i] - start[..., i] for i in (0, 1)]) - radius


def swept_cylinder(start: Tensor, end: Tensor, center: Tensor, quaternion: Tensor, size: Tensor) -> Tensor:
    """Smallest signed distance from a segment to a finite cylinder along its own z axis.

    size (..., 2): radius and half height.
    """

    def signed(point: Tensor) -> Tensor:
        across = torch.stack((point[..., :2].norm(dim=-1), point[..., 2].abs()), -1) - size
        return _outside_plus_inside(across)

    return _minimum_on_segment(signed, *_to_own_frame(start, end, center, quaternion))


def swept_box(start: Tensor, end: Tensor, center: Tensor, quaternion: Tensor, size: Tensor) -> Tensor:
    """Smallest signed distance from a segment to a box; size (..., 3) holds half lengths."""
    return _minimum_on_segment(
        lambda point: _outside_plus_inside(point.abs() - size), *_to_own_frame(start, end, center, quaternion)
    )


def swept_capsule(start: Tensor, end: Tensor, center: Tensor, quaternion: Tensor, size: Tensor) -> Tensor:
    """Smallest signed distance from a segment to a capsule along its own z axis; size (..., 2): radius, half height."""
    half_height = size[..., 1]

    def signed(point: Tensor) -> Tensor:
        beyond = point[..., 2] - point[..., 2].clamp(-half_height, half_height)
        return torch.stack((point[..., 0], point[..., 1], beyond), -1).norm(dim=-1) - size[..., 0]

    return _minimum_on_segment(signed, *_to_own_frame(start, end, center, quaternion))


def inside_box(position: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Distance (...,) to the nearest wall of a room, negative outside; the room is convex, so it needs no sweep."""
    return torch.minimum(position - lower, upper - position).amin(-1)


def _to_segment(way: Sequence[Tensor], offset: Sequence[Tensor]) -> Tensor:
    """Distance (...,) from a point at an offset to the segment that goes a way from the origin.

    Both are given coordinate by coordinate: sums over a last axis of two or three take a CPU several times as long.
    """
    t = (_dot(offset, way) / _dot(way, way).clamp_min(1e-12)).clamp(0.0, 1.0)
    rest = [o - t * w for o, w in zip(offset, way, strict=True)]
    return torch.sqrt(_dot(rest, rest))


def _dot(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    return functools.reduce(torch.add, map(torch.mul, a, b))


def _to_own_frame(start: Tensor, end: Tensor, center: Tensor, quaternion: Tensor) -> tuple[Tensor, Tensor]:
    return rotate_inverse(quaternion, start - center), rotate_inverse(quaternion, end - center)


def _outside_plus_inside(excess: Tensor) -> Tensor:
    """Signed distance from how far a point lies beyond each pair of faces (..., k)."""
    return excess.clamp_min(0.0).norm(dim=-1) + excess.amax(-1).clamp_max(0.0)


def _minimum_on_segment(signed: Callable[[Tensor], Tensor], start: Tensor, end: Tensor) -> Tensor:
    """Minimum of a convex function on a segment by golden-section search: 24 cuts leave 1e-5 of the segment."""
    ratio = 0.6180339887498949
    low = torch.zeros(torch.broadcast_shapes(start.shape, end.shape)[:-1], dtype=start.dtype, device=start.device)
    high = torch.ones_like(low)

    def value(t: Tensor) -> Tensor:
        return signed(start + t.unsqueeze(-1) * (end - start))

    best = torch.minimum(value(low), value(high))
    for _ in range(24):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        at_left, at_right = value(left), value(right)
        left_is_lower = at_left < at_right
        best = torch.minimum(best, torch.minimum(at_left, at_right))
        high = torch.where(left_is_lower, right, high)
        low = torch.where(left_is_lower, low, left)
    return best
