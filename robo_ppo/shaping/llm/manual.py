"""`llm=manual`: the questions go into a folder, and the answers are what somebody puts beside them.

    0001_propose/question.md      to read, or to paste into a chat window together with the pictures
    0001_propose/answer.md        to save the chat's answer in: prose with one ```json block, or as answer.json
    0001_propose/answer.error.txt what was wrong with it, if something was; mend the answer and save it again

It waits as long as it takes. Ctrl-C ends the waiting; `resume=` waits at the same question, and takes an answer that
came in between.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from robo_ppo.shaping.documents import write
from robo_ppo.shaping.llm import archive
from robo_ppo.shaping.llm.answer_format import LONGEST, BadAnswer
from robo_ppo.shaping.llm.model import Usage
from robo_ppo.shaping.llm.plain_text import printable
from robo_ppo.shaping.llm.voice import Asked, Refused, Reply

_NAMES = ("answer.json", "answer.md")


class Manual:
    """Waits for files."""

    def __init__(
        self, folder: Path, *, poll: float = 0.5, patience: float = 3.0, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Questions go below `folder`, which is looked at every `poll` seconds.

        A file that cannot be read may be half saved: it is believed after it has not changed for `patience` seconds.
        """
        self.name = "manual"
        self._folder = folder
        self._poll = poll
        self._patience = patience
        self._sleep = sleep

    def estimate(self, asked: Asked, refused: Sequence[Refused]) -> Usage:
        """A person's time is not counted."""
        return Usage()

    def reply(self, asked: Asked, refused: Sequence[Refused]) -> Reply:
        """What the answer file holds, once there is one that has not been refused."""
        folder = self._folder / asked.folder
        archive.put_question(folder, asked)
        complaint = folder / "answer.error.txt"
        if refused:
            write(complaint, refused[-1].why + "\n")
            print(f"llm=manual: the answer is refused: {printable(refused[-1].why)}", flush=True)
            print(f"llm=manual: mend {folder / 'answer.json'} (or answer.md) and save it again", flush=True)
        else:
            print(
                f"llm=manual: question {asked.number} ({asked.question.purpose}) is {folder / 'question.md'}\n"
                "            put the answer beside it as answer.json, or as answer.md with a ```json block; "
                "Ctrl-C ends, resume= comes back to it",
                flush=True,
            )
        text = self._wait(folder, asked, {item.text for item in refused})
        complaint.unlink(missing_ok=True)
        return Reply(text, Usage())

    def _wait(self, folder: Path, asked: Asked, known: set[str]) -> str:
        """The first text that is new, and whole as far as one can tell."""
        last, unchanged = None, 0.0
        while True:
            text = _newest(folder)
            if text is not None and text not in known and text == last:
                unchanged += self._poll
                if unchanged >= self._patience or _is_whole(text, asked):
                    return text
            else:
                last, unchanged = text, 0.0
            self._sleep(self._poll)


def _is_whole(text: str, asked: Asked) -> bool:
    try:
        asked.form.read(text)
    except BadAnswer:
        return False
    return True


def _newest(folder: Path) -> str | None:
    """The text of the answer file that was saved last; None where there is none, or none that can be read just now."""
    try:
        files = [path for path in (folder / name for name in _NAMES) if path.is_file()]
        if not files:
            return None
        with open(max(files, key=lambda path: path.stat().st_mtime_ns), "rb") as file:
            return file.read(4 * LONGEST).decode("utf-8-sig", "replace")
    except OSError:
        return None
