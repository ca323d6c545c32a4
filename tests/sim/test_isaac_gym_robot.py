"""What of a model goes to Isaac Gym, and what is refused rather than lost on the way."""

import xml.etree.ElementTree as ElementTree

import mujoco
import numpy as np
import pytest

from robo_ppo.errors import UserError
from robo_ppo.sim.isaac_gym.robot import FIELDS, Robot

LEG = '<joint name="knee" axis="0 1 0"/><geom type="capsule" fromto="0 0 0 0 0 -.3" size=".03" mass=".3"/>'
ON_FLOOR_ONLY = 'contype="0" conaffinity="1"'
FOOT_AND_TOE = f"""
<body pos="0 0 -.3">
  <joint/><geom size=".05" {ON_FLOOR_ONLY}/>
  <body pos=".1 0 0"><joint/><geom size=".02"/></body>
</body>"""
XML = """
<mujoco>
  {options}
  <worldbody>
    <geom name="floor" type="plane" size="1 1 1" {floor}/>
    {world}
    <body name="trunk" pos="0 0 1">
      <freejoint name="root"/>
      <geom name="trunk" type="box" size=".2 .1 .05" mass="1" {trunk}/>
      <site name="imu"/>
      <body name="leg" pos="0 0 -.2">{leg}</body>
    </body>
  </worldbody>
  {more}
  <actuator>{actuator}</actuator>
</mujoco>
"""


def model_of(**parts: str) -> mujoco.MjModel:
    filled = {"options": "", "floor": "", "world": "", "trunk": "", "leg": LEG, "more": "", "actuator": "", **parts}
    return mujoco.MjModel.from_xml_string(XML.format(**filled))


def general(settings: str) -> str:
    return f'<general name="it" {settings}/>'


REFUSED = {
    "tendons": ({"more": '<tendon><fixed name="t"><joint joint="knee" coef="1"/></fixed></tendon>'}, "has tendons"),
    "equality": ({"more": '<equality><weld body1="leg"/></equality>'}, "has equality constraints"),
    "exclude": ({"more": '<contact><exclude body1="leg" body2="trunk"/></contact>'}, "names pairs of geoms or bodies"),
    "fluid": ({"options": '<option density="1.2"/>'}, "has a fluid"),
    "no limits": ({"options": '<option><flag limit="disable"/></option>'}, "options disable limit"),
    "energy": ({"options": '<option><flag energy="enable"/></option>'}, "enable features of MuJoCo's own solver"),
    "gravcomp": ({"leg": LEG, "world": '<body name="kite" gravcomp="1"/>'}, "body 'kite' has gravcomp"),
    "ball": ({"leg": '<joint name="hip" type="ball"/><geom size=".1"/>'}, "joint 'hip' is a ball joint"),
    "two joints": ({"leg": f'<joint name="hip" axis="1 0 0"/>{LEG}'}, "body 'leg' has several joints"),
    "frictionloss": ({"leg": LEG.replace("axis", 'frictionloss=".1" axis')}, "joint 'knee' has frictionloss"),
    "two robots": (
        {"world": '<body name="box"><freejoint/><geom size=".1"/></body>'},
        r"2 things that move \(body 'box', body 'trunk'\)",
    ),
    "wall": ({"world": '<geom name="wall" type="box" size="1 1 1" pos="5 0 0"/>'}, "geom 'wall', which is not a horiz"),
    "slope": ({"floor": 'euler="10 0 0"'}, "geom 'floor', which is not a horizontal plane"),
    "moving wall": (
        {"world": '<body name="m" mocap="true"><geom name="wall" size=".1"/></body>'},
        "geom 'wall', which is not a horizontal plane",
    ),
    "frictionless": ({"trunk": 'condim="1"'}, "geom 'trunk' has condim 1"),
    "some touch": ({"trunk": ON_FLOOR_ONLY, "leg": LEG + FOOT_AND_TOE}, "some of the robot's geoms touch one another"),
    "muscle": (
        {"actuator": '<muscle name="it" joint="knee" lengthrange="0 1"/>'},
        "actuator 'it' has the type muscle, known are none, int",
    ),
    "body": ({"actuator": '<adhesion name="it" body="leg" ctrlrange="0 1"/>'}, "actuator 'it' has the type body"),
    "free joint": ({"actuator": general('joint="root"')}, "actuator 'it' acts on a free joint"),
    "refsite": ({"actuator": general('site="imu" refsite="imu"')}, "actuator 'it' has a refsite"),
    "early": ({"actuator": general('joint="knee" dyntype="filter" actearly="true"')}, "actuator 'it' has actearly"),
    "delay": ({"actuator": general('joint="knee" delay=".01" nsample="4"')}, "actuator 'it' has a delay"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_isaac_gym_cannot_simulate_is_refused_by_name(case: str) -> None:
    parts, message = REFUSED[case]
    with pytest.raises(UserError, match=message) as caught:
        Robot(model_of(**parts))
    assert "sim.backend=isaac_gym cannot simulate this model" in str(caught.value)


def test_a_shape_that_isaac_gym_would_replace_is_refused() -> None:
    xml = XML.replace('type="box"', 'type="ellipsoid"')
    blank = dict.fromkeys(("options", "floor", "world", "trunk", "more", "actuator"), "")
    with pytest.raises(UserError, match="geom 'trunk' is not one of sphere, capsule, cylinder, box"):
        Robot(mujoco.MjModel.from_xml_string(xml.format(leg=LEG, **blank)))


def test_a_model_where_nothing_moves_is_refused() -> None:
    with pytest.raises(UserError, match="nothing in it moves"):
        Robot(mujoco.MjModel.from_xml_string("<mujoco><worldbody><geom size='1'/></worldbody></mujoco>"))


def test_the_file_holds_the_robot_and_nothing_else() -> None:
    """Masses, places and joints as MuJoCo reads them again; what is only looked at stays out."""
    seen = '<body name="goal" mocap="true"><geom size=".1" contype="0" conaffinity="0"/></body>'
    model = model_of(
        world=seen,
        actuator=general('site="imu" gear="0 0 1 0 0 0"'),
        leg=LEG.replace("axis", 'range="-9 9" ref="4" axis'),
    )
    robot = Robot(model)
    again = mujoco.MjModel.from_xml_string(robot.mjcf)
    assert again.nbody - 1 == len(robot.bodies) == 2
    assert (again.nsite, again.nu, again.nmocap) == (0, 0, 0)
    np.testing.assert_array_equal(again.body_mass[1:], model.body_mass[robot.bodies])
    np.testing.assert_allclose(again.body_inertia[1:], model.body_inertia[robot.bodies])
    np.testing.assert_allclose(again.jnt_range[1], np.radians((-13.0, 5.0)))  # 0 is where the model's pose is
    np.testing.assert_array_equal(again.geom_size, model.geom_size[robot.geoms])
    assert {element.tag for element in ElementTree.fromstring(robot.mjcf).iter()} == set(
        "mujoco compiler worldbody body freejoint inertial geom joint".split()
    )


def test_geoms_without_contacts_stay_at_home() -> None:
    robot = Robot(model_of(options='<option><flag contact="disable"/></option>'))
    assert (robot.ground, robot.geoms, robot.touches_itself) == (None, [], False)
    robot = Robot(model_of(trunk='contype="0" conaffinity="0"'))
    assert [robot.model.geom_bodyid[geom] for geom in robot.geoms] == [robot.bodies[1]]


def test_who_touches_whom() -> None:
    """Parents do not touch their children; others do where the model says so."""
    assert not Robot(model_of()).touches_itself
    foot = LEG + '<body pos="0 0 -.3"><joint/><geom size=".05"/></body>'
    assert Robot(model_of(leg=foot)).touches_itself
    feet = foot.replace("size", f"{ON_FLOOR_ONLY} size")
    assert not Robot(model_of(leg=feet, trunk=ON_FLOOR_ONLY)).touches_itself


def test_numbers_that_may_differ_are_fields_of_the_model() -> None:
    model = model_of(
        actuator=general('joint="knee" biastype="affine" biasprm="0 -1 0" gainprm="2 7 7" ctrlrange="-1 1"')
    )
    robot = Robot(model)
    assert all(hasattr(model, field) for field in FIELDS)
    numbers = robot.parameters({})
    assert {name: values.shape[1:] for name, values in numbers.items()} == robot.parameter_shapes()
    np.testing.assert_array_equal(numbers["gain"], [[[2.0, 0.0, 0.0]]])  # a fixed gain reads one number
    np.testing.assert_array_equal(numbers["control_range"], [[[-1.0, 1.0]]])
    np.testing.assert_array_equal(numbers["force_range"], [[[-np.inf, np.inf]]])
    doubled = robot.parameters({"body_mass": np.stack([model.body_mass, 2.0 * model.body_mass])})
    np.testing.assert_array_equal(doubled["mass"][1], 2.0 * doubled["mass"][0])
