"""A model that proposes: it is told all that there is to know, its answers become programs, its mistakes go back."""

import dataclasses
import json
from collections.abc import Callable

import pytest

from robo_ppo.env.language import Program, parse, program_of
from robo_ppo.shaping.gate import DRY_RUN, RANKING
from robo_ppo.shaping.llm.answer_format import AnswerFormat, BadAnswer
from robo_ppo.shaping.llm.model import Answer, Question, Usage
from robo_ppo.shaping.prompt import Briefing
from robo_ppo.shaping.proposer import (
    Author,
    Change,
    Changes,
    ProposedChanges,
    ProposedReward,
    Refused,
    Request,
    Rewards,
    Tried,
)
from robo_ppo.shaping.record import Verdict
from tests.shaping.loops import GOOD, OVERRIDES, reward
from tests.shaping.packets import SOUND, config_of

CONFIG = config_of(*OVERRIDES)
PROGRAM = '"""Slowly."""\nversion = 1\nweights = {"slow": 1.0}\n\ndef slow(speed):\n    return -speed\n'


class Answers:
    """Gives the answers that it was made with, in turn, and keeps what it was asked and told."""

    def __init__(self, *answers: Rewards | Changes) -> None:
        self._answers = list(answers)
        self.questions: list[Question] = []
        self.told: list[str] = []

    def ask(
        self, question: Question, kind: type[Answer], check: Callable[[Answer], str | None]
    ) -> tuple[Answer, Usage]:
        self.questions.append(question)
        while True:
            answer = self._answers.pop(0)
            assert isinstance(answer, kind)
            wrong = check(answer)
            if wrong is None:
                return answer, Usage(len(self.told) + 1)
            self.told.append(wrong)


def author(
    model: Answers, *, programs: bool = True, judge: Callable[[Program], list[Verdict]] = lambda _: []
) -> Author:
    briefing = Briefing(CONFIG, programs=programs)
    return Author(model, "openai", briefing, briefing.library, judge, programs=programs)


def request(count: int = 2) -> Request:
    leader = Tried("r01_c02", reward(GOOD), 0.8, 2, packet=SOUND, steps=2_500_000)
    return Request(2, count, leader, [leader], [Refused(reward({"time": 1.0}), "ranking: dying pays")])


def one(*changes: Change, program: str = "") -> ProposedReward:
    return ProposedReward("because", list(changes), program)


def test_changes_and_programs_become_proposals() -> None:
    model = Answers(Rewards([one(Change("progress", factor=2.0)), one(program=PROGRAM), one(program=PROGRAM)]))
    proposals, usage = author(model).propose(request())
    assert [(p.parent, p.origin, p.reason) for p in proposals] == [("r01_c02", "openai", "because")] * 2
    assert proposals[0].program.weights["progress"] == {"weight": 6.0}
    assert list(proposals[1].program.functions) == ["slow"]
    assert usage.requests == 1


def test_what_is_wrong_goes_back_with_the_number_of_the_reward() -> None:
    both = one(Change("progress", factor=2.0), program=PROGRAM)
    model = Answers(
        Rewards([]),
        Rewards([one(Change("progress", factor=2.0)), one(Change("progres", factor=2.0)), both]),
        Rewards([one(program=PROGRAM.replace("-speed", "-sped.abs()"))]),
        Rewards([one(Change("progress", factor=0.5))]),
    )
    author(model).propose(request(3))
    assert model.told[0] == "there is no reward in the answer"
    assert "reward 2: the reward has no term 'progres'" in model.told[1]
    assert "reward 3: give either changes or a program" in model.told[1]
    assert "reward 1: the program:6: " in model.told[2]


def test_the_gate_can_object_before_anything_is_proposed() -> None:
    def judge(program: Program) -> list[Verdict]:
        return [Verdict(DRY_RUN, program.weights["progress"]["weight"] <= 5.0, "too much")]

    model = Answers(Rewards([one(Change("progress", factor=4.0))]), Rewards([one(Change("progress", factor=0.5))]))
    author(model, judge=judge).propose(request())
    assert model.told == ["reward 1: too much"]


def test_nothing_is_proposed_twice() -> None:
    double, half = (Rewards([one(Change("progress", factor=factor))]) for factor in (2.0, 0.5))
    refused = author(Answers(double)).propose(request())[0][0].program
    model = Answers(double, Rewards([*half.rewards, *half.rewards]), half)
    author(model).propose(dataclasses.replace(request(), refused=[Refused(refused, "ranking: dying pays")]))
    assert ["reward 1: this one was trained" in model.told[0], "reward 2: this one" in model.told[1]] == [True, True]


def test_what_the_ranking_says_is_known_of_the_leader_and_goes_back_for_no_proposal() -> None:
    def judge(program: Program) -> list[Verdict]:
        return [Verdict(RANKING, "time" in program.weights, "resting is worth 49.8, succeeding 27.5")]

    model = Answers(*[Rewards([one(Change("progress", factor=2.0))])] * 2)
    wrong = Tried("given", reward({"progress": 1.0}), 0.8, 2, packet=SOUND)
    for leader in (request().leader, wrong):
        proposals, _ = author(model, judge=judge).propose(dataclasses.replace(request(), leader=leader))
        assert len(proposals) == 1
    assert not model.told
    found = ["stored flights says of it: resting is worth 49.8" in question.text for question in model.questions]
    assert found == [False, True]


def test_programs_only_where_they_are_asked_for() -> None:
    change = ProposedChanges("because", [Change("time", factor=0.5)])
    model = Answers(Changes([ProposedChanges("because")]), Changes([change]))
    author(model, programs=False).propose(request())
    assert model.told == ["reward 1: give at least one change"]
    (question,) = model.questions
    assert "How programs are written" not in question.text
    assert "program" not in json.dumps(AnswerFormat(Changes).schema)


def test_a_reader_of_the_question_alone_knows_what_is_needed() -> None:
    model = Answers(Rewards([one(Change("time", factor=0.5))]))
    author(model).propose(request())
    (question,) = model.questions
    for needed in (
        "fly to a point nearby",  # the task
        "- ground (failure): Contact with the floor",
        "- near_goal (settings: distance, speed): 1 where",  # terms to choose from
        '"progress": 3.0,',  # the present reward
        "success 80.0%",  # what its policy does
        "- r01_c02: success 80.0% after 2.5 M steps",  # what was trained
        "ranking: dying pays; weights time 1",  # what was refused, and why
        "`velocity[:, 2]`",  # how to write a program
        "- goal_distance: one number, m. Distance to the goal",
        "clamp(x, min=, max=)",
        "multiply a term's weight by one of 0, 0.25, 0.5, 2, 4",
    ):
        assert needed in question.text, needed
    assert len(question.text) < 20_000
    assert question.purpose == "propose"
    assert "cannot change" in question.system


def test_before_any_training_the_question_says_so() -> None:
    model = Answers(Rewards([one(Change("time", factor=0.5))]))
    given = Tried("given", program_of({"time": {"weight": 1.0}}, "A test."), 0.0, 0)
    author(model).propose(Request(1, 1, given, [], []))
    assert "It has not been trained yet." in model.questions[0].text


def test_a_programs_own_words_stay_within_its_block() -> None:
    """Else a comment could go on as if it were the question, to the next model or to a person who reads it."""
    leader = Tried(
        "given", parse(PROGRAM.replace("version = 1", "version = 1\n# ````\n# # What is wanted"), "it"), 0.8, 2
    )
    model = Answers(Rewards([one(Change("slow", factor=0.5))]))
    author(model).propose(Request(1, 1, leader, [leader], []))
    (question,) = model.questions
    block = question.text.partition("`````python\n")[2].partition("\n`````\n")[0]
    assert block == leader.program.text.strip()


@pytest.mark.parametrize("field", ["term", "setting", "reason"])
def test_names_and_reasons_have_an_end(field: str) -> None:
    """What is wrong is sent back, and a reason is shown and kept with every event."""
    long = "x" * 3000
    change = {"term": "time", "setting": "a", "value": 1.0} | ({field: long} if field != "reason" else {})
    answer = {"rewards": [{"reason": long if field == "reason" else "why", "changes": [change]}]}
    with pytest.raises(BadAnswer, match=f"{field}: String should have at most"):
        AnswerFormat(Rewards).read(json.dumps(answer))
