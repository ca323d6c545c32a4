"""A robot's model made fit for film, and the things around it: floor, shapes of the scene, the path flown.

`build_stage` is called once per film; the `draw_` functions add decoration to each picture of a `Studio`. Nothing here
touches the physics: what a film shows beside the robot are pictures, not bodies.
"""

import itertools
from collections.abc import Sequence

import mujoco
import numpy as np

from robo_ppo.env.shapes import Shape
from robo_ppo.run import palette
from robo_ppo.run.rendering import Studio
from robo_ppo.run.trace import EpisodeTrace

_FLOOR = (0.85, 0.87, 0.89)
_GRID = (0.98, 0.98, 0.99)
_TRAIL_SPACING = 0.05  # m


def build_stage(spec: mujoco.MjSpec, traces: Sequence[EpisodeTrace], size: tuple[int, int]) -> mujoco.MjModel:
    """The robot's model with light, sky and, unless it brings its own, a floor with a grid of 1 m."""
    stage = spec.copy()
    stage.visual.quality.offsamples = 4
    stage.visual.quality.shadowsize = 0
    stage.visual.quality.numstacks = 10
    stage.visual.global_.offwidth = max(stage.visual.global_.offwidth, size[0])
    stage.visual.global_.offheight = max(stage.visual.global_.offheight, size[1])
    stage.visual.headlight.ambient[:] = 0.42
    stage.visual.headlight.diffuse[:] = 0.28
    stage.visual.headlight.specular[:] = 0.0
    # The clipping planes are multiples of the extent, which a 10 cm vehicle would make far too near.
    stage.stat.extent = 8.0
    stage.visual.map.znear = 0.005
    stage.add_texture(
        name="film_sky",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        width=128,
        height=768,
        rgb1=[0.62, 0.74, 0.87],
        rgb2=[0.93, 0.95, 0.97],
    )
    stage.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0, 0, 6],
        dir=[0.35, 0.25, -0.9],
        diffuse=[0.55, 0.55, 0.53],
        castshadow=False,
    )
    if not any(geom.type == mujoco.mjtGeom.mjGEOM_PLANE for geom in stage.geoms):
        _add_floor(stage, np.concatenate([trace.position for trace in traces]))
    return stage.compile()


def _add_floor(stage: mujoco.MjSpec, positions: np.ndarray) -> None:
    """Lay a floor at height 0 that reaches well beyond everything that happened."""
    reach = float(np.nanmax(np.abs(positions[:, :2]), initial=4.0)) + 26.0
    stage.add_texture(
        name="film_grid",
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        width=256,
        height=256,
        rgb1=_FLOOR,
        rgb2=_FLOOR,
        mark=mujoco.mjtMark.mjMARK_EDGE,
        markrgb=_GRID,
    )
    material = stage.add_material(name="film_grid", texuniform=True, texrepeat=[1, 1], specular=0.0)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "film_grid"
    stage.worldbody.add_geom(
        name="film_floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        # The third number is the mesh width of the drawn plane: one piece, since a fine mesh is slow.
        size=[np.ceil(reach), np.ceil(reach), 100.0],
        material="film_grid",
        contype=0,
        conaffinity=0,
    )


def draw_shapes(studio: Studio, shapes: Sequence[Shape], vehicle: np.ndarray) -> None:
    """Add a scene's shapes to the picture; obstacles between the camera and the vehicle (3,) become translucent."""
    sight = np.linspace(studio.camera_position, vehicle, 24)
    for shape in shapes:
        if shape.role == "bounds":
            _draw_edges(studio, shape)
        elif shape.role == "goal":
            studio.add_shape(shape.kind, shape.size, shape.position, palette.rgba(palette.GOAL, 0.3), shape.quaternion)
            x, y, z = shape.position
            # A thread to the floor and a ring on it tell how high and how far away the goal is.
            studio.add_line((x, y, 0.0), (x, y, z), palette.rgba(palette.GOAL))
            studio.add_shape("cylinder", (shape.size[0], 0.002), (x, y, 0.002), palette.rgba(palette.GOAL, 0.35))
        else:
            nearest = float(signed_distance(shape, sight).min())
            opacity = float(np.clip(0.25 + nearest / 0.25, 0.25, 1.0))
            colour = palette.rgba(palette.OBSTACLE, opacity)
            studio.add_shape(shape.kind, shape.size, shape.position, colour, shape.quaternion)


def draw_path(studio: Studio, path: np.ndarray) -> None:
    """Add the path flown so far (rows, 3) as a thin line, and a spot on the floor below the vehicle."""
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    # One knot per stretch of way, not per time: hovering adds no geoms.
    _, knots = np.unique((travelled / _TRAIL_SPACING).astype(int), return_index=True)
    points = np.concatenate([path[knots], path[-1:]])
    colour = palette.rgba(palette.PATH)
    for start, end in itertools.pairwise(points):
        studio.add_line(start, end, colour, 3.0)
    studio.add_shape("cylinder", (0.06, 0.001), (path[-1, 0], path[-1, 1], 0.003), (0.1, 0.15, 0.2, 0.35))


def _draw_edges(studio: Studio, box: Shape) -> None:
    """Draw the twelve edges of an upright box: its walls would hide what happens inside."""
    centre, half = np.array(box.position), np.array(box.size)
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    for first in range(8):
        for second in range(first + 1, 8):
            if np.abs(signs[first] - signs[second]).sum() == 2:
                ends = centre + half * signs[first], centre + half * signs[second]
                studio.add_line(*ends, palette.rgba(palette.MUTED))


def signed_distance(shape: Shape, points: np.ndarray) -> np.ndarray:
    """Distance from `points` (n, 3) to the shape's surface, (n,) in metres, negative inside, a bound off corners."""
    turn = np.empty(9)
    mujoco.mju_quat2Mat(turn, np.array(shape.quaternion))
    local = (points - np.array(shape.position)) @ turn.reshape(3, 3)
    if shape.kind == "sphere":
        return np.linalg.norm(local, axis=1) - shape.size[0]
    if shape.kind == "capsule":
        local[:, 2] -= np.clip(local[:, 2], -shape.size[1], shape.size[1])
        return np.linalg.norm(local, axis=1) - shape.size[0]
    if shape.kind == "cylinder":
        return np.maximum(np.linalg.norm(local[:, :2], axis=1) - shape.size[0], np.abs(local[:, 2]) - shape.size[1])
    return (np.abs(local) - np.array(shape.size)).max(axis=1)
