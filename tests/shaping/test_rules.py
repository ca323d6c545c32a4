"""Each rule on packets made by hand: what it must flag, and what looks alike and is sound."""

from dataclasses import replace

import pytest

from robo_ppo.shaping.packets.packet import EnergyGain, Packet, Stalling, Term
from robo_ppo.shaping.packets.rules import rules
from tests.shaping.packets import SOUND, behaving, curve, share, with_curves

RISING = curve(-10, -5, 0, 10, 40, 60, 70, 85, 88, 93)
SETTLED = curve(-10, -5, 0, 10, 40, 60, 88, 90, 90, 90)
NOTHING = curve(*[0.0] * 10)
FAILED = replace(SOUND, success=share(0.0), return_correlation=None)


def term(name: str, part: float, *, at_end: float = 0.01, r: float | None = None, otherwise: float = 5.0) -> Term:
    return Term(name, 1.0, None, part, at_end, r, 5.0, otherwise)


def stalling(part: float, stalled: float | None, succeeded: float | None, earned: float = 0.1) -> Stalling:
    return Stalling(4.0, part, stalled, succeeded, earned)


HACKS: dict[str, tuple[str, Packet, Packet | None]] = {
    "success comes and goes": (
        "return without success",
        with_curves(SOUND, **{"return": RISING, "success": curve(0, 0, 0, 0.1, 0.6, 0.8, 0.6, 0.3, 0.1, 0.1)}),
        None,
    ),
    "success never comes": (
        "return without success",
        with_curves(FAILED, **{"return": SETTLED, "success": NOTHING}),
        None,
    ),
    "failures are paid more": ("failure pays", replace(SOUND, return_correlation=-0.8), None),
    "near_goal alone": ("one term", replace(SOUND, terms=[term("near_goal", 0.95, r=-0.8)]), None),
    "alive alone, nobody succeeds": ("one term", replace(FAILED, terms=[term("alive", 0.9)]), None),
    "a bonus for failing": ("one term", replace(SOUND, terms=[term("crash", 0.9, at_end=1.0, r=-1.0)]), None),
    "waiting pays more than arriving": ("stalling", behaving(SOUND, stalling=stalling(0.19, 102.0, 51.0)), None),
    "waiting is all there is": ("stalling", behaving(FAILED, stalling=stalling(1.0, 80.0, None, 0.9)), None),
    "arriving late": ("longer episodes", behaving(SOUND, success_seconds=4.0), SOUND),
    "lasting instead of arriving": (
        "longer episodes",
        replace(behaving(SOUND, episode_seconds=5.5), success=share(0.3)),
        SOUND,
    ),
    "bang-bang": ("saturated actions", behaving(SOUND, saturated=0.7), None),
    "thrown up by a contact": ("energy from nothing", behaving(SOUND, energy=EnergyGain(0.6, 3.0, 5.0, 8)), None),
}


@pytest.mark.parametrize("what", HACKS)
def test_a_hack_is_flagged_with_its_numbers(what: str) -> None:
    name, packet, parent = HACKS[what]
    flags = rules(packet, parent)
    assert [flag.name for flag in flags] == [name]
    assert any(character.isdigit() for character in flags[0].message)


ALIKE: dict[str, tuple[Packet, Packet | None]] = {
    "learned what it should": (SOUND, SOUND),
    "not trained enough yet": (with_curves(FAILED, **{"return": RISING, "success": NOTHING}), None),
    "nothing was learned at all": (
        with_curves(FAILED, **{"return": curve(-10, -12, -9, -10, -11), "success": curve(*[0.0] * 5)}),
        None,
    ),
    "a harder level of the curriculum": (
        with_curves(
            SOUND,
            **{
                "return": curve(-5, 0, 5, 9, 9, 6, 7, 8, 8, 8),
                "success": curve(0, 0.3, 0.6, 0.9, 0.9, 0.5, 0.6, 0.6, 0.6, 0.6),
            },
        ),
        None,
    ),
    "few successes say nothing of pay": (replace(SOUND, success=share(0.02), return_correlation=-0.8), None),
    "a bonus for success is most of the return": (
        replace(SOUND, terms=[term("success_bonus", 0.95, at_end=1.0, otherwise=0.0)]),
        None,
    ),
    "a penalty for failure is, while all fail": (
        replace(FAILED, terms=[term("failure", 0.95, at_end=1.0, otherwise=-10.0)]),
        None,
    ),
    "progress alone, and it pays for success": (replace(SOUND, terms=[term("progress", 0.95, r=0.7)]), None),
    "progress alone, and all succeed": (replace(SOUND, success=share(1.0), terms=[term("progress", 0.95)]), None),
    "it cannot hold still yet": (behaving(SOUND, stalling=stalling(0.4, 3.0, 11.0)), None),
    "it cannot hold still at all, and is not paid for it": (
        behaving(FAILED, stalling=stalling(0.9, -1.0, None, 0.05)),
        None,
    ),
    "a little slower than its parent": (behaving(SOUND, success_seconds=3.0), SOUND),
    "flies on where its parent crashed": (
        behaving(SOUND, episode_seconds=5.0),
        replace(behaving(SOUND, episode_seconds=1.0, success_seconds=None), success=share(0.0)),
    ),
    "a task that gives nothing of it": (behaving(replace(SOUND, curves={}), stalling=None, energy=None), None),
}


@pytest.mark.parametrize("what", ALIKE)
def test_what_looks_alike_is_not(what: str) -> None:
    packet, parent = ALIKE[what]
    assert rules(packet, parent) == []


def test_no_parent_no_comparison() -> None:
    assert rules(behaving(SOUND, success_seconds=40.0)) == []
