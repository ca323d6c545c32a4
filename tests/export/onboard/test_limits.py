"""Limits: from the bundle, narrowed by a file, and refused in words where they make no sense."""

from pathlib import Path
from typing import Any

import pytest

from robo_ppo_onboard.errors import UserError
from robo_ppo_onboard.safety.limits import ENVELOPE, WATCHES, Limits, read_limits

from .flights import contract


def test_a_file_narrows_the_envelope_and_sets_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "room.yaml"
    path.write_text("max_z_m: 2\nmin_x_m: -1.0\nhover_s: 4\nmax_age_s: {default: 0.1, goal: 5}\n")
    limits = Limits.of(contract(), read_limits(path))
    assert (limits.max_z_m, limits.min_x_m, limits.max_x_m, limits.hover_s) == (2, -1.0, 4.0, 4)
    assert (limits.age_of("goal", 0.02), limits.age_of("gyro", 0.02)) == (5, 0.1)
    assert Limits.of(contract()).age_of("gyro", 0.02) == 0.04
    assert limits.fence == ((0, -1.0, 4.0, "x"), (1, -4.0, 4.0, "y"), (2, 0.0, 2, "z"))


def test_a_limit_that_the_bundle_does_not_have_may_be_added() -> None:
    limits = Limits.of(contract(limits={}), {"max_speed_m_s": 2.0})
    assert limits.watched() == {"velocity": ["max_speed_m_s"]}
    assert set(Limits.of(contract()).watched()) == {"attitude", "gyro", "velocity", "position"}
    assert set(ENVELOPE) >= set(WATCHES)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"max_speed": 1.0}, "there is no 'max_speed'; did you mean max_speed_m_s"),
        ({"max_speed_m_s": 9.0}, "wider than the 5 that the policy was trained in"),
        ({"min_z_m": -1.0}, "wider"),
        ({"max_tilt_rad": None}, "wider"),
        ({"max_tilt_rad": "1.0"}, "must be a number, not '1.0'"),
        ({"max_tilt_rad": float("nan")}, "must be a number, not nan"),
        ({"hover_s": -1.0}, "must not be negative"),
        ({"hover_s": True}, "must be a number"),
        ({"min_z_m": 2.0, "max_z_m": 1.0}, "min_z_m=2.0 is not below max_z_m=1.0"),
        ({"deadline": 1.5}, "deadline=1.5"),
        ({"max_age_s": {"gaol": 1.0}}, "'gaol', which is not measured; did you mean goal"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Limits.of(contract(), given)


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [1", "is no YAML file"), ("- 1\n- 2\n", "must be a map"), (None, "cannot read the limits")],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "room.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_limits(path)


def test_an_unknown_limit_in_a_bundle_is_refused() -> None:
    with pytest.raises(UserError, match=r"the bundle's limits: there is no 'tilt'"):
        Limits.of(contract(limits={"tilt": 1.0}))
