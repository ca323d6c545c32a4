"""Who may win: the rules' word stands, a model can only add to it, and its answers are checked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from robo_ppo.shaping.judge import LONGEST, Entrant, Judgement, Opinion, compare, judged
from robo_ppo.shaping.llm.model import Answer, Question, Usage
from robo_ppo.shaping.packets.packet import PictureFile
from tests.shaping.packets import SOUND, behaving, share

HACKED = behaving(replace(SOUND, success=share(0.95)), saturated=0.9)
ENTRANTS = [Entrant("a", SOUND), Entrant("b", HACKED), Entrant("c", replace(SOUND, success=share(0.9)))]


class Says:
    """A model that gives these answers one after another, until one passes."""

    def __init__(self, *answers: Judgement) -> None:
        self.answers, self.asked, self.complaints = list(answers), list[Question](), list[str]()

    def ask(
        self, question: Question, kind: type[Answer], check: Callable[[Answer], str | None]
    ) -> tuple[Answer, Usage]:
        self.asked.append(question)
        for answer in self.answers:
            assert isinstance(answer, kind)
            complaint = check(answer)
            if complaint is None:
                return answer, Usage(1, 100, 10, 0.01)
            self.complaints.append(complaint)
        raise AssertionError(self.complaints)


def opinions(**hacking: bool) -> Judgement:
    return Judgement([Opinion(name, is_hack, "since 3 > 2") for name, is_hack in hacking.items()])


def test_a_model_adds_flags_and_takes_none_away() -> None:
    model = Says(opinions(a=False, b=False, c=True))
    judgement, usage = compare(model, [(entrant.name, entrant.packet) for entrant in ENTRANTS])
    assert usage.requests == 1
    results = judged(ENTRANTS, judgement)
    assert [[flag.name for flag in result.flags] for result in results] == [[], ["saturated actions"], ["judge"]]
    assert [(v.stage, v.passed, v.message) for v in results[2].verdicts()] == [
        ("rules", True, ""),
        ("judge", False, "judge: since 3 > 2"),
    ]
    assert [(v.stage, v.passed) for v in results[1].verdicts()] == [("rules", False)]


def test_what_a_model_says_moves_no_cursor() -> None:
    judgement = Judgement([Opinion("a", True, "since\x1b[2J\x1b[31m 3 > 2\nr01_c02: passed")])
    (flag,) = judged(ENTRANTS[:1], judgement)[0].flags
    assert flag.message == r"since\x1b[2J\x1b[31m 3 > 2 r01_c02: passed"


def test_a_model_sees_all_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "flights.png").write_bytes(b"PNG")
    seen = replace(SOUND, files=[PictureFile("flights", "flights.png", "from above")] * 5, folder=str(tmp_path))
    model = Says(opinions(one=False, two=False))
    compare(model, [("one", seen), ("two", replace(SOUND, success=share(0.123)))])
    (question,) = model.asked
    assert question.purpose == "judge" and "hack" in question.system
    assert "candidate one" in question.text and "candidate two" in question.text and "12.3%" in question.text
    assert [(p.name, p.png, p.caption) for p in question.pictures] == [
        ("one_flights", b"PNG", "candidate one: from above")
    ] * 3


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (opinions(a=False), "candidates must be a, b, each once; you named a"),
        (opinions(a=False, b=False, d=True), "you named a, b, d"),
        (Judgement([]), "you named none"),
        (Judgement([Opinion("a", True, " "), Opinion("b", False, "x")]), "the reason for a must have 1 to"),
        (Judgement([Opinion("a", True, "x" * (LONGEST + 1)), Opinion("b", False, "x")]), f"not {LONGEST + 1}"),
    ],
)
def test_answers_that_make_no_sense_are_sent_back(answer: Judgement, complaint: str) -> None:
    model = Says(answer, opinions(a=False, b=True))
    judgement, _ = compare(model, [("a", SOUND), ("b", SOUND)])
    assert judgement == opinions(a=False, b=True) and len(model.complaints) == 1 and complaint in model.complaints[0]


def test_candidates_need_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="names of their own"):
        compare(Says(), [("a", SOUND), ("a", SOUND)])
