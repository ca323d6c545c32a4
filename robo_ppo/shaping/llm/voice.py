"""Whoever gives answers as texts: a provider, a person, a record. What it says is checked elsewhere.

A voice is asked once for every attempt. `Recorded` (recorded.py) checks the text, keeps it in the run, and asks
again with what was refused, so that no voice needs to know of formats, budgets or records.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from robo_ppo.shaping.llm.answer_format import AnswerFormat
from robo_ppo.shaping.llm.model import Question, Usage
from robo_ppo.shaping.llm.plain_text import file_name


@dataclass(frozen=True)
class Asked:
    """A question on its way: the how-manieth of its run it is, and what an answer must look like."""

    number: int
    question: Question
    form: AnswerFormat[Any]

    @property
    def folder(self) -> str:
        """The name of its folder: 0003_judge."""
        return f"{self.number:04d}_{file_name(self.question.purpose)}"

    @property
    def text(self) -> str:
        """The words for the one who is asked, with the form of the answer."""
        return f"{self.question.text.rstrip()}\n\n{self.form.explanation()}"


@dataclass(frozen=True)
class Refused:
    """A text that was no answer, and why."""

    text: str
    why: str


@dataclass(frozen=True)
class Reply:
    """A text, and what it cost."""

    text: str
    usage: Usage


class NoReply(Exception):
    """Nothing came that could be read.

    `wait` is how long (s) to leave the other side alone if it said so; `is_final`: asking again would not help.
    """

    def __init__(self, message: str, usage: Usage, wait: float | None = None, is_final: bool = False) -> None:
        super().__init__(message)
        self.usage = usage
        self.wait = wait
        self.is_final = is_final


class Voice(Protocol):
    """Gives texts."""

    name: str  # for the record, as openai/gpt-5

    def estimate(self, asked: Asked, refused: Sequence[Refused]) -> Usage:
        """What the next reply may cost; no requests at all where nothing is paid."""
        ...

    def reply(self, asked: Asked, refused: Sequence[Refused]) -> Reply:
        """One text, after those that were refused.

        Raises:
            NoReply: none came.
            BudgetSpent: none ever will, and that is no fault.
        """
        ...
