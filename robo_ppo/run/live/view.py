"""Where the cameras stand: behind the vehicle, beside it, or free.

A browser's camera belongs to its person, who turns and zooms it. To go with the vehicle, the whole world is moved the
other way instead: no camera has to be asked where it is, and every browser keeps its own angle.
"""

from typing import Literal, get_args

import numpy as np
import viser

Mode = Literal["chase", "follow", "free"]
MODES: tuple[Mode, ...] = get_args(Mode)

_HOME = np.array([-0.93, -0.16, 0.33])  # from the vehicle to the camera, for a distance of 1
_OPENING = np.radians(45.0)  # of the view, from bottom to top
_MOVING, _TURNING = 0.12, 0.6  # s in which a camera comes to the vehicle, and turns to where it heads


class View:
    """The frame under which everything hangs, and the cameras that look at it."""

    def __init__(self, server: viser.ViserServer, root: viser.FrameHandle, distance: float) -> None:
        """The cameras begin `distance` (m) behind the vehicle."""
        self._server, self._root, self._distance = server, root, distance
        self._centre, self._heading = np.zeros(3), 0.0
        self._mode: Mode = "chase"
        server.initial_camera.fov = _OPENING
        self._set_initial()

    def settle(self, position: np.ndarray, heading: float, seconds: float) -> None:
        """Come nearer to the vehicle (3,) and its heading (rad): as far as some seconds allow, infinite ones to it."""
        self._centre = self._centre + (1.0 - np.exp(-seconds / _MOVING)) * (position - self._centre)
        turn = (heading - self._heading + np.pi) % (2.0 * np.pi) - np.pi
        self._heading += (1.0 - float(np.exp(-seconds / _TURNING))) * turn
        self._place_world()

    @property
    def mode(self) -> Mode:
        """Chase turns with the vehicle's heading, follow only goes with it, free stays."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        clients = self._server.get_clients().values()
        seen = [(self._inward(c.camera.position), self._inward(c.camera.look_at)) for c in clients]
        self._mode = mode
        with self._server.atomic():
            self._place_world()
            for client, (position, look_at) in zip(clients, seen, strict=True):
                client.camera.position, client.camera.look_at = self._outward(position), self._outward(look_at)
        self._set_initial()

    def go_home(self) -> None:
        """Put every camera behind the vehicle again."""
        self._set_initial()
        for client in self._server.get_clients().values():
            client.camera.position = self._server.initial_camera.position
            client.camera.look_at = self._server.initial_camera.look_at

    def eyes(self) -> list[np.ndarray]:
        """Where the cameras are in the world of the task, each (3,)."""
        return [self._inward(client.camera.position) for client in self._server.get_clients().values()]

    def _set_initial(self) -> None:
        """Where a browser that opens the page begins."""
        target = self._centre if self._mode == "free" else np.zeros(3)
        self._server.initial_camera.position = target + self._distance * _HOME
        self._server.initial_camera.look_at = target

    def _place_world(self) -> None:
        half = -0.5 * self._angle
        self._root.wxyz = (np.cos(half), 0.0, 0.0, np.sin(half))
        self._root.position = self._outward(np.zeros(3))

    @property
    def _angle(self) -> float:
        return self._heading if self._mode == "chase" else 0.0

    def _turn(self) -> np.ndarray:
        """Rotation about z by the heading, (3, 3)."""
        c, s = np.cos(self._angle), np.sin(self._angle)
        return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

    def _outward(self, point: np.ndarray) -> np.ndarray:
        """From the world of the task to that of the browsers."""
        return point if self._mode == "free" else self._turn().T @ (point - self._centre)

    def _inward(self, point: np.ndarray) -> np.ndarray:
        """From the world of the browsers to that of the task."""
        return point if self._mode == "free" else self._turn() @ point + self._centre
