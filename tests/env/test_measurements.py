"""Errors of measurements: their statistics, and delays against samples that are shifted by hand."""

import math

import hypothesis.strategies as st
import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from robo_ppo.config import MeasurementConfig
from robo_ppo.env.measurements import DelayLine, Measured, Sensors, scaled
from robo_ppo.env.signals import Quantity
from robo_ppo.errors import UserError
from robo_ppo.sim.rows import IndexRows, Rows

CPU = torch.device("cpu")
PERIOD = 0.02
N = 4000


def sensors(num_envs: int = N, **errors: MeasurementConfig) -> Sensors:
    """Measurements by name: `attitude` is a rotation, `ranges` has 6 numbers, any other is a vector."""
    layout = [
        Measured("attitude", (4,), Quantity("quaternion"), e)
        if name == "attitude"
        else Measured(name, (6,) if name == "ranges" else (3,), Quantity("m"), e)
        for name, e in errors.items()
    ]
    return Sensors(layout, PERIOD, num_envs, CPU)


def rows(num_envs: int, *indices: int) -> Rows:
    """The given rows; without any, all."""
    mask = torch.zeros(num_envs, dtype=torch.bool)
    mask[list(indices) or slice(None)] = True
    return IndexRows(mask)


def columns(of: Sensors, num_envs: int = N, seed: int = 0) -> dict[str, Tensor]:
    drawn: dict[str, Tensor] = {}
    for name, draw in of.draws().items():
        rng = np.random.default_rng([seed, len(name)])
        drawn |= {n: torch.as_tensor(v) for n, v in draw(rng, num_envs).items()}
    return drawn


def begin(of: Sensors, true: dict[str, Tensor], generator: torch.Generator, num_envs: int = N) -> dict[str, Tensor]:
    return of.begin(rows(num_envs), true, columns(of, num_envs), generator)


def test_perfect_sensors_tell_the_truth_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    of = sensors(5, position=MeasurementConfig(), attitude=MeasurementConfig())
    true = {"position": torch.randn(5, 3), "attitude": torch.randn(5, 4)}
    for measured in (begin(of, true, generator, 5), of.read(true, generator)):
        assert all(torch.equal(measured[name], true[name]) for name in true)
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state()), "no noise, no draws"


def test_noise_has_its_standard_deviation_and_is_new_in_every_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    of = sensors(position=MeasurementConfig(noise=0.05), ranges=MeasurementConfig(noise=0.5))
    true = {"position": torch.full((N, 3), 2.0), "ranges": torch.zeros(N, 6)}
    first = begin(of, true, generator)
    second = of.read(true, generator)
    for measured in (first, second):
        error = measured["position"] - 2.0
        assert float(error.std()) == pytest.approx(0.05, rel=0.05)
        assert abs(float(error.mean())) < 4 * 0.05 / math.sqrt(3 * N)
        assert float(measured["ranges"].std()) == pytest.approx(0.5, rel=0.05)
    # Independent: between samples, between axes, between measurements.
    error = torch.cat([(m["position"] - 2.0) / 0.05 for m in (first, second)] + [second["ranges"] / 0.5], 1)
    correlation = torch.corrcoef(error.T) - torch.eye(error.shape[1])
    assert float(correlation.abs().max()) < 5 / math.sqrt(N)


def test_bias_is_constant_in_an_episode_and_differs_between_them() -> None:
    generator = torch.Generator().manual_seed(0)
    of = sensors(position=MeasurementConfig(bias=0.2), ranges=MeasurementConfig())
    true = {"position": torch.zeros(N, 3), "ranges": torch.ones(N, 6)}
    first = begin(of, true, generator)["position"]
    assert torch.equal(of.read(true, generator)["position"], first)
    assert torch.equal(of.read(true, generator)["ranges"], true["ranges"])
    assert float(first.std()) == pytest.approx(0.2, rel=0.05)
    some = rows(N, 1, 3)
    of.begin(some, some.take_all(true), some.take_all(columns(of, seed=1)), generator)
    again = of.read(true, generator)["position"]
    assert not torch.isclose(some.take(again), some.take(first)).any()
    assert torch.equal(again[~some.mask], first[~some.mask])


def test_a_rotation_is_turned_by_the_stated_angle_and_stays_one() -> None:
    generator = torch.Generator().manual_seed(0)
    of = sensors(attitude=MeasurementConfig(noise=0.05, bias=0.02))
    true = torch.nn.functional.normalize(torch.randn(N, 4, generator=generator), dim=1)
    begin(of, {"attitude": true}, generator)
    first, second = (of.read({"attitude": true}, generator)["attitude"] for _ in range(2))
    torch.testing.assert_close(first.norm(dim=1), torch.ones(N), atol=1e-6, rtol=0)

    def turned(a: Tensor, b: Tensor) -> np.ndarray:
        """Rotation vectors in the body frame from a to b, by MuJoCo."""
        vectors = np.zeros((N, 3))
        for row in range(N):
            mujoco.mju_subQuat(vectors[row], b[row].double().numpy(), a[row].double().numpy())
        return vectors

    per_axis = turned(true, first).std(0)
    np.testing.assert_allclose(per_axis, math.hypot(0.05, 0.02), rtol=0.06)
    # Between two samples the bias cancels.
    np.testing.assert_allclose(turned(first, second).std(0), 0.05 * math.sqrt(2), rtol=0.06)


def test_dropout_repeats_what_was_last_seen() -> None:
    generator = torch.Generator().manual_seed(0)
    of = sensors(position=MeasurementConfig(dropout=0.3), ranges=MeasurementConfig(dropout=0.1))

    def true(step: int) -> dict[str, Tensor]:
        return {"position": torch.full((N, 3), float(step)), "ranges": torch.full((N, 6), float(step))}

    begin(of, true(0), generator)
    last = torch.zeros(N)
    lost, lost_ranges = 0, 0
    for step in range(1, 11):
        measured = of.read(true(step), generator)
        seen = measured["position"]
        assert (seen == seen[:, :1]).all(), "a sample is lost as a whole"
        assert ((seen[:, 0] == step) | (seen[:, 0] == last)).all()
        lost += int((seen[:, 0] == last).sum())
        lost_ranges += int((measured["ranges"][:, 0] != step).sum())
        last = seen[:, 0].clone()
    assert lost / (10 * N) == pytest.approx(0.3, abs=0.01)
    assert lost_ranges / (10 * N) == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("steps", [0.0, 1.0, 2.0, 3.0])
def test_a_delay_of_whole_steps_is_a_shift(steps: float) -> None:
    line = DelayLine(2, 1, 3.0, CPU)
    line.begin(rows(2), torch.tensor([[10.0], [20.0]]), torch.full((2,), steps))
    told = [line.push(torch.tensor([[float(t)], [-float(t)]])) for t in range(1, 8)]
    shift = int(steps)
    for t, sample in enumerate(told, start=1):
        expected = [[t - shift], [shift - t]] if t > shift else [[10.0], [20.0]]
        assert sample.tolist() == expected


@given(st.floats(0.0, 2.5), st.floats(0.0, 2.5))
def test_a_delay_between_steps_is_interpolated(first: float, second: float) -> None:
    """On a ramp, linear interpolation is exact, and each environment has its own delay."""
    line = DelayLine(2, 2, 2.5, CPU)
    delay = torch.tensor([first, second])
    line.begin(rows(2), torch.zeros(2, 2), delay)
    told = torch.zeros(0)
    for t in range(1, 8):
        told = line.push(torch.tensor([[t, 2.0 * t], [t, -3.0 * t]]))
    expected = torch.stack(((7 - delay) * torch.tensor([1.0, 1.0]), (7 - delay) * torch.tensor([2.0, -3.0])), 1)
    torch.testing.assert_close(told, expected, atol=1e-5, rtol=0)


def test_beginning_anew_forgets_the_past_of_those_rows_alone() -> None:
    line = DelayLine(3, 1, 2.0, CPU)
    line.begin(rows(3), torch.zeros(3, 1), torch.tensor([2.0, 2.0, 2.0]))
    for t in (1.0, 2.0, 3.0):
        line.push(torch.full((3, 1), t))
    line.begin(rows(3, 1), torch.tensor([[50.0]]), torch.tensor([1.0]))
    assert line.push(torch.full((3, 1), 4.0)).flatten().tolist() == [2.0, 50.0, 2.0]
    assert line.push(torch.full((3, 1), 5.0)).flatten().tolist() == [3.0, 4.0, 3.0]


@settings(max_examples=20)
@given(st.floats(0.0, 0.05), st.floats(0.0, 0.05))
def test_a_measurements_delay_lies_between_its_limits(a: float, b: float) -> None:
    low, high = sorted((a, b))
    of = sensors(200, position=MeasurementConfig(delay=[low, high]))
    generator = torch.Generator().manual_seed(0)
    begin(of, {"position": torch.zeros(200, 3)}, generator, 200)
    told = torch.zeros(0)
    for t in range(1, 9):
        told = of.read({"position": torch.full((200, 3), t * PERIOD)}, generator)["position"]
    delay = 8 * PERIOD - told[:, 0]
    if high > 0.0:
        assert float(delay.min()) >= low - 1e-6 and float(delay.max()) <= high + 1e-6
        assert float(delay.mean()) == pytest.approx((low + high) / 2, abs=0.004)
        assert float(delay.std()) == pytest.approx((high - low) / math.sqrt(12), abs=0.004)
    else:
        assert torch.equal(told, torch.full((200, 3), 8 * PERIOD))


def test_noise_belongs_to_the_sample_and_travels_with_it() -> None:
    """With a delay of one step, what is told is exactly the noisy sample of the step before; dropout comes last."""
    of = sensors(8, position=MeasurementConfig(noise=0.1, delay=[PERIOD, PERIOD]))
    straight = sensors(8, position=MeasurementConfig(noise=0.1))
    one, other = torch.Generator().manual_seed(4), torch.Generator().manual_seed(4)
    true = {"position": torch.zeros(8, 3)}
    undelayed = [begin(straight, true, other, 8)["position"]]
    delayed = [begin(of, true, one, 8)["position"]]
    for _ in range(4):
        undelayed.append(straight.read(true, other)["position"])
        delayed.append(of.read(true, one)["position"])
    assert torch.equal(delayed[0], undelayed[0])
    for t in range(1, 5):
        torch.testing.assert_close(delayed[t], undelayed[t - 1], atol=1e-7, rtol=0)


def test_a_delayed_rotation_stays_a_unit_quaternion() -> None:
    of = sensors(2, attitude=MeasurementConfig(delay=[0.01, 0.01]))
    generator = torch.Generator().manual_seed(0)

    def about_z(angle: float) -> dict[str, Tensor]:
        return {"attitude": torch.tensor([[math.cos(angle / 2), 0.0, 0.0, math.sin(angle / 2)]] * 2)}

    begin(of, about_z(0.0), generator, 2)
    of.read(about_z(0.2), generator)
    told = of.read(about_z(0.6), generator)["attitude"]
    # Half a control step ago, on the way from 0.2 to 0.6 rad.
    torch.testing.assert_close(told, about_z(0.4)["attitude"], atol=1e-6, rtol=0)


def test_a_snapshot_continues_exactly() -> None:
    errors = {
        "position": MeasurementConfig(noise=0.1, bias=0.1, delay=[0.0, 0.05]),
        "attitude": MeasurementConfig(noise=0.1, delay=[0.0, 0.02]),
        "ranges": MeasurementConfig(noise=0.1, dropout=0.5),
    }
    one, other = sensors(20, **errors), sensors(20, **errors)
    generator = torch.Generator().manual_seed(0)

    def true(step: int) -> dict[str, Tensor]:
        g = torch.Generator().manual_seed(step)
        return {"position": torch.randn(20, 3, generator=g), "attitude": torch.randn(20, 4, generator=g)} | {
            "ranges": torch.randn(20, 6, generator=g)
        }

    begin(one, true(0), generator, 20)
    for step in range(1, 5):
        one.read(true(step), generator)
    saved, state = {name: value.clone() for name, value in one.carried().items()}, generator.get_state()
    expected = [one.read(true(step), generator) for step in range(5, 10)]
    other.carry(saved)
    generator.set_state(state)
    for step in range(5, 10):
        found = other.read(true(step), generator)
        assert all(torch.equal(found[name], expected[step - 5][name]) for name in errors)


def test_a_factor_scales_every_error() -> None:
    errors = MeasurementConfig(noise=0.1, bias=0.2, dropout=0.3, delay=[0.01, 0.02])
    assert scaled(errors, 2.0, "x") == MeasurementConfig(noise=0.2, bias=0.4, dropout=0.6, delay=[0.02, 0.04])
    assert scaled(errors, 0.0, "x") == MeasurementConfig(noise=0.0, bias=0.0, dropout=0.0, delay=[0.0, 0.0])


@pytest.mark.parametrize(
    ("errors", "message"),
    [
        ({"delay": [0.02, 0.01]}, r"measurements.x.delay must be \[shortest, longest\] in seconds, not \[0.02, 0.01\]"),
        ({"delay": [-0.01, 0.01]}, "measurements.x.delay must be"),
        ({"delay": [0.01]}, "measurements.x.delay must be"),
        ({"delay": [0.0, 0.01, 0.02]}, "measurements.x.delay must be"),
        ({"noise": -0.1}, "measurements.x: noise and bias must be ≥ 0, dropout in"),
        ({"bias": -0.1}, "measurements.x: noise and bias must be ≥ 0, dropout in"),
        ({"dropout": 1.0}, "measurements.x: noise and bias must be ≥ 0, dropout in"),
        ({"dropout": -0.1}, "measurements.x: noise and bias must be ≥ 0, dropout in"),
    ],
)
def test_errors_that_make_no_sense_are_refused(errors: dict[str, float | list[float]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        scaled(MeasurementConfig(**errors), 1.0, "x")  # pyright: ignore[reportArgumentType]
