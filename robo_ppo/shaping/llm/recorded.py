"""The `Model` that the loop asks: any voice, with its answers checked, its budget kept and every word of it on disk.

    model = Recorded(voice, run_folder / "llm", budget, retries=3)
    proposals, usage = model.ask(question, Proposals, check)        # <run>/llm/0001_propose/

The loop is resumed by running it again from its start. The n-th question then finds the n-th folder: if it is the same
question, what came then is read again, and only what is missing is asked and paid for. Another question in its place
sets the folder aside and is asked anew.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Generic

from robo_ppo.errors import UserError
from robo_ppo.shaping.documents import write_json
from robo_ppo.shaping.llm import archive, keys
from robo_ppo.shaping.llm.answer_format import AnswerFormat, BadAnswer
from robo_ppo.shaping.llm.archive import Attempt
from robo_ppo.shaping.llm.budget import Budget
from robo_ppo.shaping.llm.model import Answer, BudgetSpent, NoAnswer, Question, Usage
from robo_ppo.shaping.llm.plain_text import one_line, printable
from robo_ppo.shaping.llm.voice import Asked, NoReply, Refused, Voice

_LONGEST_PAUSE = 60.0  # s between attempts, where the other side names no time
_LONGEST_PROBLEM = 2000  # characters, which are sent back and paid for
_HIDDEN = "(a text with a key, written so that it was found only when it was read)"
_IN_FLIGHT = "no answer was seen: the process ended while it waited; counted at the most that it may have cost"


class Recorded:
    """Asks a voice, checks and keeps what it says."""

    def __init__(
        self,
        voice: Voice,
        folder: Path,
        budget: Budget,
        *,
        retries: int | None,
        longest_wait: float = 120.0,
        pause: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """A model whose record is `folder`.

        After an attempt that failed it asks `retries` times more (None: for ever). A server that asks to be left alone
        for longer than `longest_wait` (s) ends it; where none says how long, it pauses `pause`, then twice as long.
        """
        self._voice = voice
        self._folder = folder
        self._budget = budget
        self._retries = retries
        self._longest_wait = longest_wait
        self._pause = pause
        self._sleep = sleep
        self._number = 0

    @property
    def spent(self) -> Usage:
        """What all questions of this run have cost, those of earlier sessions included."""
        return self._budget.spent

    def ask(
        self, question: Question, kind: type[Answer], check: Callable[[Answer], str | None]
    ) -> tuple[Answer, Usage]:
        """See `Model.ask`; the usage is what this question has cost in all, whenever that was."""
        self._number += 1
        asked = Asked(self._number, question, AnswerFormat(kind))
        inquiry = _Inquiry(self._folder / asked.folder, asked, check)
        answer = inquiry.kept()
        if answer is None:
            try:
                answer = self._asked(inquiry)
            except BudgetSpent as spent:  # which attempts at this very question may have done
                inquiry.close(None)
                raise BudgetSpent(str(spent), inquiry.usage) from None
        inquiry.close(answer)
        return answer, inquiry.usage

    def _asked(self, inquiry: "_Inquiry[Answer]") -> Answer:
        """The first answer that passes, after as many attempts as are allowed."""
        failures = len(inquiry.refused) if inquiry.asked.question.optional else 0
        silence = None
        while not self._is_enough(failures, silence):
            if silence is not None:
                pause = min(self._pause * 2.0 ** (failures - 1), _LONGEST_PAUSE)
                self._sleep(pause if silence.wait is None else silence.wait)
            attempt, silence = self._attempt(inquiry)
            answer = inquiry.take(attempt)
            if answer is not None:
                return answer
            failures += 1
        inquiry.close(None)
        why = (
            f"no valid answer came from {self._voice.name} to question {inquiry.asked.number} "
            f"({one_line(inquiry.asked.question.purpose)}): {one_line(inquiry.problem, 800)} "
            f"(attempts: {failures}; they are kept in {inquiry.folder})"
        )
        raise UserError(why) if silence is not None else NoAnswer(why, inquiry.usage)

    def _is_enough(self, failures: int, silence: NoReply | None) -> bool:
        if silence is not None and (silence.is_final or (silence.wait or 0.0) > self._longest_wait):
            return True
        return self._retries is not None and failures > self._retries

    def _attempt(self, inquiry: "_Inquiry[Answer]") -> tuple[Attempt, NoReply | None]:
        """Ask once. Before it waits, the record says that it asks: a process that is killed then may have paid."""
        expected = self._voice.estimate(inquiry.asked, inquiry.refused)
        self._budget.allow(expected)
        if expected.requests:
            inquiry.put(Attempt(None, _IN_FLIGHT, expected))
        silence = None
        try:
            reply = self._voice.reply(inquiry.asked, inquiry.refused)
            attempt = Attempt(reply.text, None, reply.usage)
        except NoReply as error:
            attempt, silence = Attempt(None, str(error), error.usage), error
        self._budget.add(attempt.usage)
        inquiry.put(attempt)
        return attempt, silence


def _holds_secret(answer: object) -> bool:
    """Whether a secret of the environment stands in an answer: JSON can write one so that its text does not show it."""
    text = json.dumps(answer, ensure_ascii=False)
    return keys.hide(text) != text


class _Inquiry(Generic[Answer]):
    """One question on its way to an answer, and its folder."""

    def __init__(self, folder: Path, asked: Asked, check: Callable[[Answer], str | None]) -> None:
        archive.put_question(folder, asked)
        self.folder = folder
        self.asked = asked
        self.refused: list[Refused] = []
        self.usage = Usage()
        self.problem = ""
        self._check = check
        self._count = 0  # of attempts that were taken

    def kept(self) -> Answer | None:
        """The answer that came in an earlier session."""
        answer = None
        for attempt in archive.attempts(self.folder):
            answer = self.take(attempt) if answer is None else answer
        return answer

    def put(self, attempt: Attempt) -> None:
        """Keep the attempt that will be taken next."""
        archive.put_attempt(self.folder, self._count + 1, attempt)

    def take(self, attempt: Attempt) -> Answer | None:
        """Look at an attempt: the answer in it, or None and why in `problem`."""
        answer = None
        if attempt.text is None:
            self.problem = attempt.error or "no answer"
        else:
            try:
                answer = self.asked.form.read(attempt.text)
                self.problem = printable(self._check(answer) or "", _LONGEST_PROBLEM)
            except BadAnswer as error:
                self.problem = printable(str(error), _LONGEST_PROBLEM)
            text = attempt.text
            if answer is not None and _holds_secret(self.asked.form.plain(answer)):
                text, self.problem = _HIDDEN, "it holds what looks like a key; an answer has no use for one"
            if self.problem:
                answer = None
                self.refused.append(Refused(text, self.problem))
                self.put(replace(attempt, text=text, error=self.problem))
        self.usage += attempt.usage
        self._count += 1
        return answer

    def close(self, answer: Answer | None) -> None:
        """Write the answer, where there is one, and what the question has cost."""
        if answer is not None:
            write_json(self.folder / "answer.json", self.asked.form.plain(answer))
        write_json(self.folder / "usage.json", asdict(self.usage))
