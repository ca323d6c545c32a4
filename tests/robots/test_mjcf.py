"""A robot from an MJCF: its measurements against MuJoCo's own sensors, and mistakes that are told."""

from collections.abc import Mapping
from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from robo_ppo.env.build import build
from robo_ppo.env.signals import Quantity, collect
from robo_ppo.errors import UserError
from robo_ppo.robots.mjcf import (
    ACTION,
    MjcfRobot,
    Part,
    Reading,
    damping_of,
    gain_of,
    mass_of,
    position_of,
    sensor,
    velocity_of,
)
from tests.env import toy

XML = """
<mujoco>
  <worldbody>
    <site name="ground"/>
    <body name="base">
      <freejoint name="root"/>
      <geom size=".1"/>
      <site name="imu"/>
      <body name="cart">
        <joint name="rail" type="slide" axis="1 0 0"/>
        <geom size=".1"/>
        <body name="pole">
          <joint name="hinge_a" axis="0 1 0" damping="0.1"/>
          <geom size=".1" pos=".2 0 0"/>
          <body name="tip" pos=".4 0 0">
            <joint name="hinge_b" axis="0 0 1" damping="0.2"/>
            <geom size=".1"/>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="force" joint="rail" ctrlrange="-3 5"/>
    <motor name="torque" joint="hinge_a" ctrlrange="-1 1"/>
    <motor name="geared" joint="hinge_a" gear="20" ctrlrange="-1 1"/>
    <position name="angle" joint="hinge_b" kp="7" kv="1" ctrlrange="-2 2"/>
    <velocity name="rate" joint="hinge_b" kv="3" ctrlrange="-4 4"/>
    <position name="place" joint="rail" kp="7" ctrlrange="0 1"/>
    <velocity name="speed" joint="rail" kv="3" ctrlrange="0 1"/>
    <general name="own" joint="rail" gainprm="2" ctrlrange="0 1"/>
  </actuator>
  <sensor>
    <gyro name="gyro" site="imu"/>
    <accelerometer name="accelerometer" site="imu"/>
    <framepos name="tip_place" objtype="body" objname="tip"/>
    <framepos name="tip_seen" objtype="body" objname="tip" reftype="site" refname="imu"/>
    <framequat name="attitude" objtype="site" objname="imu"/>
    <jointpos name="angle_b" joint="hinge_b"/>
    <jointvel name="rail_speed" joint="rail"/>
    <touch name="touch" site="imu"/>
    <clock name="clock"/>
  </sensor>
</mujoco>
"""


def robot(
    path: Path, xml: str = XML, measures: Mapping[str, Reading] | None = None, varies: Mapping[str, Part] | None = None
) -> MjcfRobot:
    """A robot with this model, of a class of its own."""
    (path / "thing.xml").write_text(xml)
    names = {"mjcf": path / "thing.xml", "measures": measures or {}, "varies": varies or {}}
    return type("Thing", (MjcfRobot,), names)(ACTION)


def test_commands_are_the_actuators(tmp_path: Path) -> None:
    thing = robot(tmp_path)
    assert thing.name == "thing"
    assert thing.action.names == ("force", "torque", "geared", "angle", "rate", "place", "speed", "own")
    assert thing.action.units == ("N", "N·m", "1", "rad", "rad/s", "m", "m/s", "1")
    assert (thing.action.lower[0], thing.action.upper[0]) == (-3.0, 5.0)


def test_measurements_are_those_of_mujoco(tmp_path: Path) -> None:
    """Joints against MuJoCo's named access, sensors against its own."""
    measures = {
        "rail": position_of("rail"),
        "hinges": position_of("hinge_b", "hinge_a"),
        "in_a_row": velocity_of("hinge_a", "hinge_b"),
        "gyro": sensor("gyro"),
        "angle": sensor("angle_b"),
        "attitude": sensor("attitude"),
    }
    thing = robot(tmp_path, measures=measures)
    model = thing.spec().compile()
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    data.qpos[:], data.qvel[:] = rng.normal(size=model.nq), rng.normal(size=model.nv)
    mujoco.mj_forward(model, data)
    fields = {name: torch.from_numpy(getattr(data, name)).unsqueeze(0) for name in thing.fields()}
    signals = collect(thing)
    read = {name: signals[name].function(*[fields[i] for i in signals[name].inputs])[0] for name in measures}
    joint = {name: data.joint(name) for name in ("rail", "hinge_a", "hinge_b")}
    truth = {
        "rail": joint["rail"].qpos[0],
        "hinges": np.concatenate((joint["hinge_b"].qpos, joint["hinge_a"].qpos)),
        "in_a_row": np.concatenate((joint["hinge_a"].qvel, joint["hinge_b"].qvel)),
        "gyro": data.sensor("gyro").data,
        "angle": joint["hinge_b"].qpos[0],
        "attitude": data.sensor("attitude").data,
    }
    for name, value in truth.items():
        np.testing.assert_array_equal(read[name].numpy(), value)
        assert signals[name].is_measurement


def test_sensors_are_of_the_present_state_in_an_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's cart, known by its sensors alone, against the state that the simulation is in."""
    xml = toy.XML.replace("<motor joint", '<motor name="push" ctrlrange="-9 9" joint').replace(
        "</actuator>", '</actuator><sensor><framepos name="p" objtype="body" objname="cart"/></sensor>'
    )
    measures = {"place": sensor("p"), "along": position_of("rail"), "speed": velocity_of("rail")}
    cart = robot(tmp_path, xml.replace("<joint type", '<joint name="rail" type'), measures)
    monkeypatch.setattr(toy, "Sensed", type(cart), raising=False)
    run = toy.config(robot="tests.env.toy:Sensed", ranges={}, policy=("place", "along", "gap"), critic=("speed",))
    run.robot.action = ACTION
    environment = build(run, "validation", 4, episodes=4)
    environment.reset()
    for step in range(5):
        values = environment.step(toy.actions(step, 4), restart=False).values
        torch.testing.assert_close(values["along"], environment.sim.bind("qpos")[:, 0])
        torch.testing.assert_close(values["place"][:, 0], values["along"], atol=1e-6, rtol=0.0)
        torch.testing.assert_close(values["speed"], environment.sim.bind("qvel")[:, 0])


@pytest.mark.parametrize(
    ("reading", "quantity"),
    [
        (position_of("hinge_a", "hinge_b"), Quantity("rad")),
        (velocity_of("hinge_a"), Quantity("rad/s")),
        (position_of("rail"), Quantity("m")),
        (velocity_of("rail"), Quantity("m/s")),
        (sensor("gyro"), Quantity("rad/s", "imu")),
        (sensor("accelerometer"), Quantity("m/s²", "imu")),
        (sensor("tip_place"), Quantity("m", "world")),
        (sensor("tip_seen"), Quantity("m", "imu")),
        (sensor("attitude"), Quantity("quaternion", "imu to world")),
        (sensor("angle_b"), Quantity("rad")),
        (sensor("rail_speed"), Quantity("m/s")),
        (sensor("touch"), Quantity("N")),
    ],
    ids=str,
)
def test_units_and_frames(tmp_path: Path, reading: Reading, quantity: Quantity) -> None:
    assert collect(robot(tmp_path, measures={"own": reading}))["own"].quantity == quantity


def test_only_what_is_read_is_computed(tmp_path: Path) -> None:
    assert robot(tmp_path, measures={"a": position_of("rail")}).fields() == ("qpos", "qvel")
    assert robot(tmp_path, measures={"a": sensor("gyro")}).fields() == ("qpos", "qvel", "sensordata")


def test_parameters_scale_what_they_name(tmp_path: Path) -> None:
    varies = {"load": mass_of("tip", "pole"), "gain": gain_of("angle"), "drag": damping_of("hinge_b", "hinge_a")}
    thing = robot(tmp_path, varies=varies)
    model = thing.spec().compile()
    chosen = {
        name: {scale.field: getattr(model, scale.field)[list(scale.entries or ())] for scale in parameter.scales}
        for name, parameter in thing.parameters().items()
    }
    masses = [model.body("pole").mass[0], model.body("tip").mass[0]]
    assert sorted(chosen["load"]["body_mass"]) == sorted(masses)
    assert list(chosen["load"]) == ["body_mass", "body_inertia"]
    # A servo's stiffness and damping are in both: twice the gain is twice the force.
    assert chosen["gain"]["actuator_gainprm"][0, 0] == 7.0
    assert chosen["gain"]["actuator_biasprm"][0, :3].tolist() == [0.0, -7.0, -1.0]
    assert sorted(chosen["drag"]["dof_damping"].tolist()) == [0.1, 0.2]
    assert {parameter.nominal for parameter in thing.parameters().values()} == {1.0}


@pytest.mark.parametrize(
    ("measures", "said"),
    [
        (position_of("hinge_c"), r"there is no joint 'hinge_c'; did you mean hinge_b or hinge_a\?"),
        (velocity_of("rial"), r"there is no joint 'rial'; did you mean rail\?"),
        (sensor("gyroscope"), r"there is no sensor 'gyroscope'; did you mean gyro\?"),
        (position_of(), "Thing names no joint; known: root, rail, hinge_a, hinge_b"),
        (position_of("rail", "hinge_a"), "'hinge_a' is in rad and 'rail' in m; give each a name of its own"),
        (position_of("root"), "the joint 'root' is neither a hinge nor a slide; sensors .* measure it"),
        (sensor("clock"), r"the unit of the sensor 'clock' is not known here; .* reads sensordata\[:, 19:20\]"),
    ],
    ids=str,
)
def test_measurements_that_the_model_does_not_have(tmp_path: Path, measures: Reading, said: str) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path}/thing.xml: {said}"):
        robot(tmp_path, measures={"own": measures})


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (mass_of("pol"), r"there is no body 'pol'; did you mean pole\?"),
        (gain_of("forces"), r"there is no actuator 'forces'; did you mean force\?"),
        (damping_of("hinge"), r"there is no joint 'hinge'; did you mean"),
    ],
)
def test_parameters_that_the_model_does_not_have(tmp_path: Path, part: Part, said: str) -> None:
    with pytest.raises(UserError, match=f"^{tmp_path}/thing.xml: {said}"):
        robot(tmp_path, varies={"own": part})


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (' ctrlrange="-3 5"', "", "the actuator 'force' needs a ctrlrange"),
        (' name="torque"', "", "actuator 1 has no name; name it after what it is told"),
        ("<worldbody>", "<worldbdy>", "XML parse error"),
        ('<site name="imu"/>', '<site nam="imu"/>', "Schema violation: unrecognized attribute: 'nam'"),
        ('joint="rail" ctrl', 'joint="rial" ctrl', "unknown transmission target 'rial'"),
        (XML[XML.index("  <actuator>") : XML.index("  <sensor>")], "", "it has no actuators, so there is nothing to"),
    ],
    ids=["no ctrlrange", "no name", "no XML", "no MJCF", "no joint", "no actuators"],
)
def test_models_that_are_no_robots(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert before in XML
    with pytest.raises(UserError, match=f"^{tmp_path}/thing.xml: .*{said}") as raised:
        robot(tmp_path, XML.replace(before, after))
    assert "\n" not in str(raised.value)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^there is no {tmp_path}/gone.xml; Gone.mjcf must be the path of an MJCF"):
        type("Gone", (MjcfRobot,), {"mjcf": tmp_path / "gone.xml"})(ACTION)


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"mjcf": "arm.xml"}, r"Thing\.mjcf must be a path, as Path\(.*\), not 'arm\.xml'"),
        ({"varies": {"load": "forearm"}}, r"Thing\.varies: 'load' must be what a function gives, .*not 'forearm'"),
        ({"measures": {"angle": "rail"}}, r"Thing\.measures: 'angle' must be what a function gives, .*not 'rail'"),
    ],
)
def test_names_where_things_are_asked_for(tmp_path: Path, declared: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        type("Thing", (MjcfRobot,), {"mjcf": tmp_path / "arm.xml", **declared})(ACTION)


def test_names_that_every_robot_has(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^Thing.measures: every robot has a 'action' already; rename it"):
        robot(tmp_path, measures={"action": position_of("rail")})


def test_there_is_one_action_interface(tmp_path: Path) -> None:
    thing = type(robot(tmp_path))
    with pytest.raises(UserError, match=r"^robot.action=torque: thing has no such .*; known: actuators$"):
        thing("torque")
