"""Energy that nothing gave, on worlds whose energy is known: pendulums, a motor, a body inside the floor."""

import mujoco
import numpy as np
import pytest
import torch

from robo_ppo.env.build import build
from robo_ppo.run.episodes import run_episodes
from robo_ppo.shaping.packets.energy import EnergyMeter, flown_again, largest_rise
from tests.run.by_hand import hovering
from tests.shaping.packets import config_of

PENDULUM = """
<mujoco><option timestep="0.002" integrator="{integrator}"/>
<worldbody><body><joint name="hinge" axis="0 1 0" damping="{damping}"/>
<geom type="capsule" fromto="0 0 0 .5 0 0" size=".02" mass="1"/></body></worldbody>
<actuator><general joint="hinge" gainprm="{gain}" biasprm="0 -{gain} -{rate}" biastype="affine"/></actuator></mujoco>
"""


def pendulum(integrator: str = "Euler", gain: float = 0.0, rate: float = 0.0, damping: float = 0.0) -> mujoco.MjModel:
    text = PENDULUM.format(integrator=integrator, gain=gain, rate=rate, damping=damping)
    return mujoco.MjModel.from_xml_string(text)


def flown(model: mujoco.MjModel, *commands: float) -> tuple[np.ndarray, np.ndarray, mujoco.MjData]:
    data = mujoco.MjData(model)
    energy, work = flown_again(model, data, [{"ctrl": np.array([command])} for command in commands], 5)
    return energy, work, data


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast", "RK4"])
@pytest.mark.parametrize("damping", [0.0, 0.1])
def test_a_pendulum_that_nobody_drives_gains_nothing(integrator: str, damping: float) -> None:
    energy, work, _ = flown(pendulum(integrator, damping=damping), *[0.0] * 200)
    fall = 1.0 * 9.81 * 0.25  # J, from level to the lowest point
    np.testing.assert_allclose(work, 0.0, atol=1e-12)
    assert largest_rise(energy - work) < 0.01 * fall
    if damping:
        assert energy[0] - energy[-1] > 0.5 * fall


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast", "RK4"])
def test_what_a_servo_gives_is_what_the_pendulum_has(integrator: str) -> None:
    energy, work, data = flown(pendulum(integrator, gain=40.0, rate=4.0), *[0.0] * 20, *[-1.0] * 100)
    lifted = 9.81 * 0.25 * np.sin(-float(data.qpos[0]))
    assert lifted > 1.5  # it stands nearly where it was told to
    assert energy[-1] - energy[0] == pytest.approx(lifted, rel=0.02)
    assert largest_rise(energy - work) < 0.02 * np.abs(np.diff(work)).sum()


def test_a_floor_that_throws_a_body_up_is_seen() -> None:
    """A flaw to live on: begin inside the floor, and be pushed out."""
    model = mujoco.MjModel.from_xml_string("""
        <mujoco><option timestep="0.002"/><worldbody><geom type="plane" size="5 5 1"/>
        <body pos="0 0 0.02"><freejoint/><geom size="0.1" mass="1" solref="0.02 0.2"/></body></worldbody></mujoco>""")
    energy, work = flown_again(model, mujoco.MjData(model), [{"ctrl": np.zeros(0)}] * 40, 5)
    assert largest_rise(energy - work) > 0.5 * (np.abs(np.diff(work)).sum() + np.ptp(energy))


def test_the_largest_rise_is_found_behind_a_fall() -> None:
    assert largest_rise(np.array([5.0, 1.0, 3.0, 0.0, 2.5])) == 2.5
    assert largest_rise(np.array([3.0, 2.0])) == 0.0 == largest_rise(np.zeros(0))


def test_a_recorded_flight_is_flown_again_exactly() -> None:
    environment = build(config_of("randomization=nominal"), "validation", 4, episodes=4)
    model = hovering(config_of())
    environment.reset()
    meter = EnergyMeter(environment, flights=3)
    last: dict[int, np.ndarray] = {}

    def watch(transition, running) -> None:  # pyright: ignore[reportMissingParameterType, reportUnknownParameterType]
        meter.watch(transition, running)
        for row in torch.nonzero(running).flatten().tolist():
            last[row] = transition.values["qpos"][row].numpy().copy()

    run_episodes(environment, lambda seen: model.actor(model.normalizer("policy")(seen["policy"])), watch=watch)
    found = meter.gain()
    assert found is not None and found.flights == 3 and found.share < 0.02
    for row in range(3):
        # float32 shows what both have in float64.
        np.testing.assert_array_equal(meter.world(row).qpos.astype(np.float32), last[row])
