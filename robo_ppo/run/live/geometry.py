"""A MuJoCo model in a browser: every visible geom is drawn once, under the frame of its body, and then moved.

vehicle = Vehicle(server.scene, "/world/vehicle", model)
vehicle.place(qpos)
"""

import mujoco
import numpy as np
import viser

from robo_ppo.run.live.push import root_body
from robo_ppo.run.live.shapes import UNSHADED, Colour, add_capsule

_VISIBLE_GROUPS = 3  # groups 0 to 2, as in MuJoCo's own viewer


class Vehicle:
    """The bodies of a model."""

    def __init__(self, scene: viser.SceneApi, name: str, model: mujoco.MjModel) -> None:
        """Draw it under the node `name`; planes are left out, since there is a floor."""
        self._model, self._data = model, mujoco.MjData(model)
        self._root = root_body(model)
        self._frames: dict[int, viser.FrameHandle] = {}
        for geom in range(model.ngeom):
            body = int(model.geom_bodyid[geom])
            if model.geom_group[geom] < _VISIBLE_GROUPS:
                if body not in self._frames:
                    self._frames[body] = scene.add_frame(f"{name}/{body}", show_axes=False)
                _draw(scene, f"{name}/{body}/{geom}", model, geom)

    def place(self, qpos: np.ndarray) -> None:
        """Put every body where the joint positions (nq,) put it."""
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        for body, frame in self._frames.items():
            frame.position, frame.wxyz = self._data.xpos[body], self._data.xquat[body]

    def position(self) -> np.ndarray:
        """Where the body that carries the vehicle is, (3,) in m."""
        return self._data.xpos[self._root].copy()

    def forward(self) -> np.ndarray:
        """Where its front points, (2,) in the horizontal plane."""
        return self._data.xmat[self._root].reshape(3, 3)[:2, 0]


def _draw(scene: viser.SceneApi, name: str, model: mujoco.MjModel, geom: int) -> None:
    """One geom, in a frame of its own within that of its body."""
    colour, opacity = _paint(model, geom)
    if opacity == 0.0:
        return
    scene.add_frame(name, show_axes=False, position=model.geom_pos[geom], wxyz=model.geom_quat[geom])
    name, shape = f"{name}/shape", mujoco.mjtGeom
    x, y, z = map(float, model.geom_size[geom])
    match shape(int(model.geom_type[geom])):
        case shape.mjGEOM_SPHERE:
            scene.add_icosphere(name, x, colour, opacity=opacity, **UNSHADED)
        case shape.mjGEOM_ELLIPSOID:
            scene.add_icosphere(name, 1.0, colour, opacity=opacity, scale=(x, y, z), **UNSHADED)
        case shape.mjGEOM_BOX:
            scene.add_box(name, colour, (2 * x, 2 * y, 2 * z), opacity=opacity, **UNSHADED)
        case shape.mjGEOM_CYLINDER:
            scene.add_cylinder(name, x, 2 * y, colour, opacity=opacity, **UNSHADED)
        case shape.mjGEOM_CAPSULE:
            add_capsule(scene, name, x, y, colour, opacity)
        case shape.mjGEOM_MESH:
            vertices, faces = _mesh(model, int(model.geom_dataid[geom]))
            scene.add_mesh_simple(name, vertices, faces, color=colour, opacity=opacity, **UNSHADED)
        case shape.mjGEOM_HFIELD:
            vertices, faces = _terrain(model, int(model.geom_dataid[geom]))
            scene.add_mesh_simple(name, vertices, faces, color=colour, opacity=opacity, side="double", **UNSHADED)
        case _:
            pass


def _paint(model: mujoco.MjModel, geom: int) -> tuple[Colour, float | None]:
    """Colour and opacity (None: opaque) of a geom: its material's, or its own."""
    material = int(model.geom_matid[geom])
    rgba = model.geom_rgba[geom] if material < 0 else model.mat_rgba[material]
    red, green, blue = (round(255.0 * float(part)) for part in rgba[:3])
    return (red, green, blue), float(rgba[3]) if rgba[3] < 1.0 else None


def _mesh(model: mujoco.MjModel, mesh: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 3) and triangles (k, 3) of a mesh."""
    vertex, face = int(model.mesh_vertadr[mesh]), int(model.mesh_faceadr[mesh])
    vertices = model.mesh_vert[vertex : vertex + int(model.mesh_vertnum[mesh])]
    return vertices, model.mesh_face[face : face + int(model.mesh_facenum[mesh])]


def _terrain(model: mujoco.MjModel, field: int) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a height field: a grid of heights over its rectangle."""
    rows, columns, first = (int(a[field]) for a in (model.hfield_nrow, model.hfield_ncol, model.hfield_adr))
    half_x, half_y, height, _ = map(float, model.hfield_size[field])
    x, y = np.meshgrid(np.linspace(-half_x, half_x, columns), np.linspace(-half_y, half_y, rows))
    z = model.hfield_data[first : first + rows * columns].reshape(rows, columns) * height
    corner = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (part.ravel() for part in (corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]))
    faces = np.concatenate([np.stack((a, b, c), 1), np.stack((a, c, d), 1)])
    return np.stack((x, y, z), -1).reshape(-1, 3), faces
