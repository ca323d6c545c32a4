"""A policy by the words of a request: stemmed, weighed by how rare they are, and nothing learned anywhere.

    match = by_words({"gate": "fly through a gate", "nav": "fly around columns"}, "flying between columns")
    match.name, match.words, match.confidence        # "nav", ("column", "fly"), 0.76

A word that stands on `n` of `N` cards weighs log((N + 1) / (n + ½)): most if no card has it, least if all have it. The
confidence is the share of the request's weight that the best card answers, times how far it is ahead of the next one.
It is no probability; it is 1 only where every word of the request is on one card and none on another.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

MOST_CHARACTERS = 2000

# Words that every sentence has.
_COMMON = frozenset(
    "a an and are as at be between but by can do for from get give go has have i in into is it its me my near need of "
    "off on one only or our over please policy so some than that the them then there this through to up use want we "
    "what where which while will with without you your".split()
)
# A task is named uav_nav, and people say drone and navigate: the same things, and no more than these.
_ALSO = {"uav": "copter drone multirotor quadcopter quadrotor", "nav": "navigate navigation"}


@dataclass(frozen=True)
class Match:
    """The card whose words answer a request best."""

    name: str
    confidence: float  # 0 to 1
    words: tuple[str, ...]  # of the request, that are on the card, the rarest first
    missing: tuple[str, ...]  # of the request, that are on no card
    tied: tuple[str, ...]  # other cards that answer it as well


def by_words(texts: Mapping[str, str], request: str) -> Match | None:
    """The card (name → text) that answers a request best, or None where not one word of it is on any."""
    scored = _scored(texts, request)
    ranking = scored.ranking()
    if not ranking or not scored.scores[ranking[0]]:
        return None
    best, others = ranking[0], ranking[1:]
    score, second = scored.scores[best], scored.scores[others[0]] if others else 0.0
    return Match(
        name=best,
        confidence=score / math.fsum(scored.weights.values()) * (1.0 - second / score),
        words=tuple(scored.asked[stem] for stem in scored.rarest_first() if stem in scored.cards[best]),
        missing=tuple(word for stem, word in scored.asked.items() if not any(stem in c for c in scored.cards.values())),
        tied=tuple(name for name in others if math.isclose(scored.scores[name], score, rel_tol=1e-9)),
    )


def ranked(texts: Mapping[str, str], request: str) -> list[str]:
    """The names of all cards, those first that have most of a request's words."""
    return _scored(texts, request).ranking()


@dataclass(frozen=True)
class _Scored:
    """Every card with the weight of the request's words that are on it."""

    asked: Mapping[str, str]  # stem → word
    weights: Mapping[str, float]  # by stem
    cards: Mapping[str, set[str]]  # name → stems
    scores: Mapping[str, float]

    def ranking(self) -> list[str]:
        return sorted(self.scores, key=lambda name: (-self.scores[name], name))

    def rarest_first(self) -> list[str]:
        return sorted(self.asked, key=lambda stem: (-self.weights[stem], stem))


def _scored(texts: Mapping[str, str], request: str) -> _Scored:
    asked = stems(request)
    cards = {name: set(stems(text)) for name, text in texts.items()}
    weights = {stem: _weight(sum(stem in card for card in cards.values()), len(cards)) for stem in asked}
    scores = {name: math.fsum(weights[stem] for stem in asked if stem in card) for name, card in cards.items()}
    return _Scored(asked, weights, cards, scores)


def stems(text: str) -> dict[str, str]:
    """The stems of a text's words that mean something, each with the first word that has it."""
    normal = unicodedata.normalize("NFKC", text[:MOST_CHARACTERS]).casefold()
    found: dict[str, str] = {}
    for word in re.findall(r"[^\W_]+", normal):
        if word not in _COMMON:
            stem = stem_of(word)
            found.setdefault(_SAME.get(stem, stem), word)
    return found


def stem_of(word: str) -> str:
    """A word without the endings of English plurals and verbs: columns → column, flies → fly, stopping → stop."""
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and re.search("[aeiouy]", rest) and not word.endswith("eed"):
            word = rest[:-1] if rest[-1] == rest[-2] and rest[-1] not in "lsz" else rest
            break
    return word.removesuffix("e") if len(word) > 3 else word


_SAME = {stem_of(word): stem for stem, words in _ALSO.items() for word in words.split()}


def _weight(cards_with_it: int, cards: int) -> float:
    return math.log((cards + 1.0) / (cards_with_it + 0.5))
