"""The choice by words: stems, weights against hand-computed numbers, and ties."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robo_ppo.library.keywords import by_words, ranked, stem_of, stems

CARDS = {"nav": "Fly around columns to a goal", "gate": "Fly through a gate", "hover": "Hold a place, hovering"}


@pytest.mark.parametrize(
    "group",
    [
        "fly flies flying",
        "column columns",
        "gate gates gated",
        "stop stops stopping stopped",
        "hover hovers hovering hovered",
        "place places placing placed",
        "box boxes",
        "land landing landed lands",
    ],
)
def test_forms_of_a_word_have_one_stem(group: str) -> None:
    assert len({stem_of(word) for word in group.split()}) == 1


@pytest.mark.parametrize("word", ["ring", "wing", "speed", "axis", "class", "bus", "red", "spring"])
def test_what_only_looks_like_an_ending_stays(word: str) -> None:
    assert stem_of(word) == word


def test_words_that_every_sentence_has_say_nothing() -> None:
    assert stems("Please go to the gate, and through it!") == {"gat": "gate"}
    assert stems("  ?!  ") == {}


def test_a_drone_is_a_uav() -> None:
    assert list(stems("drone quadrotors navigation navigating")) == ["uav", "nav"]


def test_the_weights_and_the_confidence_are_as_documented() -> None:
    match = by_words(CARDS, "flying between the columns on mars")
    assert match is not None
    on_two, on_one, on_none = math.log(4 / 2.5), math.log(4 / 1.5), math.log(4 / 0.5)
    best, second = on_one + on_two, on_two
    assert match.confidence == pytest.approx(best / (best + on_none) * (1 - second / best))
    assert (match.name, match.words, match.missing, match.tied) == ("nav", ("columns", "flying"), ("mars",), ())


def test_only_a_request_that_one_card_answers_wholly_is_certain() -> None:
    match = by_words(CARDS, "hover")
    assert match is not None and match.confidence == 1.0


def test_a_tie_is_told_and_is_worth_nothing() -> None:
    match = by_words(CARDS, "fly")
    assert match is not None
    assert (match.name, match.tied, match.confidence) == ("gate", ("nav",), 0.0)


def test_nothing_in_common_is_no_match() -> None:
    assert by_words(CARDS, "swim") is None
    assert by_words({}, "fly") is None
    assert by_words(CARDS, "") is None


def test_all_are_ranked() -> None:
    assert ranked(CARDS, "fly through the gate") == ["gate", "nav", "hover"]


@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=6), st.text(max_size=40), max_size=5), st.text(max_size=40))
def test_any_text_gets_a_sound_answer_that_the_order_of_cards_does_not_change(
    cards: dict[str, str], asked: str
) -> None:
    match = by_words(cards, asked)
    assert match == by_words(dict(reversed(cards.items())), asked)
    if match is not None:
        assert 0.0 <= match.confidence <= 1.0 and match.name in cards and match.words
