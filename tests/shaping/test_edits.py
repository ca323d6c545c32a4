"""Edits change what they name, in words that a person reads, and a wrong one says what would be right."""

import pytest

from robo_ppo.env.language import parse, program_of
from robo_ppo.errors import UserError
from robo_ppo.shaping.edits import Edit, Library, edited

LIBRARY: Library = {"progress": {}, "failure": {}, "near_goal": {"distance": None, "speed": 0.5}}
REWARD = program_of({"progress": {"weight": 2.0}, "failure": {"weight": 10.0}}, "A test.")
OWN = parse(
    '"""A test."""\nversion = 1\nweights = {"slow": 1.0, "progress": 2.0}\n\n'
    "def slow(speed, *, most=0.3):\n    return -relu(speed - most)\n",
    "own.py",
)


def test_factors_additions_and_settings() -> None:
    edits = [
        Edit("progress", factor=4.0),
        Edit("failure", factor=0.0),
        Edit("near_goal", weight=0.1),
        Edit("near_goal", setting="distance", value=0.3),
    ]
    assert edited(REWARD, edits, LIBRARY).weights == {
        "progress": {"weight": 8.0},
        "near_goal": {"weight": 0.1, "distance": 0.3},
    }
    assert [str(edit) for edit in edits] == [
        "progress ×4",
        "failure ×0",
        "near_goal with weight 0.1",
        "near_goal.distance = 0.3",
    ]


def test_a_term_of_the_program_itself_stays_there_with_a_weight_of_0() -> None:
    without = edited(OWN, [Edit("slow", factor=0.0)], LIBRARY)
    assert without.weights["slow"] == {"weight": 0.0, "most": 0.3}
    assert edited(without, [Edit("slow", weight=2.0)], LIBRARY).weights["slow"] == {"weight": 2.0, "most": 0.3}
    assert edited(OWN, [Edit("slow", setting="most", value=0.1)], LIBRARY).weights["slow"]["most"] == 0.1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit("progress"), "exactly one of"),
        (Edit("progress", factor=2.0, weight=1.0), "exactly one of"),
        (Edit("progress", setting="distance"), "exactly one of"),
        (Edit("progress", factor=3.0), "one of 0, 0.25, 0.5, 2, 4, not 3"),
        (Edit("progres", factor=2.0), "did you mean progress"),
        (Edit("progress", weight=2.0), "has 'progress' already"),
        (Edit("near_gaol", weight=2.0), "did you mean near_goal"),
        (Edit("near_goal", weight=2.0), "near_goal.distance must be given a value"),
        (Edit("near_goal", weight=-2.0), "greater than 0"),
        (Edit("near_goal", weight=float("nan")), "not a finite number"),
        (Edit("progress", setting="distance", value=1.0), "has no settings"),
        (Edit("near_goal", setting="distance", value=1.0), "no term 'near_goal' to be set"),
    ],
)
def test_what_cannot_be_done_is_told(edit: Edit, message: str) -> None:
    with pytest.raises(UserError, match=message):
        edited(REWARD, [edit], LIBRARY)


def test_something_of_the_reward_is_left() -> None:
    with pytest.raises(UserError, match="at least one term"):
        edited(REWARD, [Edit("progress", factor=0.0), Edit("failure", factor=0.0)], LIBRARY)
