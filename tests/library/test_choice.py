"""Choosing: the right policy, or a refusal that says what there is, whatever a model answers."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from robo_ppo.errors import UserError
from robo_ppo.library import choice as choices
from robo_ppo.library.choice import Choice, pick_by_model, pick_by_words
from robo_ppo.library.pictures import read_picture
from robo_ppo.library.shelf import Entry, Shelf, read_shelf
from robo_ppo.shaping.llm.model import BudgetSpent, Question, Usage
from tests.library.librarian import HOVER, NAV, Parrot, picture

SHIPPED = read_shelf(Path("no library"))


def shelf_of(texts: Mapping[str, str], broken: Mapping[str, str] | None = None) -> Shelf:
    card = SHIPPED.entries["uav_nav"].card
    entries = {name: Entry(replace(card, name=name, task="", text=text), NAV) for name, text in texts.items()}
    return Shelf(Path("library"), entries, broken or {})


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        ("Fly to a goal between columns, please", NAV),
        ("a drone that navigates around a column", NAV),
        ("hover", HOVER),
        ("recover from a large tilt and hold the pose", HOVER),
    ],
)
def test_words_find_the_shipped_policies(request_: str, path: Path) -> None:
    pick = pick_by_words(SHIPPED, request_)
    assert pick.entry.bundle == path and 0.3 <= pick.confidence <= 1.0
    assert pick.reason.startswith("words on its card: ")


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ("dance", "no policy has a word of that on its card"),
        ("fly through the gate", r"uav_hover, uav_nav are equally near \(words on its card: fly; on no card: gate\)"),
        ("land on a platform in the rain between columns", "nothing fits: the nearest is uav_nav .* confidence of 0.1"),
        (" \n", "say what the policy shall do"),
        ("x" * 2001, "the request has 2001 characters"),
    ],
)
def test_words_refuse_what_does_not_fit(request_: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as refused:
        pick_by_words(SHIPPED, request_)
    assert len(request_) > 100 or not request_.strip() or "\n  uav_nav: Fly to a goal" in str(refused.value)


def test_a_refusal_tells_what_is_broken_too() -> None:
    with pytest.raises(UserError, match="gate cannot be used: its bundle is missing"):
        pick_by_words(shelf_of({"a": "fly"}, {"gate": "its bundle is missing"}), "gate")


def test_a_model_chooses_with_a_reason() -> None:
    model = Parrot(Choice("uav_nav", 0.8, "It flies\naround\x1b[31m columns."))
    pick = pick_by_model(model, SHIPPED, "to the far wall")
    assert (pick.entry.bundle, pick.confidence, pick.reason) == (NAV, 0.8, "It flies around [31m columns.")


def test_a_model_sees_the_cards_the_metrics_and_the_pictures(tmp_path: Path) -> None:
    card = picture(tmp_path / "card.png")
    entry = SHIPPED.entries["uav_nav"]
    shelf = replace(SHIPPED, entries={**SHIPPED.entries, "uav_nav": replace(entry, picture=card)})
    model = Parrot(Choice("uav_nav", 1.0, "yes"))
    pick_by_model(model, shelf, 'to the "far" wall', read_picture(picture(tmp_path / "scene.jpg")))
    (asked,) = model.asked
    assert asked.purpose == "select" and "do not follow" in asked.system
    document = json.loads(asked.text.partition("\n\nWhich")[0])
    assert document["request"] == 'to the "far" wall'
    assert [shown["name"] for shown in document["cards"]] == ["uav_hover", "uav_nav"]
    shown = document["cards"][1]
    assert shown["does"] == entry.card.text and shown["success"] == "99.2% (98.4% … 99.6%) of 1000"
    assert shown["mean"]["time_to_goal"] == pytest.approx(4.781)
    assert [picture.name for picture in asked.pictures] == ["scene", "uav_nav"]
    assert all(picture.png.startswith(b"\x89PNG") for picture in asked.pictures)


NONSENSE = [
    Choice("/etc/passwd", 1.0, "a path"),
    Choice("../library/uav_nav", 1.0, "a path"),
    Choice("uav_nav.onnx", 1.0, "a file"),
    Choice("UAV_NAV", 1.0, "shouted"),
    Choice("", 1.0, "nobody"),
    Choice("uav_nav", 1.1, "too sure"),
    Choice("uav_nav", -0.1, "less than unsure"),
    Choice("uav_nav", math.nan, "no number"),
    Choice("uav_nav", math.inf, "no number"),
    Choice("uav_nav", True, "no number"),
    Choice("uav_nav", "high", "no number"),  # pyright: ignore[reportArgumentType]
    Choice(["uav_nav"], 1.0, "a list"),  # pyright: ignore[reportArgumentType]
    Choice("uav_nav", 1.0, "\x1b\n "),
    Choice("uav_nav", 1.0, None),  # pyright: ignore[reportArgumentType]
    None,
    {"name": "uav_nav", "confidence": 1.0, "reason": "no choice"},
]


@pytest.mark.parametrize("answer", NONSENSE, ids=repr)
def test_nonsense_is_refused_and_would_be_told_to_the_model(answer: object) -> None:
    with pytest.raises(UserError, match="the model's answer is of no use"):
        pick_by_model(Parrot(answer), SHIPPED, "fly")
    model = Parrot(answer, Choice("uav_hover", 0.9, "better"), obeys=True)
    assert pick_by_model(model, SHIPPED, "fly").entry.bundle == HOVER
    assert model.told[0] and not model.told[1]


def test_what_a_model_is_told_names_the_policies_and_no_control_characters() -> None:
    with pytest.raises(UserError, match=r"no policy 'a \[2J'; the name is one of uav_hover, uav_nav, or none"):
        pick_by_model(Parrot(Choice("a\x1b[2J", 1.0, "r")), SHIPPED, "fly")


def test_a_model_may_find_that_nothing_fits_or_be_unsure() -> None:
    with pytest.raises(UserError, match=r"the model finds that nothing fits: there is no gate\nthere is:\n  uav_hover"):
        pick_by_model(Parrot(Choice("none", 1.0, "there is no gate")), SHIPPED, "gate")
    with pytest.raises(UserError, match=r"would take uav_nav with a confidence of 0\.49, where 0\.5 is needed: maybe"):
        pick_by_model(Parrot(Choice("uav_nav", 0.49, "maybe")), SHIPPED, "gate")


def test_nobody_is_asked_where_there_is_nothing_to_choose_from() -> None:
    model = Parrot()
    with pytest.raises(UserError, match="there is nothing to choose from"):
        pick_by_model(model, shelf_of({}), "fly")
    assert not model.asked


def test_of_a_large_library_a_model_sees_what_shares_most_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choices, "MOST_CARDS", 2)
    shelf = shelf_of({"a": "swim", "b": "walk", "c": "fly through a gate", "d": "fly"})
    model = Parrot(Choice("c", 1.0, "yes"))
    assert pick_by_model(model, shelf, "fly through the gate").entry.card.name == "c"
    assert model.asked[0].text.endswith("One of: c, d, none.")
    with pytest.raises(UserError, match="there is no policy 'a'"):
        pick_by_model(Parrot(Choice("a", 1.0, "not shown")), shelf, "fly through the gate")


def test_a_spent_budget_is_a_message() -> None:
    class Poor:
        def ask(self, question: Question, kind: object, check: object) -> tuple[Choice, Usage]:
            raise BudgetSpent("max_requests=0")

    with pytest.raises(UserError, match="the model was not asked: max_requests=0"):
        pick_by_model(Poor(), SHIPPED, "fly")  # pyright: ignore[reportArgumentType]


def test_a_card_whose_picture_is_none_is_shown_without_it(tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"GIF89a")
    shelf = replace(SHIPPED, entries={"uav_nav": replace(SHIPPED.entries["uav_nav"], picture=bad)})
    model = Parrot(Choice("uav_nav", 1.0, "yes"))
    assert pick_by_model(model, shelf, "fly").entry.bundle == NAV
    assert not model.asked[0].pictures
