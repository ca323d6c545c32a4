"""The shapes of a task's scene in a browser: obstacles, the goal, the bounds; drawn once, then moved."""

from collections.abc import Sequence
from itertools import product
from typing import TypedDict

import numpy as np
import viser

from robo_ppo.env.shapes import Shape
from robo_ppo.run import palette
from robo_ppo.run.stage import signed_distance

Colour = tuple[int, int, int]


class Unshaded(TypedDict):
    """Properties of what neither throws nor takes a shadow: shadows cost a browser without a graphics card dearly."""

    cast_shadow: bool
    receive_shadow: bool


UNSHADED: Unshaded = {"cast_shadow": False, "receive_shadow": False}


class DrawnShape:
    """One shape under a node of its own."""

    def __init__(self, scene: viser.SceneApi, name: str, shape: Shape) -> None:
        """Draw it under the node `name`."""
        self._scene, self._name, self._shape = scene, name, shape
        self._frame = scene.add_frame(name, show_axes=False)
        self._body: viser.CylinderHandle | viser.BoxHandle | viser.IcosphereHandle | None = None
        self._thread: viser.LineSegmentsHandle | None = None
        self._ring: viser.CylinderHandle | None = None
        if shape.role == "bounds":
            self._draw_edges()
        elif shape.role == "goal":
            self._draw_solid(palette.rgb(palette.GOAL), 0.5)
            self._draw_plumb_line()
        else:
            self._draw_solid(palette.rgb(palette.OBSTACLE), None)
        self.move(shape)

    def fits(self, shape: Shape) -> bool:
        """Whether another shape is the same but for its place."""
        own = self._shape
        return (own.kind, own.size, own.role) == (shape.kind, shape.size, shape.role)

    def move(self, shape: Shape) -> None:
        """Put it where a shape that fits is."""
        self._shape = shape
        self._frame.position, self._frame.wxyz = shape.position, shape.quaternion
        height = shape.position[2]
        if self._thread is not None and self._ring is not None:
            self._thread.points = np.array([[(0.0, 0.0, -height), (0.0, 0.0, 0.0)]], np.float32)
            self._ring.position = (0.0, 0.0, 0.003 - height)

    def clear_sight(self, eyes: Sequence[np.ndarray], vehicle: np.ndarray) -> None:
        """Let an obstacle between one of the eyes and the vehicle, each (3,), be seen through."""
        if self._body is not None and self._shape.role == "obstacle":
            sights = [np.linspace(eye, vehicle, 24) for eye in eyes]
            nearest = min((float(signed_distance(self._shape, sight).min()) for sight in sights), default=np.inf)
            self._body.opacity = 0.3 if nearest < 0.05 else None

    def remove(self) -> None:
        """Take it away, with all that belongs to it."""
        self._frame.remove()

    def _draw_solid(self, colour: Colour, opacity: float | None) -> None:
        scene, name, size = self._scene, f"{self._name}/body", self._shape.size
        match self._shape.kind:
            case "sphere":
                self._body = scene.add_icosphere(name, size[0], colour, opacity=opacity, **UNSHADED)
            case "box":
                whole = (2.0 * size[0], 2.0 * size[1], 2.0 * size[2])
                self._body = scene.add_box(name, colour, whole, opacity=opacity, **UNSHADED)
            case "cylinder":
                self._body = scene.add_cylinder(name, size[0], 2.0 * size[1], colour, opacity=opacity, **UNSHADED)
            case "capsule":
                add_capsule(scene, name, size[0], size[1], colour, opacity)

    def _draw_plumb_line(self) -> None:
        """A thread to the floor and a ring on it: they tell how high and how far away something is."""
        colour = palette.rgb(palette.GOAL)
        self._thread = self._scene.add_line_segments(
            f"{self._name}/thread", np.zeros((1, 2, 3)), colour, thickness=1.5, thickness_units="screen"
        )
        radius = self._shape.size[0]
        self._ring = self._scene.add_cylinder(f"{self._name}/ring", radius, 0.002, colour, opacity=0.35, **UNSHADED)

    def _draw_edges(self) -> None:
        """The twelve edges of a box: its walls would hide what happens inside."""
        signs = np.array(list(product((-1, 1), repeat=3)))
        pairs = [(a, b) for a in range(8) for b in range(a + 1, 8) if np.abs(signs[a] - signs[b]).sum() == 2]
        corners = signs * np.array(self._shape.size)
        lines = np.array([(corners[a], corners[b]) for a, b in pairs])
        colour = palette.rgb(palette.MUTED)
        self._scene.add_line_segments(f"{self._name}/edges", lines, colour, thickness=1.0, thickness_units="screen")


def add_capsule(
    scene: viser.SceneApi, name: str, radius: float, half: float, colour: Colour, opacity: float | None
) -> None:
    """A capsule along z at the origin of its parent node; `half` is the cylinder's half height."""
    scene.add_cylinder(name, radius, 2.0 * half, colour, opacity=opacity, **UNSHADED)
    for end, height in (("top", half), ("bottom", -half)):
        place = (0.0, 0.0, height)
        scene.add_icosphere(f"{name}/{end}", radius, colour, opacity=opacity, position=place, **UNSHADED)
