"""What a card shows of an evaluation, in which a stranger's bundle may have anything that JSON can say."""

from dataclasses import replace
from typing import Any

import pytest

from robo_ppo.errors import UserError
from robo_ppo.library.cards import Card, card_from_json, card_to_json, headline, means, name_from
from robo_ppo_onboard.bundle import read_bundle
from tests.library.librarian import NAV

CARD = Card("gate", "Fly", "uav_gate", "crazyflie", 0.02, None, "0" * 64, "", "2026-11-22")


def with_evaluation(evaluation: dict[str, Any] | None) -> Card:
    return replace(CARD, evaluation=evaluation)


def test_a_card_survives_its_file() -> None:
    card = replace(CARD, evaluation=read_bundle(NAV).contract.evaluation, text="Größe\u202e ✈")
    assert card_from_json(card_to_json(card)) == card


@pytest.mark.parametrize(
    ("evaluation", "shown"),
    [
        (None, "not evaluated"),
        ({}, "not evaluated"),
        ({"episodes": 9, "success": {"value": 0.5, "low": 0.25, "high": 0.75}}, "50.0% (25.0% … 75.0%) of 9"),
        ({"success": {"value": 0.5, "low": 0.25, "high": 0.75}}, "50.0% (25.0% … 75.0%)"),
        ({"success": {"value": 1e300, "low": 0, "high": 1e300}}, "not evaluated"),
        ({"success": {"value": 10**400, "low": 0, "high": 1}}, "not evaluated"),
        ({"success": 0.5}, "not evaluated"),
        ({"success": {"value": "0.5", "low": None, "high": True}}, "not evaluated"),
        ({"episodes": 10, "metrics": {"return": {"mean": 1234.56}}}, "return 1235 of 10"),
        ({"episodes": "\x1b", "metrics": {"return": {"mean": "1"}}}, "not evaluated"),
        ({"metrics": [1]}, "not evaluated"),
    ],
)
def test_the_headline(evaluation: dict[str, Any] | None, shown: str) -> None:
    assert headline(with_evaluation(evaluation)) == shown


def test_means_of_what_has_one() -> None:
    metrics = {
        "speed": {"mean": 2},
        "a\x1b[2Jb": {"mean": 0.5},
        "none": {"mean": None},
        "huge": {"mean": 10**400},
        "x": 1,
    }
    assert means(with_evaluation({"metrics": metrics})) == {"speed": 2.0, "a [2Jb": 0.5}


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"a": found}
    return found


@pytest.mark.parametrize(
    ("evaluation", "message"), [(nested(5000), "nested too deep"), ({"a": "b" * 200_000}, "too long for a card")]
)
def test_an_evaluation_that_fits_no_card_is_told(evaluation: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        card_to_json(with_evaluation(evaluation))


def test_a_name_from_a_task() -> None:
    assert name_from("Isaac-Reach/Franka v0") == "isaac-reach_franka_v0"
    with pytest.raises(UserError, match="is no name"):
        name_from("✈")
