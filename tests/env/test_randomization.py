"""Randomized parameters: each against a model that was edited by hand and stepped by `mj_step`."""

import mujoco
import numpy as np
import pytest
import torch

from robo_ppo.config import RandomizationConfig
from robo_ppo.env.randomization import Randomization
from robo_ppo.robots.crazyflie.robot import Crazyflie
from robo_ppo.run.compose import compose
from robo_ppo.sim.mujoco_cpu import MujocoCpu

FACTORS = (0.7, 1.0, 1.6)


def edit(model: mujoco.MjModel, parameter: str, factor: float) -> None:
    """What a parameter means, said once more."""
    thrusts = [i for i in range(model.nu) if model.actuator(i).name.startswith("thrust_")]
    if parameter == "mass":
        model.body_mass *= factor
        model.body_inertia *= factor
    elif parameter == "motor_gain":
        model.actuator_gainprm[thrusts, 0] *= factor
    elif parameter == "motor_lag":
        model.actuator_dynprm[thrusts, 0] *= factor
    mujoco.mj_setConst(model, mujoco.MjData(model))


@pytest.mark.parametrize("action", ["body_rates", "motors"])
@pytest.mark.parametrize("parameter", ["mass", "motor_gain", "motor_lag"])
def test_a_factor_acts_as_the_same_change_of_the_model(action: str, parameter: str) -> None:
    """Rows are applied one after the other and twice, so that factors would multiply if they built on each other."""
    robot = Crazyflie(action)
    randomization = Randomization(RandomizationConfig({parameter: [0.5, 2.0]}), robot.parameters())
    sim = MujocoCpu(robot.spec().compile(), len(FACTORS), 1)
    sim.bind("qpos")
    randomization.prepare(sim)
    for factors in (torch.tensor([1.9, 0.6, 1.1]), torch.tensor(FACTORS)):
        for row in range(len(FACTORS)):
            only = sim.rows(torch.arange(len(FACTORS)) == row)
            randomization.apply(sim, only, {f"model.{parameter}": only.take(factors)})
    models = [robot.spec().compile() for _ in FACTORS]
    data = [mujoco.MjData(model) for model in models]
    for model, factor in zip(models, FACTORS, strict=True):
        edit(model, parameter, float(np.float32(factor)))
    low, high = np.array(robot.action.lower), np.array(robot.action.upper)
    for step in range(30):
        ctrl = (low + (high - low) * np.random.default_rng(step).random(4)).astype(np.float32)
        sim.write("ctrl", torch.as_tensor(ctrl).expand(len(FACTORS), -1))
        sim.step(2)
        for model, of_world in zip(models, data, strict=True):
            of_world.ctrl[:] = ctrl
            mujoco.mj_step(model, of_world, 2)
    ends = np.stack([of_world.qpos for of_world in data])
    np.testing.assert_array_equal(sim.bind("qpos").numpy(), ends.astype(np.float32))
    assert np.abs(ends[[0, 2]] - ends[1]).max(1).min() > 1e-3, "the factor made no difference"


def test_several_parameters_of_one_field_multiply() -> None:
    robot = Crazyflie("body_rates")
    both = {"mass": [0.5, 2.0], "motor_gain": [0.5, 2.0]}
    randomization = Randomization(RandomizationConfig(both), robot.parameters())
    sim = MujocoCpu(robot.spec().compile(), 3, 1)
    randomization.prepare(sim)
    columns = {"model.mass": torch.tensor([1.5]), "model.motor_gain": torch.tensor([0.8])}
    randomization.apply(sim, sim.rows(torch.arange(3) == 1), columns)
    changed, untouched = sim.world(1)[0], sim.world(2)[0]
    np.testing.assert_allclose(changed.body_mass, 1.5 * untouched.body_mass)
    np.testing.assert_allclose(changed.body_inertia, 1.5 * untouched.body_inertia)
    np.testing.assert_allclose(changed.actuator_gainprm[0, 0], np.float32(0.8) * untouched.actuator_gainprm[0, 0])
    np.testing.assert_array_equal(changed.actuator_gainprm[1:], untouched.actuator_gainprm[1:])


def test_parameters_that_signals_read_are_states_with_their_nominal_value() -> None:
    randomization = Randomization(RandomizationConfig({"wind_x": [-1.0, 1.0]}), Crazyflie("motors").parameters())
    states = randomization.states()
    assert {name: state.initial for name, state in states.items()} == {"drag": 1, "wind_x": 0, "wind_y": 0, "wind_z": 0}
    drawn = {}
    for draw in randomization.draws().values():
        drawn |= draw(np.random.default_rng(0), 2000)
    assert list(drawn) == ["wind_x"]
    assert drawn["wind_x"].min() >= -1.0 and drawn["wind_x"].max() <= 1.0
    assert drawn["wind_x"].std() == pytest.approx(2 / np.sqrt(12), rel=0.05)


def test_nominal_varies_what_differs_between_vehicles_and_strong_varies_it_more() -> None:
    none, nominal, strong = (compose(f"randomization={name}").randomization for name in ("none", "nominal", "strong"))
    assert none.parameters == {} and none.measurement_errors == 0.0
    assert nominal.parameters["mass"] == nominal.parameters["motor_gain"] == [0.9, 1.1]
    assert set(nominal.parameters) == set(strong.parameters) == set(Crazyflie("motors").parameters())
    for name, (low, high) in nominal.parameters.items():
        assert strong.parameters[name][0] < low < high < strong.parameters[name][1]
    assert strong.measurement_errors > nominal.measurement_errors == 1.0
