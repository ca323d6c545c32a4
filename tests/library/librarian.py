"""What the tests of the library share: a model that answers what it is told to, and policies to put on the shelf."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar, cast

from PIL import Image

from robo_ppo.run.folder import shipped_policies
from robo_ppo.shaping.llm.model import Question, Usage

Answer = TypeVar("Answer")
NAV, HOVER = shipped_policies()["uav_nav"], shipped_policies()["uav_hover"]


class Parrot:
    """A model that gives prepared answers, one after another, and believes no check unless it is told to."""

    def __init__(self, *answers: object, obeys: bool = False) -> None:
        self._answers = list(answers)
        self._obeys = obeys
        self.asked: list[Question] = []
        self.told: list[str] = []

    def ask(
        self, question: Question, kind: type[Answer], check: Callable[[Answer], str | None]
    ) -> tuple[Answer, Usage]:
        self.asked.append(question)
        for answer in self._answers:
            wrong = check(cast(Answer, answer))
            self.told.append(wrong or "")
            if wrong is None or not self._obeys:
                return cast(Answer, answer), Usage(requests=len(self.told))
        raise AssertionError("no answer was right")


def picture(path: Path, size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Path:
    Image.new(mode, size, 200).save(path)
    return path


def names(paths: Sequence[Path]) -> list[str]:
    return sorted(path.name for path in paths)
