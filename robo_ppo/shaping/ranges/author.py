"""A language model, or a person with a folder, proposes ranges: one question with the sweep, one checked answer.

proposals, usage = RangeAuthor(model, "openai", swept, "uav_nav", held_out).propose(request)
"""

from collections.abc import Callable

from pydantic.dataclasses import dataclass as checked
from typing_extensions import override

from robo_ppo.errors import UserError
from robo_ppo.shaping.llm.model import Model, Question, Usage
from robo_ppo.shaping.proposer import STRICT, Proposal, Proposer, Request, Tried
from robo_ppo.shaping.ranges.ranges import Ranges, parse_ranges
from robo_ppo.shaping.ranges.subject import check
from robo_ppo.shaping.ranges.sweep import Sweep

LONGEST = 400  # characters of a reason

ROLE = """\
You design domain randomization for reinforcement learning (PPO) of a robot's controller. A simulator trains a policy
with the ranges that you propose: in every training episode each parameter is drawn uniformly from its range, and all
sensor errors are multiplied by one factor. The policy is then judged in worlds that no training uses: all parameters at
once, single extremes, worse sensors, commands that act late, and winds that change. Its success there counts, and it
must still fly the nominal vehicle as well as before. Ranges that are too narrow make a policy that fails there; ranges
that are too wide make one that is timid, or learns nothing in the time that it has."""


@checked(config=STRICT)
class Range:
    """One parameter's lowest and highest value."""

    parameter: str
    low: float
    high: float


@checked(config=STRICT)
class ProposedRanges:
    """One randomization; a parameter without a range stays nominal, the factor is on all sensor errors."""

    reason: str
    ranges: list[Range]
    measurement_errors: float


@checked(config=STRICT)
class RangeProposals:
    """The answer to a request for ranges."""

    randomizations: list[ProposedRanges]


class RangeAuthor(Proposer[Ranges]):
    """Has a model propose ranges."""

    def __init__(self, model: Model, origin: str, swept: Sweep, task: str, worlds: Callable[[str], str]) -> None:
        """`worlds` tells of a candidate, by its name, how its policy did in each held-out world."""
        self.origin = origin
        self._model, self._swept, self._task, self._worlds = model, swept, task, worlds

    @override
    def propose(self, request: Request[Ranges]) -> tuple[list[Proposal[Ranges]], Usage]:
        """As in every proposer."""
        question = Question("propose", ROLE, self._text(request))
        answer, usage = self._model.ask(question, RangeProposals, lambda found: self._wrong(found, request.count))
        proposals: list[Proposal[Ranges]] = []
        for one in answer.randomizations[: request.count]:
            proposals.append(Proposal(_read(one), request.leader.name, self.origin, one.reason))
        return proposals, usage

    def _text(self, request: Request[Ranges]) -> str:
        refused = "\n".join(f"- {one.message}" for one in request.refused)
        packet = request.leader.packet
        parts = [
            f"# The sweep\n\nTask {self._task}. The given policy, one parameter at a time:\n\n{self._swept.table()}",
            f"# The present randomization, {request.leader.name}\n\n```yaml\n{request.leader.program.text}```",
            "" if packet is None else f"# What its policy does with the nominal vehicle\n\n{packet.text()}",
            "# Randomizations that were trained\n\n" + "\n\n".join(self._told(one) for one in request.tried),
            f"# Refused before training\n\n{refused}" if refused else "",
            f"# What is wanted\n\n{request.count} different randomizations, each with one sentence why. A range holds "
            "the nominal value and stays between the lowest and highest value that were flown. Make them differ in "
            "what they try: wider or narrower for all, or for single parameters.",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"

    def _told(self, one: Tried[Ranges]) -> str:
        against = f", refused ({'; '.join(one.flags)})" if one.flags else ""
        return (
            f"{one.name}: held-out success {one.success:.1%} ({self._worlds(one.name)}){against}\n"
            f"```yaml\n{one.program.text}```"
        )

    def _wrong(self, answer: RangeProposals, count: int) -> str | None:
        """What is wrong with an answer, for its author to mend; None where nothing is."""
        if not answer.randomizations:
            return "there is no randomization in the answer"
        wrong: list[str] = []
        for number, one in enumerate(answer.randomizations[:count], 1):
            try:
                check(_read(one), self._swept)
            except UserError as error:
                wrong.append(f"randomization {number}: {error}")
        return "\n".join(wrong) or None


def _read(one: ProposedRanges) -> Ranges:
    names = [entry.parameter for entry in one.ranges]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"each parameter has one range; these stand there twice: {', '.join(twice)}")
    if len(one.reason) > LONGEST:
        raise UserError(f"the reason must have at most {LONGEST} characters, not {len(one.reason)}")
    plain = " ".join(word for word in one.reason.replace("${", "$ {").split() if word.isprintable())
    ranges = Ranges({entry.parameter: (entry.low, entry.high) for entry in one.ranges}, one.measurement_errors, plain)
    for entry in one.ranges:
        if not entry.parameter.isidentifier():
            raise UserError(f"'{entry.parameter:.40}' is no parameter's name")
    return parse_ranges(ranges.text, "the ranges")
