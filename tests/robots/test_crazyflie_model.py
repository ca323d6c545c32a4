"""The Crazyflie's MJCF and its parameter file describe one vehicle."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "robots" / "crazyflie"
ROTORS = {"front_left": (1, 1), "front_right": (1, -1), "back_left": (-1, 1), "back_right": (-1, -1)}


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    """The vehicle as shipped."""
    return mujoco.MjModel.from_xml_path(str(FOLDER / "crazyflie.xml"))


@pytest.fixture(scope="module")
def parameters() -> dict[str, float]:
    """The numbers of parameters.yaml."""
    return yaml.safe_load((FOLDER / "parameters.yaml").read_text(encoding="utf-8"))


def test_every_parameter_is_a_number(parameters: dict[str, float]) -> None:
    assert all(isinstance(value, int | float) for value in parameters.values())


def test_mass_and_inertia_agree(model: mujoco.MjModel, parameters: dict[str, float]) -> None:
    body = model.body("crazyflie")
    assert body.mass[0] == pytest.approx(parameters["mass"], rel=1e-12)
    expected = [parameters["inertia_x"], parameters["inertia_y"], parameters["inertia_z"]]
    np.testing.assert_allclose(body.inertia, expected, rtol=1e-12)
    np.testing.assert_array_equal(body.ipos, 0.0)
    np.testing.assert_array_equal(body.iquat, [1.0, 0.0, 0.0, 0.0])
    assert model.body_mass.sum() == pytest.approx(parameters["mass"], rel=1e-12)


def test_mass_matrix_is_the_rigid_bodys(model: mujoco.MjModel, parameters: dict[str, float]) -> None:
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    full = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, full)
    diagonal = [parameters["mass"]] * 3 + [parameters[f"inertia_{axis}"] for axis in "xyz"]
    np.testing.assert_allclose(full, np.diag(diagonal), atol=1e-15)


def test_rotors_sit_where_the_parameters_say(model: mujoco.MjModel, parameters: dict[str, float]) -> None:
    offset = parameters["rotor_offset"]
    for name, (forward, left) in ROTORS.items():
        np.testing.assert_allclose(model.site(f"rotor_{name}").pos[:2], [forward * offset, left * offset], rtol=1e-12)
    np.testing.assert_array_equal(model.site("imu").pos, 0.0)


def test_it_is_one_free_body_that_touches_nothing(model: mujoco.MjModel) -> None:
    assert (model.nq, model.nv, model.nu, model.nbody) == (7, 6, 0, 2)
    assert model.joint("root").type == mujoco.mjtJoint.mjJNT_FREE
    assert not model.geom_contype.any() and not model.geom_conaffinity.any()
    assert (model.geom_group == 2).all()
    for flag in (mujoco.mjtDisableBit.mjDSBL_CONTACT, mujoco.mjtDisableBit.mjDSBL_AUTORESET):
        assert model.opt.disableflags & flag
    assert (model.opt.timestep, model.opt.integrator) == (0.005, mujoco.mjtIntegrator.mjINT_EULER)


def test_the_picture_is_symmetrical_in_left_and_right(model: mujoco.MjModel) -> None:
    """Mirrored in the x-z plane, the set of geom positions and sizes is the same."""
    rows = np.hstack([model.geom_pos, model.geom_size])
    mirrored = rows * [1, -1, 1, 1, 1, 1]

    def ordered(table: np.ndarray) -> list[tuple[float, ...]]:
        return sorted(tuple(row) for row in (table.round(9) + 0.0).tolist())

    assert ordered(rows) == ordered(mirrored)


def test_equal_rotor_thrusts_accelerate_it_straight_up(model: mujoco.MjModel, parameters: dict[str, float]) -> None:
    """Four forces of 0.15 N at the rotor sites: no rotation, and the vertical acceleration of Newton's law."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    for name in ROTORS:
        site, body = model.site(f"rotor_{name}").id, model.body("crazyflie").id
        force = np.array([0.0, 0.0, 0.15])
        mujoco.mj_applyFT(model, data, force, np.zeros(3), data.site_xpos[site], body, data.qfrc_applied)
    mujoco.mj_forward(model, data)
    expected = [0.0, 0.0, 4 * 0.15 / parameters["mass"] - 9.81, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(data.qacc, expected, atol=1e-9)


def test_torque_limits_leave_the_hover_thrust_alone(parameters: dict[str, float]) -> None:
    """All three limits at once need no rotor outside its range at hover, and use most of what there is."""
    hover = parameters["mass"] * 9.81 / 4
    margin = min(hover - parameters["rotor_thrust_min"], parameters["rotor_thrust_max"] - hover)
    needed = (
        parameters["torque_max_roll"] / (4 * parameters["rotor_offset"])
        + parameters["torque_max_pitch"] / (4 * parameters["rotor_offset"])
        + parameters["torque_max_yaw"] / (4 * parameters["rotor_torque_per_thrust"])
    )
    assert 0.95 * margin < needed <= margin


def test_opposite_rotors_turn_alike(parameters: dict[str, float]) -> None:
    sign = {name: parameters[f"rotor_yaw_sign_{name}"] for name in ROTORS}
    assert sign["front_left"] == sign["back_right"] == -sign["front_right"] == -sign["back_left"]
