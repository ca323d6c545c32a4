"""How a multirotor answers its commands, against closed forms and Newton's laws."""

import math
from typing import Any

import hypothesis.strategies as st
import mujoco
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given, settings

from robo_ppo.env.build import build
from robo_ppo.errors import UserError
from robo_ppo.robots.crazyflie.robot import Crazyflie
from robo_ppo.run.compose import compose

from .test_crazyflie_model import FOLDER

NUMBERS: dict[str, float] = yaml.safe_load((FOLDER / "parameters.yaml").read_text())
AXES = ("roll", "pitch", "yaw")
TIMESTEP = 0.005
HOVER = NUMBERS["mass"] * 9.81


def hovering(action: str) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """A vehicle at rest in the air, its rotors at hover."""
    robot = Crazyflie(action)
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    data.qpos[2] = 1.0
    data.act[:] = robot.initial()["act"]
    data.ctrl[: len(data.act)] = robot.initial()["act"]
    return model, data


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("command", [0.3, -0.5])
def test_a_body_rate_is_reached_with_its_time_constant(axis: str, command: float) -> None:
    """Within the torque limit, ω = command · (1 - (1 - dt/τ)^k): the exponential, in steps of the physics."""
    model, data = hovering("body_rates")
    number, tau = AXES.index(axis), NUMBERS[f"rate_time_constant_{axis}"]
    if abs(command) * NUMBERS[f"inertia_{'xyz'[number]}"] / tau > NUMBERS[f"torque_max_{axis}"]:
        pytest.fail("the command is beyond the torque limit")
    data.ctrl[1 + number] = command
    for step in range(1, 121):
        mujoco.mj_step(model, data)
        rates = np.zeros(3)
        rates[number] = command * (1.0 - (1.0 - TIMESTEP / tau) ** step)
        np.testing.assert_allclose(data.qvel[3:], rates, atol=1e-9)
        if step * TIMESTEP == tau:
            assert data.qvel[3 + number] == pytest.approx(command * (1 - math.exp(-1)), rel=0.1)
    assert data.qvel[3 + number] == pytest.approx(command, rel=0.01)


@pytest.mark.parametrize("axis", AXES)
def test_a_large_command_accelerates_at_the_torque_limit(axis: str) -> None:
    model, data = hovering("body_rates")
    number = AXES.index(axis)
    rate = NUMBERS[f"rate_max_{axis}"]
    data.qvel[3 + number], data.ctrl[1 + number] = -rate, rate
    mujoco.mj_step(model, data)
    expected = NUMBERS[f"torque_max_{axis}"] / NUMBERS[f"inertia_{'xyz'[number]}"] * TIMESTEP
    assert data.qvel[3 + number] == pytest.approx(expected - rate, rel=1e-9)
    for _ in range(400):
        mujoco.mj_step(model, data)
    assert data.qvel[3 + number] == pytest.approx(NUMBERS[f"rate_max_{axis}"], rel=1e-3)


def test_rates_are_held_while_others_are_commanded() -> None:
    """Gyroscopic torques of a vehicle that turns about all axes at once."""
    model, data = hovering("body_rates")
    commands = np.array([2.0, -1.5, 1.0])
    data.ctrl[1:] = commands
    for _ in range(300):
        mujoco.mj_step(model, data)
    np.testing.assert_allclose(data.qvel[3:], commands, rtol=0.1)


@pytest.mark.parametrize("action", ["body_rates", "motors"])
@settings(max_examples=15)
@given(share=st.floats(0.0, 1.0))
def test_thrust_follows_its_command_with_a_first_order_lag(action: str, share: float) -> None:
    """f(t) = c + (f(0) - c) · exp(-t / τ), exactly, and the vertical speed is its sum."""
    model, data = hovering(action)
    low, high = model.actuator_ctrlrange[0]
    command, first = low + share * (high - low), float(data.act[0])
    rotors = len(data.act)
    data.ctrl[:rotors] = command
    speed = 0.0
    for step in range(60):
        lagged = command + (first - command) * math.exp(-step * TIMESTEP / NUMBERS["rotor_time_constant"])
        mujoco.mj_step(model, data)
        speed += TIMESTEP * (rotors * lagged / NUMBERS["mass"] - 9.81)
        np.testing.assert_allclose(data.actuator_force[:rotors], lagged, rtol=1e-9)
        assert data.qvel[2] == pytest.approx(speed, abs=1e-9)


def test_thrust_points_along_the_bodys_z_axis() -> None:
    for action in ("body_rates", "motors"):
        model, data = hovering(action)
        mujoco.mju_axisAngle2Quat(data.qpos[3:7], np.array([1.0, 0.0, 0.0]), math.radians(30))
        mujoco.mj_step(model, data)
        # A positive roll (right side down) pushes towards -y, the right.
        expected = 9.81 * np.array([0.0, -math.sin(math.radians(30)), math.cos(math.radians(30)) - 1.0]) * TIMESTEP
        np.testing.assert_allclose(data.qvel[:3], expected, atol=1e-12)


@pytest.mark.parametrize("action", ["body_rates", "motors"])
def test_it_hovers_from_the_first_moment(action: str) -> None:
    model, data = hovering(action)
    for _ in range(400):
        mujoco.mj_step(model, data)
    np.testing.assert_allclose(data.qpos, [0, 0, 1, 1, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(data.qvel, 0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("rotor", "roll", "pitch"),
    [("front_left", 1, -1), ("front_right", -1, -1), ("back_left", 1, 1), ("back_right", -1, 1)],
)
def test_each_rotor_turns_the_vehicle_its_way(rotor: str, roll: int, pitch: int) -> None:
    """Forward-left-up: a left rotor rolls to the right (+x), a front rotor pitches up (-y), its drag yaws it."""
    model, data = hovering("motors")
    number = ["front_left", "front_right", "back_left", "back_right"].index(rotor)
    assert model.actuator(number).name == f"thrust_rotor_{rotor}"
    extra = 0.02
    data.act[number] += extra
    mujoco.mj_forward(model, data)
    arm = NUMBERS["rotor_offset"]
    torque = np.array(
        [roll * arm, pitch * arm, NUMBERS[f"rotor_yaw_sign_{rotor}"] * NUMBERS["rotor_torque_per_thrust"]]
    )
    inertia = np.array([NUMBERS[f"inertia_{axis}"] for axis in "xyz"])
    np.testing.assert_allclose(data.qacc[3:], extra * torque / inertia, rtol=1e-9)
    np.testing.assert_allclose(data.qacc[:3], [0.0, 0.0, extra / NUMBERS["mass"]], atol=1e-9)


def test_pairs_of_rotors_roll_pitch_and_yaw() -> None:
    """Front left and back right turn one way, the others the other way: opposite pairs yaw without roll or pitch."""
    pairs = {0: (0, 2), 1: (2, 3), 2: (0, 3)}  # left: +roll, back: +pitch, those whose reaction is positive: +yaw
    for axis, (a, b) in pairs.items():
        model, data = hovering("motors")
        data.act[[a, b]] += 0.01
        data.act[[i for i in range(4) if i not in (a, b)]] -= 0.01
        mujoco.mj_forward(model, data)
        assert data.qacc[3 + axis] > 0
        others = [3 + other for other in range(3) if other != axis]
        np.testing.assert_allclose(data.qacc[others], 0.0, atol=1e-9)
        np.testing.assert_allclose(data.qacc[:3], 0.0, atol=1e-9)


def test_commands_stay_within_what_rotors_can_give() -> None:
    for action, factor in (("body_rates", 4), ("motors", 1)):
        model, _ = hovering(action)
        limits = [factor * NUMBERS["rotor_thrust_min"], factor * NUMBERS["rotor_thrust_max"]]
        np.testing.assert_allclose(model.actuator_ctrlrange[0], limits)
        interface = Crazyflie(action).action
        np.testing.assert_allclose(model.actuator_ctrlrange, np.stack((interface.lower, interface.upper), 1))
        assert (model.nu, interface.size, len(interface.units)) == (4, 4, 4)


@given(st.lists(st.floats(-1.0, 1.0, width=32), min_size=4, max_size=4))
def test_actions_map_linearly_to_commands_and_back(action: list[float]) -> None:
    interface = Crazyflie("body_rates").action
    command = interface.command(torch.tensor([action], dtype=torch.float64))
    low, high = np.array(interface.lower), np.array(interface.upper)
    np.testing.assert_allclose(command[0], low + (np.array(action) + 1) / 2 * (high - low), atol=1e-9)
    np.testing.assert_allclose(interface.action(command)[0], action, atol=1e-6)
    beyond = interface.command(torch.tensor([[-5.0, 5.0, -1.0, 1.0]]))
    np.testing.assert_allclose(beyond[0], [low[0], high[1], low[2], high[3]], rtol=1e-6)


@given(
    st.lists(st.floats(-1, 1), min_size=4, max_size=4).filter(lambda q: np.linalg.norm(q) > 0.1),
    st.lists(st.floats(-5, 5), min_size=6, max_size=6),
    st.floats(0.0, 2.0),
)
def test_drag_is_linear_in_the_velocity_through_the_air(
    attitude: list[float], speeds: list[float], factor: float
) -> None:
    """F = -R · diag(d) · Rᵀ · (v - wind), by MuJoCo's rotation matrix."""
    quaternion = np.array(attitude) / np.linalg.norm(attitude)
    velocity, wind = np.array(speeds[:3]), np.array(speeds[3:])
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    rotation = matrix.reshape(3, 3)
    drag = np.diag([NUMBERS[f"drag_{axis}"] for axis in "xyz"])
    expected = -factor * rotation @ drag @ rotation.T @ (velocity - wind)
    q, v, w = (torch.tensor(np.array([value]), dtype=torch.float32) for value in (quaternion, velocity, wind))
    found = Crazyflie("motors").aerodynamic_force(q, v, w, torch.tensor([factor]))
    np.testing.assert_allclose(found[0], [*expected, 0.0, 0.0, 0.0], atol=1e-5)


def test_in_the_environment_drag_slows_a_glide_as_the_closed_form_says() -> None:
    """Upright at hover thrust, a horizontal velocity decays with mass / drag; the wind pulls it along."""
    env = build(
        compose("task=uav_hover", "randomization=none", "task.decimation=1", "sim.threads=1"),
        "validation",
        1,
        episodes=1,
    )
    env.reset()
    env.sim.write("qpos", torch.tensor([[0.0, 0, 1.5, 1, 0, 0, 0]]))
    env.sim.write("qvel", torch.tensor([[1.0, 0, 0, 0, 0, 0]]))
    env.states["wind_y"] = torch.tensor([0.5])
    command = torch.tensor([[HOVER, 0.0, 0.0, 0.0]])
    hover = env.task.robot.action.action(command)
    env.step(hover)  # the force of the first step belongs to the start that was overwritten
    speed = env.sim.bind("qvel")[0, :2].double()
    factor = 1.0 - TIMESTEP * NUMBERS["drag_x"] / NUMBERS["mass"]
    for step in range(1, 100):
        env.step(hover)
        decay = factor**step
        expected = [speed[0] * decay, 0.5 + (speed[1] - 0.5) * decay]
        np.testing.assert_allclose(env.sim.bind("qvel")[0, :2], expected, atol=1e-4)


@pytest.mark.parametrize("action", ["body_rates", "motors"])
def test_an_episode_begins_with_rotors_at_hover(action: str) -> None:
    run = compose("task=uav_hover", "randomization=none", f"robot.action={action}", "sim.threads=1")
    env = build(run, "validation", 2, episodes=2)
    env.reset()
    rotors = 4 if action == "motors" else 1
    np.testing.assert_allclose(env.sim.bind("act"), np.full((2, rotors), HOVER / rotors), rtol=1e-6)


def test_measurements_are_the_fields_of_the_free_joint() -> None:
    robot: Any = Crazyflie("motors")
    qpos, qvel = torch.arange(14.0).reshape(2, 7), torch.arange(12.0).reshape(2, 6)
    assert robot.position(qpos).tolist() == [[0, 1, 2], [7, 8, 9]]
    assert robot.attitude(qpos).tolist() == [[3, 4, 5, 6], [10, 11, 12, 13]]
    assert robot.velocity(qvel).tolist() == [[0, 1, 2], [6, 7, 8]]
    assert robot.gyro(qvel).tolist() == [[3, 4, 5], [9, 10, 11]]


def test_an_unknown_action_interface_names_the_right_ones() -> None:
    with pytest.raises(
        UserError, match=r"robot.action=motor: crazyflie has no such action interface; did you mean motors"
    ):
        Crazyflie("motor")
