"""A language model as the loop sees it: one question with pictures in, one validated answer and what it cost out.

    answer, usage = model.ask(Question("propose", system, text, pictures), Proposals, check)

Who answers is a choice in `conf/llm/` (`choices.py`): a provider, a person with a folder, or an earlier run's record.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from robo_ppo.errors import UserError

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Picture:
    """A PNG that goes with a question."""

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Question:
    """What a model is asked: who it is to be, the task in words, and pictures."""

    purpose: str  # a word for the record: propose, judge, select
    system: str
    text: str
    pictures: tuple[Picture, ...] = ()
    optional: bool = False  # whoever asks goes on without an answer: if none was valid, it is not asked again


@dataclass(frozen=True)
class Usage:
    """What answers cost."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    dollars: float | None = 0.0  # None: nobody knows the price

    def __add__(self, other: "Usage") -> "Usage":
        known = self.dollars is not None and other.dollars is not None
        return Usage(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            (self.dollars or 0.0) + (other.dollars or 0.0) if known else None,
        )


class BudgetSpent(Exception):
    """No more questions may be asked; the loop ends with what it has. `usage`: what this one had cost before."""

    def __init__(self, why: str, usage: Usage | None = None) -> None:
        super().__init__(why)
        self.usage = usage or Usage()


class NoAnswer(UserError):
    """Answers came, and none was valid. `usage`: what they have cost."""

    def __init__(self, why: str, usage: Usage) -> None:
        super().__init__(why)
        self.usage = usage


class Model(Protocol):
    """Answers questions."""

    def ask(
        self, question: Question, kind: type[Answer], check: Callable[[Answer], str | None]
    ) -> tuple[Answer, Usage]:
        """An answer of a dataclass's kind that passes `check`, and what it cost.

        `check` says what is wrong with an answer, or None; a model is told and may try again a few times. A dataclass's
        bounds (`Annotated[float, Field(ge=0, le=4)]`), its Literals, and that it has no other keys are checked before.

        Raises:
            BudgetSpent: the budget does not allow another request.
            NoAnswer: no valid answer came.
            UserError: nobody could be reached.
        """
        ...
