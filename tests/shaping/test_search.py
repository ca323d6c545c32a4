"""The search without a model: everything that it proposes passes the gate, and it proposes the same again."""

import pytest

from robo_ppo.env.language import Program, parse, program_of
from robo_ppo.run.compose import compose
from robo_ppo.shaping import search
from robo_ppo.shaping.gate import passed
from robo_ppo.shaping.prompt import Briefing
from robo_ppo.shaping.proposer import Request, Tried
from robo_ppo.shaping.search import Search
from tests.shaping.loops import OVERRIDES, gate
from tests.shaping.packets import config_of


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


def test_terms_of_the_leaders_own_program_take_part() -> None:
    own = parse(
        '"""Own."""\nversion = 1\nweights = {"slow": 0.5, "progress": 3.0}\n\n'
        "def slow(speed, *, most=0.4):\n    return -square(relu(speed - most))\n",
        "own.py",
    )
    proposals, _ = Search(gate(), LIBRARY, seed=0).propose(request(own, 3))
    assert all("slow" in one.program.weights and "slow" in one.program.functions for one in proposals)
    assert len({one.program.weights["slow"]["weight"] for one in proposals}) > 1
    assert len({one.program.weights["slow"]["most"] for one in proposals}) > 1
