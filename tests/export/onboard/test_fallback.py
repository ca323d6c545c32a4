"""The laws that fly when the policy may not: on the physics of the tasks, and against closed forms."""

import math

import mujoco
import numpy as np
import pytest
import torch

from robo_ppo.env.build import build
from robo_ppo.export.policy import fallback_of, ports
from robo_ppo.run.compose import compose
from robo_ppo_onboard.contract import Fallback
from robo_ppo_onboard.errors import UserError
from robo_ppo_onboard.safety import fallback
from robo_ppo_onboard.safety.fallback import KINDS, rotation
from robo_ppo_onboard.vehicle import Body

from .flights import HOVER, contract, tilted

FLIGHTS = 16


@pytest.mark.parametrize("action", ["body_rates", "motors"])
def test_any_start_of_the_hover_task_ends_level_and_sinking(action: str) -> None:
    config = compose("task=uav_hover", f"robot.action={action}", "randomization=nominal")
    environment = build(config, "test", FLIGHTS, episodes=FLIGHTS)
    _, outputs = ports(environment.interface)
    found = fallback_of(environment.interface)
    law = KINDS[found.kind](outputs, found.numbers)
    environment.reset()
    tilt = speed = torch.zeros(FLIGHTS)
    for step in range(200):
        climb = 0.0 if step < 150 else -0.4
        rows: list[list[float]] = []
        for row in range(FLIGHTS):
            known = ("position", "velocity", "attitude", "gyro")
            position, velocity, attitude, gyro = (tuple(environment.measured[n][row].tolist()) for n in known)
            body = Body(position, velocity, attitude, gyro)
            commands = law.commands(body, climb)
            rows.append([commands[port.name] for port in outputs])
        transition = environment.step(environment.interface.action.action(torch.tensor(rows)), restart=False)
        tilt = torch.acos(transition.values["upright"].clamp(-1, 1)).rad2deg()
        drift, speed = transition.values["velocity"][:, :2].norm(dim=1), transition.values["velocity"][:, 2]
        if step == 149:
            assert float(tilt.max()) < 12.0
            assert float(drift.max()) < 3.0
            # Masses and motors 10 % off: without an integral, a speed is left over.
            assert float(speed.abs().max()) < 0.5
    assert float(tilt.max()) < 5.0
    assert float(speed.mean()) == pytest.approx(-0.4, abs=0.15)


def test_the_rotation_matrix_is_mujocos() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        quaternion = rng.normal(size=4)
        quaternion /= np.linalg.norm(quaternion)
        expected = np.empty(9)
        mujoco.mju_quat2Mat(expected, quaternion)
        np.testing.assert_allclose(np.array(rotation(tuple(quaternion.tolist()))).ravel(), expected, atol=1e-12)


def test_level_flight_takes_the_weight_and_a_tilt_is_taken_back() -> None:
    law = KINDS["level_rates"](contract().outputs, contract().fallback.numbers)
    level = law.commands(Body(attitude=(1.0, 0.0, 0.0, 0.0), velocity=(0.0, 0.0, 0.0)))
    assert level == pytest.approx({"collective_thrust": HOVER, "roll_rate": 0.0, "pitch_rate": 0.0, "yaw_rate": 0.0})
    rolled = law.commands(Body(attitude=tilted(30.0), velocity=(0.0, 0.0, 0.0)))
    assert rolled["roll_rate"] == pytest.approx(-math.sin(math.radians(30.0)) / 0.2)
    assert rolled["collective_thrust"] == pytest.approx(HOVER / math.cos(math.radians(30.0)))
    assert law.commands(Body(attitude=tilted(170.0)))["collective_thrust"] == 0.08, "no thrust towards the ground"


def test_a_drift_is_braked_with_ten_degrees_at_most() -> None:
    law = KINDS["level_rates"](contract().outputs, contract().fallback.numbers)
    for speed, lean in ((0.5, math.atan(0.5 / 9.81)), (50.0, math.atan(fallback.MOST_BRAKING / 9.81))):
        commands = law.commands(Body(attitude=(1.0, 0.0, 0.0, 0.0), velocity=(speed, 0.0, 0.0)))
        assert commands["pitch_rate"] == pytest.approx(-math.sin(lean) / 0.2), "nose up against a way forward"
        assert commands["roll_rate"] == pytest.approx(0.0)


def test_blind_it_does_not_turn_and_sinks() -> None:
    law = KINDS["level_rates"](contract().outputs, contract().fallback.numbers)
    commands = law.commands(Body(), 0.0)
    assert commands["collective_thrust"] == pytest.approx(fallback.SINKING * HOVER)
    assert [commands[name] for name in ("roll_rate", "pitch_rate", "yaw_rate")] == [0.0] * 3


def test_constant_gives_its_numbers_within_the_limits() -> None:
    outputs = contract().outputs
    law = KINDS["constant"](outputs, {"collective_thrust": 9.0, "roll_rate": 0.0, "pitch_rate": 1.0, "yaw_rate": 0.0})
    assert law.commands(Body())["collective_thrust"] == 0.8
    assert law.commands(Body())["pitch_rate"] == 1.0


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Fallback("level_rate", {"mass": 1.0, "tilt_time": 0.2}), "did you mean level_rates"),
        (Fallback("level_rates", {"mass": 1.0}), "lacks tilt_time"),
        (Fallback("level_rates", {"mass": 1.0, "tilt_time": 0.0}), "tilt_time=0, which must be greater than 0"),
        (Fallback("constant", {"roll_rate": 0.0}), "lacks collective_thrust"),
        (Fallback("level_motors", {"mass": 1.0}), "lacks tilt_time, inertia_x"),
    ],
)
def test_a_fallback_that_cannot_fly_is_refused(broken: Fallback, message: str) -> None:
    with pytest.raises(UserError, match=message):
        fallback.fallback_of(contract(fallback=broken))
