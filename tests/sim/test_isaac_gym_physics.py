"""Isaac Gym's back end over its double: actuators, frames and contacts of many kinds of robots, against `mj_step`."""

import mujoco
import numpy as np
import pytest
import torch

from robo_ppo.errors import UserError
from robo_ppo.sim.isaac_gym.agreement import check_agreement, in_motion
from robo_ppo.sim.isaac_gym.frames import Frames
from robo_ppo.sim.isaac_gym.robot import Robot

from .conftest import isaac_gym

# A floating base off its centre of mass, an arm of three links (one welded), every actuator that is mapped.
ACTUATORS = """
<mujoco>
  <compiler angle="radian"/>
  <option timestep="0.002" gravity="0 0 -3"/>
  <worldbody>
    <body name="base" pos="0 0 1">
      <freejoint/>
      <geom type="box" size=".2 .1 .05" pos=".04 .02 -.03" mass="2" contype="0" conaffinity="0"/>
      <site name="nozzle" pos=".1 -.05 .02" euler=".3 .2 -.4"/>
      <body name="upper" pos=".1 0 .1" euler=".2 0 .5">
        <joint name="shoulder" axis="0 1 .3" pos="0 0 -.02" ref=".4" springref=".1" stiffness="2" damping=".2"
          armature=".02" actuatorfrcrange="-1 1"/>
        <geom type="capsule" fromto="0 0 0 0 0 .3" size=".03" mass=".4" contype="0" conaffinity="0"/>
        <body name="bracket" pos="0 0 .3" euler="0 .7 0">
          <geom type="sphere" size=".04" mass=".1" contype="0" conaffinity="0"/>
          <body name="slider" pos="0 .05 0">
            <joint name="rail" type="slide" axis="1 0 0" damping=".5" stiffness="3"/>
            <geom type="cylinder" size=".03 .05" pos=".02 0 .01" mass=".2" contype="0" conaffinity="0"/>
            {link_site}
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <position joint="shoulder" kp="3" kv=".1" ctrlrange="-1 1"/>
    <general joint="shoulder" gaintype="affine" gainprm="1 .5 -.2" biastype="affine" biasprm=".1 -.3 -.05"
      dyntype="integrator" actrange="-.3 .3" actlimited="true"/>
    <velocity joint="rail" kv="2" forcerange="-1.5 1.5" gear="2"/>
    <general joint="rail" dyntype="filter" dynprm=".03" gainprm="2"/>
    <general site="nozzle" gear="0 0 1 .1 0 .05" dyntype="filterexact" dynprm=".04" gainprm="4"/>
    <general site="nozzle" gear="0 0 0 0 1 0" gainprm=".2" biastype="affine" biasprm="0 0 -.2" forcerange="-.3 .3"/>
    {link_actuator}
  </actuator>
</mujoco>
"""
# The same on the arm's last link, where the joints have no limit on the sum of forces.
ON_A_LINK = ACTUATORS.replace('actuatorfrcrange="-1 1"', "").format(
    link_site='<site name="tip" pos=".03 .01 .02" euler="0 .5 .2"/>',
    link_actuator='<general site="tip" gear="1 .2 0 0 .1 0" gainprm="1" biastype="affine" biasprm=".1 0 -.3"/>',
)
FIXED = """
<mujoco>
  <worldbody>
    <body name="stand" pos=".3 -.2 .8" euler="0 0 30">
      <geom type="box" size=".1 .1 .1" contype="0" conaffinity="0"/>
      <body name="pole" pos="0 0 .2">
        <joint name="swing" axis="1 0 0" range="-40 40" damping=".05"/>
        <geom type="capsule" fromto="0 0 0 .02 0 .4" size=".03" mass=".5" contype="0" conaffinity="0"/>
      </body>
    </body>
    <geom type="box" size="1 1 .1" pos="3 0 0" contype="0" conaffinity="0"/>
  </worldbody>
  <actuator><motor joint="swing" gear="3" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
CART = """
<mujoco>
  <worldbody>
    <body name="cart"><joint name="rail" type="slide" axis="1 0 0"/><geom size=".1" contype="0" conaffinity="0"/></body>
  </worldbody>
  <actuator><motor joint="rail" gear="200"/></actuator>
</mujoco>
"""
# Two legs on the plane: boxes, capsules and a sphere, each with its own friction, that touch one another.
WALKER = """
<mujoco>
  <worldbody>
    <geom type="plane" name="floor" size="1 1 1" pos="0 0 -.1" friction=".6"/>
    <body name="trunk" pos="0 0 .22">
      <freejoint/>
      <geom type="box" size=".15 .1 .04" mass="2"/>
      <body name="left" pos="0 .12 0"><joint name="l" axis="0 1 0" damping=".3" range="-50 50"/>
        <geom type="capsule" fromto="0 0 0 0 .02 -.25" size=".03" mass=".3" friction=".9"/></body>
      <body name="right" pos="0 -.12 0"><joint name="r" axis="0 1 0" damping=".3" range="-50 50"/>
        <geom type="sphere" size=".05" pos="0 -.02 -.2" mass=".3" friction=".7"/></body>
    </body>
  </worldbody>
  <actuator><position joint="l" kp="9"/><position joint="r" kp="9"/></actuator>
</mujoco>
"""
MODELS = {
    "floating": ACTUATORS.format(link_site="", link_actuator=""),
    "with thrust on a link": ON_A_LINK,
    "fixed": FIXED,
    "on a rail": CART,
    "walker": WALKER,
}


@pytest.mark.parametrize("name", MODELS)
def test_steps_are_those_of_mj_step(name: str) -> None:
    """States, activations and everything that is pushed, for two worlds with their own commands."""
    models = [mujoco.MjModel.from_xml_string(MODELS[name]) for _ in range(2)]
    truth = [mujoco.MjData(model) for model in models]
    sim = isaac_gym(mujoco.MjModel.from_xml_string(MODELS[name]), 2)
    random = np.random.default_rng(4)
    start = torch.tensor(models[0].qpos0).repeat(2, 1)
    for step in range(40):
        ctrl, applied = random.normal(size=(2, models[0].nu)), random.normal(size=(2, models[0].nv)) * 0.2
        forces = random.normal(size=(2, models[0].nbody, 6)) * 0.1
        forces[:, 0] = 0.0
        for field, values in (("ctrl", ctrl), ("qfrc_applied", applied), ("xfrc_applied", forces)):
            sim.write(field, torch.from_numpy(values))
        sim.step(1 + step % 3)
        for world, (model, data) in enumerate(zip(models, truth, strict=True)):
            data.ctrl[:], data.qfrc_applied[:], data.xfrc_applied[:] = ctrl[world], applied[world], forces[world]
            for _ in range(1 + step % 3):
                mujoco.mj_step(model, data)
        for field in ("qpos", "qvel", "act", "time"):
            expected = np.stack([np.asarray(getattr(data, field)) for data in truth])
            np.testing.assert_allclose(sim.bind(field), expected, rtol=1e-3, atol=1e-3, err_msg=f"{field}, {step}")
    assert (sim.bind("qpos") - start).abs().max() > 0.05, "nothing moved"
    sim.close()


def test_a_state_written_in_mid_flight_is_where_the_forces_act() -> None:
    """Isaac Gym shows links where they were until the next step; the wrench must turn with the new attitude at once."""
    model = mujoco.MjModel.from_xml_string(ON_A_LINK)
    sim, data = isaac_gym(model, 1), mujoco.MjData(model)
    qpos, qvel = in_motion(Robot(model))
    ctrl = torch.linspace(-1.0, 1.0, model.nu, dtype=torch.float64)
    sim.step(3)
    for field, values in (("qpos", qpos), ("qvel", qvel), ("ctrl", ctrl)):
        sim.write(field, values.unsqueeze(0))
        getattr(data, field)[:] = values
    sim.write("act", torch.zeros(1, model.na))
    sim.step(1)
    mujoco.mj_step(model, data)
    np.testing.assert_allclose(sim.bind("qvel")[0], data.qvel, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_states_go_over_and_back(name: str) -> None:
    """Against MuJoCo's own velocities of bodies."""
    model = mujoco.MjModel.from_xml_string(MODELS[name])
    robot, data = Robot(model), mujoco.MjData(model)
    frames, origin = Frames(robot), torch.tensor([[5.0, -3.0, 0.0]], dtype=torch.float64)
    qpos, qvel = (values.unsqueeze(0) for values in in_motion(robot))
    root, dof = frames.to_isaac(qpos, qvel, origin)
    there, moving = frames.to_mujoco(root, dof, origin)
    torch.testing.assert_close(there, qpos)
    torch.testing.assert_close(moving, qvel)

    data.qpos[:], data.qvel[:] = qpos[0], qvel[0]
    mujoco.mj_forward(model, data)
    links, velocity = frames.links(qpos, qvel, origin)[0], np.zeros(6)
    for link, body in zip(links, robot.bodies, strict=True):
        mujoco.mj_objectVelocity(model, data, mujoco.mjtObj.mjOBJ_BODY, body, velocity, 0)  # of the centre of mass
        np.testing.assert_allclose(link[:3] - origin[0], data.xpos[body])
        np.testing.assert_allclose(link[[6, 3, 4, 5]], data.xquat[body])
        np.testing.assert_allclose(link[7:10], velocity[3:6], atol=1e-12)
        np.testing.assert_allclose(link[10:13], velocity[0:3], atol=1e-12)
    if robot.floats:
        np.testing.assert_allclose(root[0], links[0], atol=1e-12)


def report(robot: Robot) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What a faithful engine says after one step without forces, from `in_motion`."""
    frames, origin = Frames(robot), torch.zeros(1, 3, dtype=torch.float64)
    qpos, qvel = (values.unsqueeze(0) for values in in_motion(robot))
    after = qpos.clone()
    mujoco.mj_integratePos(robot.model, after.numpy()[0], qvel.numpy()[0], robot.model.opt.timestep)
    root, dof = frames.to_isaac(after, qvel, origin)
    return qpos[0], {"root": root, "dof": dof, "links": frames.links(after, qvel, origin), "origin": origin}


def test_a_robot_that_is_not_the_models_is_refused() -> None:
    robot = Robot(mujoco.MjModel.from_xml_string(ON_A_LINK))
    frames = Frames(robot)
    before, told = report(robot)
    check_agreement(robot, frames, before, told)

    def refuses(message: str, **changed: torch.Tensor) -> None:
        with pytest.raises(UserError, match=message):
            check_agreement(robot, frames, before, {**told, **changed})

    turned = told["dof"] * torch.tensor([[-1.0], [1.0]])
    refuses("places of its links", dof=turned)
    refuses("places of its links", dof=told["dof"].flip(1))
    wxyz = told["root"].clone()
    wxyz[:, 3:7] = wxyz[:, [6, 3, 4, 5]]
    refuses("places of its links", root=wxyz)
    at_origins = told["links"].clone()
    at_origins[:, 1:, 7:10] += 0.1
    refuses("velocities of its links", links=at_origins)
    # The velocity of the origin where that of the centre of mass is expected, in base and links alike.
    centre = torch.from_numpy(robot.model.body_ipos[robot.root].copy())
    offset = torch.linalg.cross(told["root"][0, 10:13], centre)
    root, links = told["root"].clone(), told["links"].clone()
    root[0, 7:10] -= offset
    links[0, :, 7:10] -= offset
    refuses("does not move as its velocity says", root=root, links=links)
    refuses("places of its links", dof=torch.full_like(told["dof"], torch.nan))


def test_the_engine_is_not_left_with_a_world_that_broke() -> None:
    """It simulates the robot at rest in its place, while the world shows what it came to."""
    sim = isaac_gym(mujoco.MjModel.from_xml_string(ON_A_LINK), 2)
    push = torch.zeros(2, sim.model.nv)
    push[1, 3:] = 1e9
    sim.write("qfrc_applied", push)
    for _ in range(4):
        sim.step(2)
        assert torch.isfinite(sim.bind("qpos")).all(1).tolist() == [True, False]
    assert torch.isfinite(sim.process.arrays["root"]).all()
    sim.reset(sim.rows(torch.tensor([False, True])))
    sim.write("qfrc_applied", push * 0.0)
    sim.step(2)
    assert torch.isfinite(sim.bind("qpos")).all()


def test_the_plane_is_the_same_for_all_worlds() -> None:
    sim = isaac_gym(mujoco.MjModel.from_xml_string(WALKER), 2)
    friction = torch.tensor(sim.model.geom_friction).repeat(2, 1, 1)
    sim.write_model("geom_friction", friction)
    with pytest.raises(UserError, match="plane cannot have another friction in each world"):
        sim.write_model("geom_friction", friction * 0.5)


def test_what_cannot_differ_between_worlds_and_what_cannot_be_shown_is_named() -> None:
    sim = isaac_gym(mujoco.MjModel.from_xml_string(WALKER), 1)
    with pytest.raises(
        UserError, match=r"cannot give every world its own geom_size; it can actuator_biasprm, .*body_m"
    ):
        sim.expand("geom_size")
    with pytest.raises(UserError, match=r"cannot show 'qacc'.*; it can show .*xpos"):
        sim.bind("qacc")
    with pytest.raises(UserError, match="dof_damping of a free joint must be zero"):
        sim.write_model("dof_damping", torch.ones(1, sim.model.nv))


def test_a_sensor_of_forces_is_named() -> None:
    xml = WALKER.replace("</actuator>", "</actuator><sensor><accelerometer name='shaken' site='s'/></sensor>")
    sim = isaac_gym(mujoco.MjModel.from_xml_string(xml.replace("<freejoint/>", "<freejoint/><site name='s'/>")), 1)
    with pytest.raises(UserError, match="cannot show sensordata: the sensors shaken need accelerations"):
        sim.bind("sensordata")
