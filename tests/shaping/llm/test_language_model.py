"""Questions to a person and to a record: what is kept, what is asked again, and that nothing is paid twice."""

import json
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from robo_ppo.config import LLMConfig
from robo_ppo.errors import UserError
from robo_ppo.shaping.llm.answer_format import AnswerFormat, BadAnswer, find_json
from robo_ppo.shaping.llm.budget import Budget
from robo_ppo.shaping.llm.choices import make_model
from robo_ppo.shaping.llm.manual import Manual
from robo_ppo.shaping.llm.model import BudgetSpent, NoAnswer, Picture, Question, Usage
from robo_ppo.shaping.llm.plain_text import file_name, printable
from robo_ppo.shaping.llm.recorded import Recorded
from robo_ppo.shaping.llm.voice import Asked, NoReply, Refused, Reply


@dataclass
class Edit:
    term: str
    factor: Annotated[float, Field(ge=0.0, le=4.0)]
    kind: Literal["scale", "drop"] = "scale"


@dataclass
class Edits:
    """What to change."""

    reason: str
    edits: list[Edit] = field(default_factory=list)
    settings: dict[str, float] = field(default_factory=dict)


GOOD = json.dumps({"reason": "it stalls", "edits": [{"term": "progress", "factor": 2}]})
ANSWER = Edits("it stalls", [Edit("progress", 2.0)])
PICTURE = Picture("strip ../of\nframes", b"\x89PNG\r\n\x1a\nnot a real one", "three failures")
QUESTION = Question("propose", "You shape rewards.", "Which edits?", (PICTURE,))


def fine(_: Edits) -> str | None:
    return None


class Scripted:
    """A voice that says what it was told to, and remembers what it was asked."""

    name = "scripted"

    def __init__(self, *replies: str | BaseException, usage: Usage | None = None) -> None:
        self.replies = list(replies)
        self.usage = usage or Usage(1, 100, 10, 0.5)
        self.heard: list[list[Refused]] = []

    def estimate(self, asked: Asked, refused: Sequence[Refused]) -> Usage:
        return self.usage

    def reply(self, asked: Asked, refused: Sequence[Refused]) -> Reply:
        self.heard.append(list(refused))
        reply = self.replies.pop(0)
        if isinstance(reply, BaseException):
            raise reply
        return Reply(reply, self.usage)


def recorded(voice: Scripted, folder: Path, config: LLMConfig | None = None, retries: int = 2) -> Recorded:
    from robo_ppo.shaping.llm import archive

    budget = Budget(config or LLMConfig(), archive.spent(folder))
    return Recorded(voice, folder, budget, retries=retries, sleep=lambda _: None)


def test_a_question_and_its_answer_are_kept_and_never_paid_twice(tmp_path: Path) -> None:
    voice = Scripted("no idea", GOOD, GOOD)
    model = recorded(voice, tmp_path)
    answer, usage = model.ask(QUESTION, Edits, fine)
    assert answer == ANSWER
    assert usage == Usage(2, 200, 20, 1.0)
    model.ask(Question("judge", "", "Which is better?"), Edits, fine)
    folder = tmp_path / "0001_propose"
    assert {path.name for path in folder.iterdir()} == {
        "question.md",
        "1_strip_.._of_frames.png",
        "question.json",
        "attempt_01.json",
        "attempt_02.json",
        "answer.json",
        "usage.json",
    }
    assert "![three failures](1_strip_.._of_frames.png)" in (folder / "question.md").read_text()
    assert (folder / "1_strip_.._of_frames.png").read_bytes() == PICTURE.png
    assert json.loads((folder / "answer.json").read_text())["edits"][0]["factor"] == 2.0
    assert "no JSON object" in json.loads((folder / "attempt_01.json").read_text())["error"]

    again = recorded(Scripted(), tmp_path)
    assert again.spent == Usage(3, 300, 30, 1.5)
    assert again.ask(QUESTION, Edits, fine) == (answer, usage)
    again.ask(Question("judge", "", "Which is better?"), Edits, fine)
    assert again.spent == Usage(3, 300, 30, 1.5)


def test_another_question_in_its_place_is_asked_anew_and_the_old_one_stays_paid(tmp_path: Path) -> None:
    recorded(Scripted(GOOD), tmp_path).ask(QUESTION, Edits, fine)
    model = recorded(Scripted(GOOD), tmp_path)
    model.ask(Question("propose", "You shape rewards.", "Which edits now?"), Edits, fine)
    assert model.spent == Usage(2, 200, 20, 1.0)
    assert (tmp_path / "replaced_1_0001_propose/answer.json").is_file()
    assert recorded(Scripted(), tmp_path).spent == model.spent


def test_what_was_wrong_is_told_and_asked_again(tmp_path: Path) -> None:
    voice = Scripted('{"reason": "x", "edits": [{"term": "a", "factor": 92}]}', GOOD, GOOD)
    says = iter(["weights sum to nothing", None])
    recorded(voice, tmp_path).ask(QUESTION, Edits, lambda _: next(says))
    assert [[item.why for item in heard] for heard in voice.heard] == [
        [],
        ["edits.0.factor: Input should be less than or equal to 4"],
        ["edits.0.factor: Input should be less than or equal to 4", "weights sum to nothing"],
    ]


def test_after_the_last_retry_it_is_one_message_and_resuming_tries_again(tmp_path: Path) -> None:
    silent = NoReply("the server said: \x1b[31m500", Usage(1), wait=3.0)
    with pytest.raises(UserError, match=r"no valid answer came from scripted to question 1 \(propose\)") as caught:
        recorded(Scripted("?", silent, silent), tmp_path).ask(QUESTION, Edits, fine)
    assert "\x1b" not in str(caught.value)
    voice = Scripted(GOOD)
    answer, usage = recorded(voice, tmp_path).ask(QUESTION, Edits, fine)
    assert (answer, usage.requests) == (ANSWER, 4)
    assert [item.text for item in voice.heard[0]] == ["?"]


def test_a_final_failure_and_one_that_asks_for_too_long_a_wait_are_not_repeated(tmp_path: Path) -> None:
    for index, silence in enumerate([NoReply("no such key", Usage(1), is_final=True), NoReply("busy", Usage(1), 3600)]):
        voice = Scripted(silence)
        with pytest.raises(UserError, match=r"no such key|busy"):
            recorded(voice, tmp_path / str(index)).ask(QUESTION, Edits, fine)


def test_a_process_that_was_killed_while_it_waited_has_paid(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        recorded(Scripted(KeyboardInterrupt()), tmp_path).ask(QUESTION, Edits, fine)
    model = recorded(Scripted(GOOD), tmp_path)
    assert model.spent == Usage(1, 100, 10, 0.5)
    assert model.ask(QUESTION, Edits, fine)[1] == Usage(2, 200, 20, 1.0)


@pytest.mark.parametrize(
    ("limit", "asked"),
    [
        ({"max_requests": 2}, 2),
        ({"max_input_tokens": 399}, 3),
        ({"max_output_tokens": 20}, 2),
        ({"max_dollars": 0.4}, 0),
        ({"max_dollars": 0.5}, 1),
    ],
)
def test_a_budget_ends_before_the_request_that_would_cross_it(
    tmp_path: Path, limit: dict[str, int], asked: int
) -> None:
    voice = Scripted(*[GOOD] * 9)
    model = recorded(voice, tmp_path, LLMConfig(**limit))  # pyright: ignore[reportArgumentType]
    with pytest.raises(BudgetSpent, match=next(iter(limit))):
        for number in range(9):
            model.ask(Question("propose", "", f"question {number}"), Edits, fine)
    assert len(voice.heard) == asked


def test_a_question_that_the_budget_ends_tells_what_it_had_cost(tmp_path: Path) -> None:
    model = recorded(Scripted("no idea", GOOD), tmp_path, LLMConfig(max_requests=1))
    with pytest.raises(BudgetSpent) as spent:
        model.ask(QUESTION, Edits, fine)
    assert spent.value.usage == Usage(1, 100, 10, 0.5)
    assert json.loads((tmp_path / "0001_propose/usage.json").read_text())["requests"] == 1


def test_replay_repeats_a_run_and_ends_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = recorded(Scripted("?", GOOD, GOOD), tmp_path / "old/llm")
    first.ask(QUESTION, Edits, fine)
    first.ask(QUESTION, Edits, fine)
    model = make_model(LLMConfig(name="replay", folder=str(tmp_path / "old")), tmp_path / "new")
    assert model is not None
    assert model.ask(QUESTION, Edits, fine) == (ANSWER, Usage())
    assert capsys.readouterr().out == ""
    assert model.ask(Question("propose", "", "in other words"), Edits, fine) == (ANSWER, Usage())
    assert "question 2 is not word for word the recorded one" in capsys.readouterr().out
    with pytest.raises(BudgetSpent, match="no answer to question 3"):
        model.ask(QUESTION, Edits, fine)

    resumed = make_model(LLMConfig(name="replay", folder=str(tmp_path / "old/llm")), tmp_path / "new")
    assert resumed is not None
    assert [resumed.ask(QUESTION, Edits, fine)[0] for _ in range(2)] == [ANSWER, ANSWER]


def test_replay_says_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no recorded answers"):
        make_model(LLMConfig(name="replay", folder=str(tmp_path / "nothing")), tmp_path / "new")
    with pytest.raises(UserError, match="take resume="):
        make_model(LLMConfig(name="replay", folder=str(tmp_path)), tmp_path)
    with pytest.raises(UserError, match=r"llm\.folder=runs"):
        make_model(LLMConfig(name="replay"), tmp_path)
    recorded(Scripted(GOOD), tmp_path / "llm").ask(QUESTION, Edits, fine)
    model = make_model(LLMConfig(name="replay", folder=str(tmp_path)), tmp_path / "new")
    assert model is not None
    with pytest.raises(UserError, match="is refused: too bold"):
        model.ask(QUESTION, Edits, lambda _: "too bold")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_strangers_record_is_read_to_its_bounds(tmp_path: Path) -> None:
    recorded(Scripted(GOOD), tmp_path / "llm").ask(QUESTION, Edits, fine)
    answer = tmp_path / "llm/0001_propose/answer.json"
    for number, hostile in enumerate((os.mkfifo, lambda path: path.symlink_to("/dev/zero"), _sparse)):
        answer.unlink()
        hostile(answer)
        model = make_model(LLMConfig(name="replay", folder=str(tmp_path)), tmp_path / f"new_{number}")
        assert model is not None
        with pytest.raises(UserError, match=r"not a file|more than 8 MB"):
            model.ask(QUESTION, Edits, fine)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10**12)


def manual(folder: Path) -> Manual:
    return Manual(folder, poll=0.01, patience=0.05)


def until(path: Path) -> None:
    deadline = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.005)


def test_a_person_answers_badly_then_in_halves_then_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "questions/0001_propose"

    def person() -> None:
        until(folder / "question.json")
        (folder / "answer.md").write_text("I think \x1b[2J not.")
        until(folder / "answer.error.txt")
        with open(folder / "answer.json", "w") as file:
            file.write(GOOD[:20])
            file.flush()
            time.sleep(0.03)
            file.write(GOOD[20:])

    helper = threading.Thread(target=person)
    helper.start()
    model = Recorded(
        manual(tmp_path / "questions"), tmp_path / "llm", Budget(LLMConfig(max_requests=0), Usage()), retries=None
    )
    assert model.ask(QUESTION, Edits, fine) == (ANSWER, Usage())
    helper.join()
    out = capsys.readouterr().out
    assert f"question 1 (propose) is {folder / 'question.md'}" in out
    assert "the answer is refused: there is no JSON object" in out
    assert "\x1b" not in out
    assert not (folder / "answer.error.txt").exists()
    assert "Which edits?" in (folder / "question.md").read_text()
    assert (folder / "1_strip_.._of_frames.png").is_file()


def test_after_ctrl_c_it_waits_at_the_same_question(tmp_path: Path) -> None:
    folder = tmp_path / "questions/0001_propose"

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    voice = Manual(tmp_path / "questions", sleep=interrupt)
    with pytest.raises(KeyboardInterrupt):
        Recorded(voice, tmp_path / "llm", Budget(LLMConfig(), Usage()), retries=None).ask(QUESTION, Edits, fine)
    (folder / "answer.md").write_text(f"Here you are:\n\n```json\n{GOOD}\n```\nGood luck!")
    again = Recorded(manual(tmp_path / "questions"), tmp_path / "llm", Budget(LLMConfig(), Usage()), retries=None)
    assert again.ask(QUESTION, Edits, fine) == (ANSWER, Usage())


def test_an_old_answer_is_not_taken_for_a_new_question(tmp_path: Path) -> None:
    """A folder that was used before: what lies in it answers something else."""
    voice = manual(tmp_path)
    form = AnswerFormat(Edits)
    (tmp_path / "0001_propose").mkdir()
    (tmp_path / "0001_propose/question.json").write_text('{"hash": "of another question"}')
    (tmp_path / "0001_propose/answer.json").write_text(GOOD)
    answers = threading.Timer(0.2, lambda: (tmp_path / "0001_propose/answer.json").write_text('{"reason": "new"}'))
    answers.start()
    assert json.loads(voice.reply(Asked(1, QUESTION, form), []).text) == {"reason": "new"}
    assert (tmp_path / "replaced_1_0001_propose/answer.json").read_text() == GOOD


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("[1, 2]", r"must be a JSON object \{…\}, not \[1, 2\]"),
        ('{"reason": ', "not valid or not whole"),
        ("{}", "reason: Field required"),
        ('{"reason": "x", "seting": 1}', "seting: there is no such field; it has reason, edits, settings"),
        (
            '{"reason": "x", "edits": [{"term": "a", "factor": 1, "kindd": "drop"}]}',
            r"edits\.0\.kindd: there is no such",
        ),
        ('{"reason": "x", "edits": [{"term": "a", "factor": 92}]}', "less than or equal to 4"),
        ('{"reason": "x", "settings": {"a": NaN}}', r"settings\.a: .*finite"),
        ('{"reason": "x", "settings": {"a": 1e999}}', r"settings\.a: .*finite"),
        ('{"reason": "x", "settings": {"a": "inf"}}', r"settings\.a: .*finite"),
        ('{"reason": "\\ud800"}', "Invalid JSON: .*hex escape"),
        ("[" * 100_000, "nested too deeply|no JSON"),
        ('{"a":' * 30_000, "nested too deeply"),
        ('{"reason": ' + "9" * 10_000 + "}", "digits|valid string"),
        ("x" * 10_000_000, "10,000,000 characters"),
    ],
)
def test_what_is_no_answer_is_told(text: str, complaint: str) -> None:
    with pytest.raises(BadAnswer, match=complaint):
        AnswerFormat(Edits).read(text)


@pytest.mark.parametrize("text", ["```x\n" * 100_000, "```a\n" + ("```" + " " * 300 + "x\n") * 3000, "`" * 900_000])
def test_no_answer_is_searched_for_long(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(BadAnswer):
        find_json(text)
    assert time.monotonic() - began < 5.0


def test_answers_are_found_in_what_chat_windows_give() -> None:
    form = AnswerFormat(Edits)
    for text in (
        GOOD,
        f"\ufeff{GOOD}\n",
        f"Sure!\r\n```json\r\n{GOOD}\r\n```\r\nAnything else?",
        f"First:\n```python\nx = {{}}\n```\nthen\n```\n{GOOD}\n```",
        f"The draft\n```json\n{{}}\n```\nwas wrong, so:\n```json\n{GOOD}\n```",
        f"Here it is: {GOOD} That is all.",
    ):
        assert form.read(text) == ANSWER, text
    assert form.read(form.example())


@given(st.text())
def test_any_text_is_an_answer_or_refused(text: str) -> None:
    try:
        assert isinstance(AnswerFormat(Edits).read(text), Edits)
    except BadAnswer as error:
        assert printable(str(error)) == str(error)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from(["reason", "edits", "settings", "x"]), _JSON), st.text(alphabet="abc {}`\n"))
def test_any_json_is_an_answer_or_refused(content: dict[str, object], prose: str) -> None:
    form = AnswerFormat(Edits)
    text = json.dumps(content)
    assert json.dumps(find_json(text)) == text
    try:
        answer = form.read(f"{prose}\n```json\n{text}\n```")
    except BadAnswer:
        return
    assert form.read(json.dumps(form.plain(answer))) == answer


@given(st.text())
def test_what_is_shown_moves_no_cursor_and_what_names_files_leaves_no_folder(text: str) -> None:
    shown = printable(text)
    assert all(character in "\n\t" or character.isprintable() or character.isspace() for character in shown)
    assert "\x1b" not in shown
    assert "/" not in file_name(text)
    assert not file_name(text).startswith(".")


def test_who_can_do_without_an_answer_does_not_ask_for_it_again(tmp_path: Path) -> None:
    question = Question("judge", "", "Which is better?", optional=True)
    with pytest.raises(NoAnswer, match="no valid answer came") as caught:
        recorded(Scripted("?", "?", "?"), tmp_path).ask(question, Edits, fine)
    assert caught.value.usage.requests == 3
    with pytest.raises(NoAnswer) as caught:
        recorded(Scripted(), tmp_path).ask(question, Edits, fine)
    assert caught.value.usage.requests == 3
    with pytest.raises(UserError) as silent:
        recorded(Scripted(NoReply("500", Usage(1), is_final=True)), tmp_path / "other").ask(question, Edits, fine)
    assert not isinstance(silent.value, NoAnswer)  # a server may be there again


def test_what_is_wrong_is_told_in_bounds(tmp_path: Path) -> None:
    voice = Scripted(GOOD, GOOD)
    says = iter(["wrong " * 100_000, None])
    recorded(voice, tmp_path).ask(QUESTION, Edits, lambda _: next(says))
    assert len(voice.heard[1][0].why) < 2100


def test_a_question_of_another_purpose_takes_the_number_of_the_one_before(tmp_path: Path) -> None:
    recorded(Scripted(GOOD), tmp_path).ask(Question("judge", "", "Which is better?"), Edits, fine)
    recorded(Scripted(GOOD), tmp_path).ask(QUESTION, Edits, fine)
    assert {path.name for path in tmp_path.iterdir()} == {"0001_propose", "replaced_1_0001_judge"}
