"""Pictures of a MuJoCo model without a window: the OpenGL library is chosen, the scene is drawn, pixels come back.

    with Studio(model, (640, 480)) as studio:
        studio.look(data, camera)
        studio.add_shape("sphere", (0.2,), (1.0, 0.0, 1.0), colour=(0.1, 0.7, 0.3, 0.4))
        pixels = studio.picture()          # (480, 640, 3), uint8

`mujoco.Renderer` binds its OpenGL library when `mujoco` is first imported, long before a run knows whether it will
film. A `Studio` binds it when it is built, so the order of imports does not matter.
"""

import ctypes.util
import functools
import importlib
import os
import platform
import subprocess
import sys
import warnings
from collections.abc import Sequence
from typing import Protocol, Self

import mujoco
import numpy as np

from robo_ppo.env.shapes import Kind
from robo_ppo.errors import UserError

_LIBRARIES = {"egl": "EGL", "osmesa": "OSMesa"}
_PROBE = "from mujoco.{0} import GLContext; context = GLContext(16, 16); context.make_current(); context.free()"
_HELP = (
    "rendering needs an OpenGL library and none works here: install libegl1 with libgl1-mesa-dri, or libosmesa6 "
    "(Debian, Ubuntu: apt-get install libegl1 libgl1-mesa-dri); MUJOCO_GL=egl|osmesa|glfw chooses one by hand"
)
_GEOMS = {
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
}
_UNTURNED = np.eye(3).ravel()

Colour = tuple[float, float, float, float]
Point = Sequence[float] | np.ndarray


class RenderingUnavailable(UserError):
    """No picture can be made on this machine; the message names the system package that helps."""


class _Context(Protocol):
    """What the OpenGL contexts of `mujoco.egl`, `.osmesa`, `.cgl` and `.glfw` have in common."""

    def __init__(self, max_width: int, max_height: int) -> None: ...
    def make_current(self) -> None: ...
    def free(self) -> None: ...


@functools.cache
def choose_gl() -> str:
    """Name the OpenGL library to draw with and set MUJOCO_GL to it, for this process and those it starts.

    A MUJOCO_GL that is set already stands. On Linux EGL comes first (it uses a graphics card where there is one, and is
    the faster without), then OSMesa, then a window system.

    Raises:
        RenderingUnavailable: there is none.
    """
    wanted = os.environ.get("MUJOCO_GL", "").lower().strip()
    if wanted in ("disable", "disabled", "off", "false", "0"):
        raise RenderingUnavailable(f"rendering is switched off by MUJOCO_GL={wanted}")
    if wanted:
        return {"cgl": "cgl", "egl": "egl", "osmesa": "osmesa"}.get(wanted, "glfw")
    if platform.system() != "Linux":
        return "cgl" if platform.system() == "Darwin" else "glfw"
    candidates = [name for name, library in _LIBRARIES.items() if ctypes.util.find_library(library)]
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        candidates.append("glfw")
    # A library may be installed and yet find no device. PyOpenGL cannot change its mind within one process, so with a
    # choice at hand each is tried in a process of its own.
    works = next((name for name in candidates if len(candidates) == 1 or _starts(name)), None)
    if works is None:
        raise RenderingUnavailable(_HELP)
    os.environ["MUJOCO_GL"] = works
    return works


def _starts(backend: str) -> bool:
    """Whether a fresh process can make a context of this kind."""
    command = [sys.executable, "-c", _PROBE.format(backend)]
    try:
        return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


class Studio:
    """An offscreen scene of one model; a context manager, since OpenGL wants its memory back.

    The model must allow pictures of this size (`visual/global/offwidth`, `offheight`).

    Raises:
        RenderingUnavailable: no OpenGL library works.
    """

    def __init__(self, model: mujoco.MjModel, size: tuple[int, int], max_geoms: int = 4000) -> None:
        """Draw `model` in pictures of `size` (width, height) with at most `max_geoms` shapes each."""
        self._model = model
        self._rectangle = mujoco.MjrRect(0, 0, *size)
        self._pixels = np.empty((size[1], size[0], 3), np.uint8)
        backend = choose_gl()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # GLFW warns before it fails: one message is enough
                context_class: type[_Context] = importlib.import_module(f"mujoco.{backend}").GLContext
                self._context = context_class(*size)
                self._context.make_current()
            self._mjr = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except Exception as error:  # each library has its own exceptions, down to AttributeError from PyOpenGL
            raise RenderingUnavailable(f"{_HELP} (tried {backend}: {error})") from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._mjr)
        self._scene = mujoco.MjvScene(model, max_geoms)
        self._option = mujoco.MjvOption()
        # Shadows and reflections draw the scene again, once each: too slow without a graphics card.
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION, mujoco.mjtRndFlag.mjRND_HAZE):
            self._scene.flags[flag] = False

    def __enter__(self) -> Self:
        """Nothing to prepare: the context was made with the studio."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Give OpenGL's memory back."""
        self._mjr.free()
        self._context.free()

    def look(self, data: mujoco.MjData, camera: mujoco.MjvCamera) -> None:
        """Begin a picture: the model as `data` has it, seen from `camera`. What was added before is gone."""
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._option, None, camera, everything, self._scene)

    @property
    def camera_position(self) -> np.ndarray:
        """Where the camera of the present picture stands, (3,) in metres."""
        return np.mean([camera.pos for camera in self._scene.camera], axis=0)

    def add_shape(
        self,
        kind: Kind,
        size: Sequence[float],
        position: Point,
        colour: Colour,
        quaternion: Point = (1.0, 0.0, 0.0, 0.0),
    ) -> None:
        """Add a shape to the picture; `size` and `quaternion` as in `robo_ppo.env.shapes.Shape`."""
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, np.asarray(quaternion, np.float64))
        padded = np.zeros(3)
        padded[: len(size)] = size
        geom = self._next_geom()
        if geom is not None:
            place, paint = np.asarray(position, np.float64), np.array(colour, np.float32)
            mujoco.mjv_initGeom(geom, _GEOMS[kind], padded, place, matrix, paint)

    def add_line(self, start: Point, end: Point, colour: Colour, pixels: float = 2.0) -> None:
        """Add a line from `start` to `end` (m) to the picture, this many pixels wide at any distance."""
        geom = self._next_geom()
        if geom is not None:
            line = mujoco.mjtGeom.mjGEOM_LINE
            mujoco.mjv_initGeom(geom, line, np.zeros(3), np.zeros(3), _UNTURNED, np.array(colour, np.float32))
            mujoco.mjv_connector(geom, line, pixels, np.asarray(start, np.float64), np.asarray(end, np.float64))

    def _next_geom(self) -> mujoco.MjvGeom | None:
        """A free geom of the scene; none when it is full: the picture lacks a detail, but the run has its film."""
        if self._scene.ngeom >= self._scene.maxgeom:
            return None
        self._scene.ngeom += 1
        return self._scene.geoms[self._scene.ngeom - 1]

    def picture(self) -> np.ndarray:
        """Draw, and return the pixels (height, width, 3) as uint8, top row first."""
        self._context.make_current()
        mujoco.mjr_render(self._rectangle, self._scene, self._mjr)
        mujoco.mjr_readPixels(self._pixels, None, self._rectangle, self._mjr)
        return np.flipud(self._pixels).copy()
