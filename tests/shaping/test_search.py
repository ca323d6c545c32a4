"""The search without a model: everything that it proposes passes the gate, and it proposes the same again."""

import dataclasses

import numpy as np
import pytest

from robo_ppo.env.language import Program, parse, program_of
from robo_ppo.run.compose import compose
from robo_ppo.shaping import search
from robo_ppo.shaping.gate import passed
from robo_ppo.shaping.prompt import Briefing
from robo_ppo.shaping.proposer import Request, Tried
from robo_ppo.shaping.search import Search
from robo_ppo.shaping.search_columns import Columns
from robo_ppo.shaping.search_space import Space
from tests.shaping.loops import GOOD, OVERRIDES, gate, reward
from tests.shaping.packets import SOUND, config_of


@pytest.fixture(autouse=True)
def mended_in_fewer_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_MENDS", 150)


POOR = ("uav_hover_poor_weights", "uav_hover_poor_hurry", "uav_hover_poor_beside")
LIBRARY = Briefing(config_of(*OVERRIDES), programs=False).library


def request(given: Program, count: int = 2, number: int = 1, *, tried: tuple[Tried, ...] = ()) -> Request:
    leader = Tried("given", given, 0.0, 2)
    return Request(number, count, leader, [leader, *tried], [])


def given(reward: str) -> Program:
    return program_of(compose("task=uav_hover", f"reward={reward}").reward, "A test.")


@pytest.mark.parametrize("reward", POOR)
def test_from_a_reward_that_the_gate_refuses_to_some_that_it_passes(reward: str) -> None:
    poor = given(reward)
    assert not passed(gate().judge(poor))
    proposals, usage = Search(gate(), LIBRARY, seed=0).propose(request(poor))
    assert len({one.program.text for one in proposals}) == 2
    assert all(passed(gate().judge(one.program)) for one in proposals)
    assert usage.requests == 0


def test_the_same_seed_and_history_propose_the_same_and_others_do_not() -> None:
    def texts(seed: int, asked: Request) -> list[str]:
        return [one.program.text for one in Search(gate(), LIBRARY, seed).propose(asked)[0]]

    asked = request(given(POOR[0]))
    first = texts(0, asked)
    assert first == texts(0, asked)
    assert not set(first) & set(texts(1, asked))
    assert not set(first) & set(texts(0, request(given(POOR[0]), number=2)))
    # What was tried is not proposed again.
    tried = tuple(Tried(str(n), parse(text, "tried"), 0.5, 1) for n, text in enumerate(first))
    assert not set(first) & set(texts(0, request(given(POOR[0]), tried=tried)))


def test_terms_speak_against_the_ends_that_they_pay_less_for() -> None:
    columns = Columns(gate(), reward(GOOD))
    assert columns.against("failure", "failure", {}) > 1.0 > 0.1 > columns.against("failure", "success_bonus", {})
    assert columns.against("timeout", "success_bonus", {}) > 1.0 > 0.1 > columns.against("timeout", "failure", {})
    space = Space.of(LIBRARY, reward(GOOD))
    start = space.point(reward(GOOD), columns)
    grown: set[str] = set()
    for seed in range(20):
        point = space.leaning(start, "failure", columns, np.random.default_rng(seed))
        changed = {key for key in point if point[key] != start[key]}
        assert 1 <= len({key.partition(":")[0] for key in changed}) <= 2
        grown |= {key for key in changed if key.endswith(":share") and point[key] > start[key]}
    assert "failure:share" in grown
    assert "success_bonus:share" not in grown


@pytest.mark.parametrize(("outcome", "fault"), [("ground", "failures"), ("timeout", "timeouts"), ("success", None)])
def test_some_proposals_are_made_against_what_the_leaders_policy_does_wrong(outcome: str, fault: str | None) -> None:
    packet = dataclasses.replace(SOUND, outcomes={"success": 20, outcome: 180})
    leader = Tried("r01_c02", reward(GOOD), 0.1, 2, packet=packet)
    proposals, _ = Search(gate(), LIBRARY, seed=0).propose(Request(2, 6, leader, [leader], []))
    told = [one.reason for one in proposals if "against its" in one.reason]
    assert told == ([f"r01_c02 against its {fault}, mended"] * len(told) if fault else [])
    assert bool(told) == (fault is not None)


def test_terms_of_the_leaders_own_program_take_part() -> None:
    own = parse(
        '"""Own."""\nversion = 1\nweights = {"slow": {"weight": 0.5, "least": 0.0}, "progress": 3.0}\n\n'
        "def slow(speed, *, most=0.4, least):\n    return -square(relu(speed - most)) + least\n",
        "own.py",
    )
    proposals, _ = Search(gate(), LIBRARY, seed=0).propose(request(own, 3))
    assert all("slow" in one.program.weights and "slow" in one.program.functions for one in proposals)
    assert len({one.program.weights["slow"]["weight"] for one in proposals}) > 1
    assert len({one.program.weights["slow"]["most"] for one in proposals}) > 1
    assert {one.program.weights["slow"]["least"] for one in proposals} == {0.0}  # which no factor varies
