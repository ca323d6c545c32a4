"""Who proposes rewards: one small protocol, whoever stands behind it.

    proposals = proposer.propose(Request(round=1, count=8, leader=…, tried=…, refused=…))

`search.Search` asks nobody (`llm=none`): Optuna chooses terms, weights and settings. `Author` asks a language model, a
person with a folder, or the record of an earlier run: all of these are a `Model`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Generic, Protocol

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as checked

from robo_ppo.env.language import Program, parse
from robo_ppo.errors import UserError
from robo_ppo.shaping.edits import Edit, Library, edited
from robo_ppo.shaping.gate import RANKING
from robo_ppo.shaping.llm.model import Model, Question, Usage
from robo_ppo.shaping.packets.packet import Packet
from robo_ppo.shaping.prompt import Briefing
from robo_ppo.shaping.record import Verdict
from robo_ppo.shaping.subject import Item


@dataclass(frozen=True)
class Proposal(Generic[Item]):
    """A reward, or ranges, that somebody proposes, and why."""

    program: Item
    parent: str  # name of the candidate that it was derived from
    origin: str  # search, or the name of a model's choice in conf/llm
    reason: str


@dataclass(frozen=True)
class Tried(Generic[Item]):
    """A candidate that was trained, and what came of it."""

    name: str
    program: Item
    success: float  # in validation episodes, after the last rung that it reached
    rungs: int  # that it reached
    flags: tuple[str, ...] = ()  # what the judge has found; a flagged one cannot win
    packet: Packet | None = None
    steps: int = 0  # of its training, after which it had this success


@dataclass(frozen=True)
class Refused(Generic[Item]):
    """A candidate that the gate refused, and what it said."""

    program: Item
    message: str


@dataclass(frozen=True)
class Request(Generic[Item]):
    """What a proposer knows: the leader, and all that was tried or refused so far."""

    round: int
    count: int  # of proposals that are wanted
    leader: Tried[Item]
    tried: Sequence[Tried[Item]]
    refused: Sequence[Refused[Item]]


class Proposer(Protocol[Item]):
    """Proposes rewards, or ranges."""

    origin: str

    def propose(self, request: Request[Item]) -> tuple[list[Proposal[Item]], Usage]:
        """At most `count` proposals, and what they cost.

        Raises:
            BudgetSpent: nobody may be asked any more.
            UserError: nobody could be reached, or nothing valid came.
        """
        ...


STRICT = ConfigDict(extra="forbid")
LONGEST = 2000  # characters of a reason
Name = Annotated[str, Field(max_length=64)]


@checked(config=STRICT)
class Change:
    """One edit of the present reward: give exactly one of factor, weight, or setting with value."""

    term: Name
    factor: float | None = None
    weight: float | None = None
    setting: Name | None = None
    value: float | None = None


@checked(config=STRICT)
class ProposedChanges:
    """One reward: a sentence why, and changes of the present reward."""

    reason: Annotated[str, Field(max_length=LONGEST)]
    changes: list[Change] = field(default_factory=list[Change])


@checked(config=STRICT)
class ProposedReward(ProposedChanges):
    """One reward: a sentence why, and either changes of the present reward or a whole program."""

    program: str = ""


@checked(config=STRICT)
class Changes:
    """The answer to a request for changed rewards."""

    rewards: list[ProposedChanges]


@checked(config=STRICT)
class Rewards:
    """The answer to a request for changed or whole rewards."""

    rewards: list[ProposedReward]


class Author:
    """Has a model propose: it sees the leader's packet, what `judge` says of its reward, and what was refused."""

    def __init__(
        self,
        model: Model,
        origin: str,
        briefing: Briefing,
        library: Library,
        judge: Callable[[Program], list[Verdict]],
        *,
        programs: bool,
    ) -> None:
        self.origin = origin
        self._model, self._briefing, self._library, self._judge = model, briefing, library, judge
        self._programs = programs

    def propose(self, request: Request) -> tuple[list[Proposal], Usage]:
        """As in every proposer."""
        tried = [(one.name, one.program, one.success, one.steps, one.flags) for one in request.tried]
        refused = [(one.program, one.message) for one in request.refused]
        leader, packet = request.leader, request.leader.packet
        objection = next((verdict.message for verdict in self._judge(leader.program) if not verdict.passed), "")
        question = Question(
            "propose",
            self._briefing.role(),
            self._briefing.task(request.count, leader.name, leader.program, objection, packet, tried, refused),
            () if packet is None else packet.pictures(),
        )
        kind = Rewards if self._programs else Changes
        answer, usage = self._model.ask(question, kind, lambda found: self._wrong(found, request))
        return [self._read(one, request) for one in answer.rewards[: request.count]], usage

    def _wrong(self, answer: Rewards | Changes, request: Request) -> str | None:
        """What is wrong with an answer, for its author to mend; None where nothing is."""
        if not answer.rewards:
            return "there is no reward in the answer"
        wrong: list[str] = []
        known = {one.program.text for one in (*request.tried, *request.refused)}
        for number, one in enumerate(answer.rewards[: request.count], 1):
            try:
                program = self._read(one, request).program
                again = "this one was trained or refused before, or stands twice in the answer; give another one"
                message = again if program.text in known else self._slip(program)
                known.add(program.text)
            except UserError as error:
                message = str(error)
            if message is not None:
                wrong.append(f"reward {number}: {message}")
        return "\n".join(wrong) or None

    def _slip(self, program: Program) -> str | None:
        """What the gate finds wrong with how a program is written.

        What its ranking refuses is a lesson for the next round, not a slip of the pen.
        """
        return next((v.message for v in self._judge(program) if not v.passed and v.stage != RANKING), None)

    def _read(self, one: ProposedChanges, request: Request) -> Proposal:
        leader, text = request.leader, one.program if isinstance(one, ProposedReward) else ""
        if bool(one.changes) == bool(text):
            both = "either changes or a program, not both and not neither"
            raise UserError(f"give {both if self._programs else 'at least one change'}")
        if text:
            program = parse(text, "the program")
        else:
            edits = [Edit(c.term, c.factor, c.weight, c.setting, c.value) for c in one.changes]
            program = edited(leader.program, edits, self._library)
        return Proposal(program, leader.name, self.origin, one.reason)
