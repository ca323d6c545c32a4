"""What is seen in three dimensions: floor, vehicle, the shapes of the task, the path flown, and handles to drag."""

import math
from collections.abc import Callable, Mapping, Sequence

import mujoco
import numpy as np
import viser

from robo_ppo.env.shapes import Shape
from robo_ppo.run import palette
from robo_ppo.run.live.geometry import Vehicle
from robo_ppo.run.live.shapes import UNSHADED, DrawnShape
from robo_ppo.run.live.view import View

_FLOOR, _GRID = (206, 212, 219), (244, 246, 248)
_ROOT = "/world"
_TRAIL_SPACING = 0.04  # m
_FAR = 0.8  # m: closer to the goal its direction means nothing any more

Moved = Callable[[str, np.ndarray], None]


class Scene:
    """The scene of one robot; `show` brings it up to date."""

    def __init__(self, server: viser.ViserServer, model: mujoco.MjModel, handles: Sequence[str], moved: Moved) -> None:
        """Draw what stays; `moved` hears to where a person drags a handle."""
        self._api = server.scene
        root = self._api.add_frame(_ROOT, show_axes=False)
        self._add_light()
        self._add_floor()
        self._vehicle = Vehicle(self._api, f"{_ROOT}/vehicle", model)
        size = float(model.stat.extent)
        # Some times its own size keeps a small vehicle in view together with what it must avoid.
        distance = float(np.clip(12.0 * size, 1.5, 8.0))
        self.view = View(server, root, distance)
        self._spot = self._api.add_cylinder(f"{_ROOT}/spot", 0.3 * size, 0.002, (40, 50, 60), opacity=0.3, **UNSHADED)
        self._trail, self._tip = self._add_line("trail"), self._add_line("tip")
        self._label = self._api.add_label(f"{_ROOT}/label", "", anchor="bottom-center", visible=False)
        self._above = np.array([0.0, 0.0, 0.1 * distance])
        self._shapes: list[DrawnShape] = []
        self._ahead = np.array([1.0, 0.0])
        self._dragged: set[str] = set()
        self._handles = {label: self._add_handle(label, moved) for label in handles}

    def show(self, qpos: np.ndarray, path: np.ndarray, shapes: Sequence[Shape], seconds: float) -> None:
        """Draw the present: the vehicle with its joint positions (nq,), its path so far (rows, 3), what is around it.

        `seconds` have passed since the last time; the cameras settle by as much as they allow, infinite ones at once.
        """
        self._vehicle.place(qpos)
        position = self._vehicle.position()
        self.view.settle(position, self._heading(position, shapes, seconds), seconds)
        self._spot.position = (position[0], position[1], 0.004)
        self._label.position = position + self._above
        self._show_path(path)
        self._show_shapes(shapes)

    def show_handles(self, places: Mapping[str, np.ndarray]) -> None:
        """Put the handles to their places (3,), but for those that someone holds."""
        for label, place in places.items():
            if label not in self._dragged:
                self._handles[label].position = place

    def clear_sight(self) -> None:
        """Let what stands between a camera and the vehicle be seen through."""
        eyes, position = self.view.eyes(), self._vehicle.position()
        for shape in self._shapes:
            shape.clear_sight(eyes, position)

    def say(self, text: str | None) -> None:
        """Write a word above the vehicle, or take it away."""
        self._label.text, self._label.visible = text or "", text is not None

    def _heading(self, position: np.ndarray, shapes: Sequence[Shape], seconds: float) -> float:
        """Where the vehicle is to go (rad about z): to its goal, and without one where its body points."""
        goal = next((shape.position for shape in shapes if shape.role == "goal"), None)
        if goal is None:
            self._ahead = self._vehicle.forward()
        elif not self._dragged and (math.dist(goal[:2], position[:2]) > _FAR or seconds == math.inf):
            self._ahead = np.subtract(goal, position)[:2]
        return math.atan2(self._ahead[1], self._ahead[0])

    def _show_path(self, path: np.ndarray) -> None:
        """Draw the path with one knot per stretch of way, not per time: hovering adds none.

        The line to the last knot changes rarely; the tip, which changes with every picture, is short.
        """
        self._trail.visible = self._tip.visible = len(path) > 1
        if len(path) > 1:
            travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
            _, knots = np.unique((travelled / _TRAIL_SPACING).astype(int), return_index=True)
            points = path[[0, *knots]].astype(np.float32)
            self._trail.points = np.stack((points[:-1], points[1:]), axis=1)
            self._tip.points = np.array([(points[-1], path[-1])], np.float32)

    def _add_line(self, name: str) -> viser.LineSegmentsHandle:
        colour = palette.rgb(palette.PATH)
        return self._api.add_line_segments(
            f"{_ROOT}/{name}", np.zeros((1, 2, 3)), colour, thickness=2.5, thickness_units="screen"
        )

    def _show_shapes(self, shapes: Sequence[Shape]) -> None:
        """Move the shapes where they are the same, draw them anew where they are others."""
        same = len(shapes) == len(self._shapes) and all(a.fits(b) for a, b in zip(self._shapes, shapes, strict=True))
        if same:
            for drawn, shape in zip(self._shapes, shapes, strict=True):
                drawn.move(shape)
        else:
            for drawn in self._shapes:
                drawn.remove()
            self._shapes = [DrawnShape(self._api, f"{_ROOT}/shape{i}", shape) for i, shape in enumerate(shapes)]

    def _add_handle(self, label: str, moved: Moved) -> viser.TransformControlsHandle:
        """Arrows to drag something by."""
        handle = self._api.add_transform_controls(
            f"{_ROOT}/handles/{label}", scale=0.28, disable_rotations=True, depth_test=False, opacity=0.8
        )

        # In the server's own loop, which keeps the order of events.
        async def listen(event: viser.TransformControlsEvent) -> None:
            (self._dragged.discard if event.phase == "end" else self._dragged.add)(label)
            moved(label, np.array(event.target.position))

        handle.on_update(listen)
        return handle

    def _add_light(self) -> None:
        """Plain light from the sky and the sun: no shadows, no reflections, and colours as they are in the films."""
        self._api.configure_environment_map(None)
        self._api.configure_default_lights(enabled=False)
        self._api.world_axes.visible = False
        self._api.add_light_hemisphere("/sky", sky_color=(255, 255, 255), ground_color=(200, 205, 212), intensity=2.0)
        self._api.add_light_directional("/sun", color=(255, 252, 245), intensity=1.6, position=(-3.0, -4.0, 8.0))

    def _add_floor(self) -> None:
        self._api.add_grid(
            f"{_ROOT}/floor",
            infinite_grid=True,
            cell_size=1.0,
            section_size=1.0,
            cell_color=_GRID,
            section_color=_GRID,
            section_thickness=1.5,
            plane_color=_FLOOR,
            plane_opacity=1.0,
            fade_distance=40.0,
            shadow_opacity=0.0,
        )
