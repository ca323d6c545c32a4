"""`llm=replay`: the answers of an earlier run, in their order; nobody is asked and nothing is paid.

    python refine.py task=uav_nav llm=replay llm.folder=runs/refine_uav_nav/…     # a run, or its llm/ folder

The answer to the third question is the third answer, whatever the question says now: programs change their wording,
and simulators are exact on one machine only. Where a question differs it is told, once. After the last answer the loop
ends.
"""

from collections.abc import Sequence
from pathlib import Path

from robo_ppo.errors import UserError
from robo_ppo.shaping.llm import archive
from robo_ppo.shaping.llm.model import BudgetSpent, Usage
from robo_ppo.shaping.llm.voice import Asked, NoReply, Refused, Reply


class Replay:
    """Reads a record."""

    def __init__(self, folder: Path) -> None:
        """A record to read.

        Raises:
            UserError: there is no answer in it.
        """
        inner = folder / "llm"
        self._folder = inner if inner.is_dir() else folder
        self.name = "replay"
        self._has_told = False
        if not sorted(self._folder.glob("[0-9]*/answer.json")):
            raise UserError(
                f"llm=replay: {folder} holds no recorded answers; llm.folder must be a run that asked a model, "
                "or its llm/ folder (0001_propose/answer.json, …)"
            )

    def estimate(self, asked: Asked, refused: Sequence[Refused]) -> Usage:
        """Nothing is paid."""
        return Usage()

    def reply(self, asked: Asked, refused: Sequence[Refused]) -> Reply:
        """The recorded answer of the same number."""
        found = sorted(self._folder.glob(f"{asked.number:04d}_*/answer.json"))
        found.sort(key=lambda path: path.parent.name != asked.folder)  # one of the same purpose first
        if not found:
            raise BudgetSpent(f"the record in {self._folder} has no answer to question {asked.number}")
        if refused:
            raise NoReply(f"the recorded answer in {found[0]} is refused: {refused[-1].why}", Usage(), is_final=True)
        recorded = archive.read_json(found[0].with_name("question.json")).get("hash")
        if recorded is not None and recorded != archive.hash_of(asked) and not self._has_told:
            self._has_told = True
            print(
                f"llm=replay: question {asked.number} is not word for word the recorded one; "
                "its answer is taken all the same, and what follows may differ from the recorded run"
            )
        try:
            return Reply(archive.read_text(found[0]), Usage())
        except (OSError, ValueError) as error:
            raise NoReply(f"{found[0]} cannot be read: {error}", Usage(), is_final=True) from None
