"""What the page draws and says, without a browser: geometry, cameras, and the numbers beside the picture."""

import math
from collections.abc import Generator

import mujoco
import numpy as np
import pytest
import viser
from viser.transforms import SE3, SO3

from robo_ppo.env.shapes import Shape
from robo_ppo.run import palette
from robo_ppo.run.live.clock import RealTime
from robo_ppo.run.live.pilots import ZeroPilot
from robo_ppo.run.live.player import Player
from robo_ppo.run.live.readout import readout
from robo_ppo.run.live.scene import Scene
from robo_ppo.run.live.server import serve
from robo_ppo.run.live.session import Session
from tests.run.live.steered import steered

XML = """
<mujoco>
  <asset>
    <mesh name="wedge" vertex="0 0 0  1 0 0  0 1 0  0 0 1"/>
    <hfield name="hills" nrow="3" ncol="4" size="2 1 .5 .1" elevation="0 0 0 0  0 1 .5 0  0 0 0 0"/>
    <material name="paint" rgba="1 .5 0 .5"/>
  </asset>
  <worldbody>
    <geom type="plane" size="5 5 .1"/>
    <geom type="hfield" hfield="hills"/>
    <body name="trunk" pos="0 0 1"><freejoint/>
      <geom type="box" size=".3 .2 .1" material="paint"/><geom type="sphere" size=".1"/>
      <geom type="ellipsoid" size=".1 .2 .3"/><geom type="capsule" size=".05 .2"/><geom type="cylinder" size=".05 .2"/>
      <geom type="mesh" mesh="wedge"/><geom type="sphere" size=".1" group="3"/>
      <body name="arm" pos=".5 0 0"><joint axis="0 1 0"/><geom type="box" size=".2 .02 .02" pos=".2 0 0"/></body>
    </body>
  </worldbody>
</mujoco>
"""
GOAL = Shape("sphere", (3.0, 4.0, 1.0), (0.2,), "goal")


@pytest.fixture(scope="module")
def server() -> Generator[viser.ViserServer]:
    with serve("127.0.0.1", 0, show=False, title="") as server:
        yield server


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(XML)


@pytest.fixture
def scene(server: viser.ViserServer, model: mujoco.MjModel) -> Scene:
    server.scene.reset()
    return Scene(server, model, [], lambda _label, _place: None)


def place(server: viser.ViserServer, name: str) -> SE3:
    """Where a node is for a browser: all the way from the root."""
    pose = SE3.identity()
    parts = name.split("/")
    for count in range(2, len(parts) + 1):
        node = server.scene.get_handle_by_name("/".join(parts[:count]))
        assert node is not None
        pose = pose @ SE3.from_rotation_and_translation(SO3(node.wxyz), node.position)
    return pose


def pose_of(model: mujoco.MjModel) -> np.ndarray:
    """Somewhere, turned, with the arm bent."""
    data = mujoco.MjData(model)
    data.qpos[:] = [1.0, -2.0, 1.5, *SO3.exp(np.array([0.3, -0.2, 0.8])).wxyz, 0.4]
    return data.qpos.copy()


def test_every_geom_is_drawn_where_mujoco_has_it(
    server: viser.ViserServer, model: mujoco.MjModel, scene: Scene
) -> None:
    scene.view.mode = "free"
    qpos = pose_of(model)
    scene.show(qpos, qpos[None, :3], [], math.inf)
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_forward(model, data)
    for geom in range(model.ngeom):
        name = f"/world/vehicle/{model.geom_bodyid[geom]}/{geom}"
        is_plane = model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_PLANE
        if is_plane or model.geom_group[geom] == 3:
            assert server.scene.get_handle_by_name(f"{name}/shape") is None
            continue
        drawn = place(server, f"{name}/shape")
        np.testing.assert_allclose(drawn.translation(), data.geom_xpos[geom], atol=1e-6)
        np.testing.assert_allclose(drawn.rotation().as_matrix(), data.geom_xmat[geom].reshape(3, 3), atol=1e-6)


def test_shapes_have_the_sizes_and_colours_of_the_model(
    server: viser.ViserServer, model: mujoco.MjModel, scene: Scene
) -> None:
    assert scene is not None
    trunk = int(model.body("trunk").id)
    box = server.scene.get_handle_by_name(f"/world/vehicle/{trunk}/2/shape")
    assert isinstance(box, viser.BoxHandle)
    assert (box.dimensions, box.color, box.opacity) == ((0.6, 0.4, 0.2), (255, 128, 0), 0.5)
    hills = server.scene.get_handle_by_name("/world/vehicle/0/1/shape")
    assert isinstance(hills, viser.MeshHandle)
    assert hills.vertices.shape == (12, 3) and hills.faces.shape == (12, 3)
    # MuJoCo's own ray meets the terrain where the mesh has its highest corner.
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    x, y, z = map(float, hills.vertices[hills.vertices[:, 2].argmax()])
    down = np.array([0.0, 0.0, -1.0])
    distance = mujoco.mj_rayHfield(model, data, 1, np.array([x, y, 5.0]), down, None)
    assert 5.0 - distance == pytest.approx(z, abs=1e-3)


@pytest.mark.parametrize(("mode", "ahead"), [("chase", (1.0, 0.0)), ("follow", (0.6, 0.8))])
def test_the_camera_goes_with_the_vehicle(
    server: viser.ViserServer, model: mujoco.MjModel, scene: Scene, mode: str, ahead: tuple[float, float]
) -> None:
    """For the browsers the vehicle is at the origin; who chases it has its goal ahead, on the x axis."""
    scene.view.mode = mode  # pyright: ignore[reportAttributeAccessIssue]
    qpos = np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    scene.show(qpos, qpos[None, :3], [GOAL], math.inf)
    trunk = place(server, f"/world/vehicle/{model.body('trunk').id}")
    np.testing.assert_allclose(trunk.translation(), 0.0, atol=1e-6)
    goal = place(server, "/world/shape0").translation()
    np.testing.assert_allclose(goal[:2] / 5.0, ahead, atol=1e-6)
    # It settles: nothing jumps when the vehicle does.
    qpos[0] = 1.0
    scene.show(qpos, qpos[None, :3], [GOAL], 0.01)
    assert 0.5 < np.linalg.norm(place(server, f"/world/vehicle/{model.body('trunk').id}").translation()) < 1.0
    scene.show(qpos, qpos[None, :3], [GOAL], math.inf)
    np.testing.assert_allclose(place(server, f"/world/vehicle/{model.body('trunk').id}").translation(), 0.0, atol=1e-6)


def test_shapes_move_and_change(server: viser.ViserServer, model: mujoco.MjModel, scene: Scene) -> None:
    scene.view.mode = "free"
    qpos = pose_of(model)
    column = Shape("cylinder", (2.0, 0.0, 1.0), (0.3, 1.0), "obstacle")
    room = Shape("box", (0.0, 0.0, 1.0), (4.0, 3.0, 1.0), "bounds")
    scene.show(qpos, qpos[None, :3], [column, GOAL, room], 0.1)
    body = server.scene.get_handle_by_name("/world/shape0/body")
    edges = server.scene.get_handle_by_name("/world/shape2/edges")
    assert isinstance(edges, viser.LineSegmentsHandle)
    assert len(edges.points) == 12
    lengths = sorted(np.linalg.norm(edges.points[:, 0] - edges.points[:, 1], axis=1).tolist())
    assert lengths == pytest.approx([2.0] * 4 + [6.0] * 4 + [8.0] * 4)
    moved = Shape("cylinder", (1.0, 1.0, 1.0), (0.3, 1.0), "obstacle")
    scene.show(qpos, qpos[None, :3], [moved, GOAL, room], 0.1)
    assert server.scene.get_handle_by_name("/world/shape0/body") is body
    np.testing.assert_allclose(place(server, "/world/shape0/body").translation(), (1.0, 1.0, 1.0), atol=1e-6)
    scene.show(qpos, qpos[None, :3], [GOAL], 0.1)
    assert server.scene.get_handle_by_name("/world/shape1") is None


def test_the_path_is_drawn_to_its_end(server: viser.ViserServer, model: mujoco.MjModel, scene: Scene) -> None:
    path = np.linspace((0.0, 0.0, 1.0), (1.0, 0.0, 1.0), 101)
    path = np.concatenate((path, np.repeat(path[-1:], 500, 0)))  # then it hovers
    qpos = pose_of(model)
    scene.show(qpos, path, [], 0.1)
    trail = server.scene.get_handle_by_name("/world/trail")
    assert isinstance(trail, viser.LineSegmentsHandle) and trail.visible
    assert 20 <= len(trail.points) <= 30
    np.testing.assert_allclose(trail.points[0, 0], path[0], atol=1e-6)
    tip = server.scene.get_handle_by_name("/world/tip")
    assert isinstance(tip, viser.LineSegmentsHandle)
    np.testing.assert_array_equal(tip.points[0, 0], trail.points[-1, 1])
    np.testing.assert_allclose(tip.points[0, 1], path[-1], atol=1e-6)
    np.testing.assert_array_equal(trail.points[1:, 0], trail.points[:-1, 1])
    scene.show(qpos, path[:1], [], 0.1)
    assert not trail.visible


def test_the_readout_says_how_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(steered(), "test", ZeroPilot)
    player = Player(session)
    session.begin(3)
    session.outcomes += ["success", "too_far"]
    shown = readout(player)
    for text in ("Episode 3", "Running", "0.00 of 1.5 s", "1 of 2", 'title="Too far"', palette.outcome_colour("x")):
        assert text in shown
    monkeypatch.setattr(RealTime, "factor", 0.31)
    assert "0.31×: too slow here for 1×" in readout(player)
    monkeypatch.setattr(RealTime, "factor", 0.97)
    assert ">1.0×<" in readout(player)
    player.pause()
    assert "Paused" in readout(player) and "×" not in readout(player)
    session.outcome = "<b>ad</b>"  # whoever names a failure so
    assert "&lt;b&gt;" in readout(player)
