"""The loop: propose, gate, train, diagnose, judge, keep the best; then a fair comparison with the given reward.

    refinement = Loop(config, given, base, folder, tools).run()      # → refinement.json, best_reward.py, policy.onnx

The loop is a plain function of its configuration whose costly steps are remembered in the run's folder: what was
proposed, asked, trained or diagnosed is read back. So `resume=` is running it again.

Nothing is returned that has not beaten the given reward: over at least three seeds, on the same validation episodes,
with an interval above zero. Test episodes are flown once, at the end.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from robo_ppo.config import RefineConfig, RunConfig
from robo_ppo.errors import UserError
from robo_ppo.shaping import record
from robo_ppo.shaping.candidates import Stopped, Trainings, Work, halved, training_config
from robo_ppo.shaping.clock import Clock
from robo_ppo.shaping.documents import set_aside, write
from robo_ppo.shaping.final import Final
from robo_ppo.shaping.gate import passed
from robo_ppo.shaping.judge import Entrant, compare
from robo_ppo.shaping.llm.model import BudgetSpent, Model, NoAnswer, Usage
from robo_ppo.shaping.llm.plain_text import one_line
from robo_ppo.shaping.packets.packet import Packet
from robo_ppo.shaping.page import report
from robo_ppo.shaping.proposer import Proposal, Proposer, Refused, Request, Tried
from robo_ppo.shaping.record import Candidate, Refinement, Round, Rung, Verdict
from robo_ppo.shaping.subject import Item, Subject

GIVEN = "given"
LOOKED_AT = 200  # validation episodes of a diagnosis


@dataclass(frozen=True)
class Tools(Generic[Item]):
    """What the loop works with."""

    proposer: Proposer[Item]
    judge: Callable[[Item], list[Verdict]]  # the gate
    trainings: Trainings
    model: Model | None  # that compares candidates side by side; None: the rules alone
    subject: Subject[Item]


def rung_steps(config: RefineConfig) -> list[int]:
    """Environment steps up to which candidates train, rung by rung."""
    return [max(1, round(share * config.total_steps)) for share in config.refine.rungs]


class Loop(Generic[Item]):
    """One refinement in its folder."""

    def __init__(self, config: RefineConfig, given: Item, base: RunConfig, folder: Path, tools: Tools[Item]) -> None:
        self.config, self.base, self.folder, self.tools = config, base, folder, tools
        self.settings = config.refine
        self.rungs = rung_steps(config)
        self.programs: dict[str, Item] = {GIVEN: given}
        self.packets: dict[str, Packet] = {}
        self.flags: dict[str, tuple[str, ...]] = {}
        self.refused: list[Refused[Item]] = []
        reason = f"the {tools.subject.name} that the loop began with"
        first = Candidate(GIVEN, "", GIVEN, reason, given.text, f"candidates/{GIVEN}")
        self.record = Refinement(config.task.name, config.target, config.llm.name, first)
        known = record.load(folder) if (folder / record.NAME).exists() else None  # of an earlier start
        self._begun = [] if known is None else known.rounds
        self.clock = Clock(0.0 if known is None else known.seconds)

    def run(self) -> Refinement:
        """Go through the rounds and the final, from wherever the folder stands.

        Raises:
            Stopped: a signal ended the trainings.
        """
        try:
            return self._run()
        except Stopped as stopped:
            self.record.stopped_by = str(stopped)
            self._save()
            raise

    def _run(self) -> Refinement:
        self._begin()
        while not (reason := self._reason_to_stop()):
            try:
                self._round(len(self.record.rounds) + 1)
            except BudgetSpent as spent:
                self.record.usage += spent.usage
                reason = f"budget: {spent}"
                break
        self._begun = []  # all that earlier starts did in rounds is in this record now
        self.record.stopped_by = reason
        self._save()
        ranked = [one.name for one in self._contenders()]
        challengers = ranked[: ranked.index(GIVEN)]  # who is behind it so far has nothing to show in a final
        tools = self.tools
        final = Final(
            self.record, self.settings, self.base.seed, self._work, tools.subject, tools.trainings, self.folder
        )
        for _ in final.run(challengers):
            self._save()
        return self.record

    def _reason_to_stop(self) -> str:
        """Why there shall be no further round; "" where there shall."""
        minutes = self.clock.seconds / 60.0
        leader = self._leader()
        rounds = len(self.record.rounds)
        if leader.success >= self.settings.enough:
            return f"target: {leader.name} has {leader.success:.1%} after {self.rungs[-1] / 1e6:g} M steps"
        if rounds >= self.settings.rounds:
            return "rounds"
        # A round that an earlier start has begun is gone through again, however late it is now.
        if self.settings.minutes is not None and minutes >= self.settings.minutes and rounds >= len(self._begun):
            return f"budget: {minutes:.0f} minutes"
        return ""

    def _round(self, number: int) -> None:
        began = self.clock.seconds
        leader = self._leader()
        request = Request(number, self.settings.candidates, leader, self._tried(), tuple(self.refused))
        print(f"round {number}: {leader.name} leads with {leader.success:.1%}", flush=True)
        proposals, usage = self.tools.proposer.propose(request)
        turn = Round(number, usage=usage)
        self.record.rounds.append(turn)
        for index, proposal in enumerate(proposals, 1):
            turn.candidates.append(self._admit(f"r{number:02d}_c{index:02d}", proposal))
        self._save()
        admitted = [one for one in turn.candidates if passed(one.verdicts)]
        print(f"  {len(proposals)} proposed, {len(admitted)} to train", flush=True)
        finalists = self._train(admitted, again=False)
        turn.usage += self._judge(finalists, leader)
        self.record.usage += turn.usage
        turn.best, turn.seconds = self._leader().name, self.clock.seconds - began
        if number <= len(self._begun) and self._begun[number - 1].best:
            turn.seconds = self._begun[number - 1].seconds  # it took that long then, and was read back now
        self._save()

    def _admit(self, name: str, proposal: Proposal[Item]) -> Candidate:
        """A proposal as a candidate, with what the gate says of it."""
        program = proposal.program
        verdicts, folder = self.tools.judge(program), f"candidates/{name}"
        candidate = Candidate(name, proposal.parent, proposal.origin, proposal.reason, program.text, folder, verdicts)
        self._write(candidate)
        self.programs[name] = program
        for verdict in verdicts:
            if not verdict.passed:
                self.refused.append(Refused(program, f"{verdict.stage}: {verdict.message}"))
                print(f"  {name} refused: {verdict.stage}: {verdict.message}", flush=True)
        return candidate

    def _write(self, candidate: Candidate) -> None:
        """The candidate's text as a file of its own, to read and train on; what another one left is set aside."""
        file = self.folder / candidate.folder / record.item_file(self.record.target)
        if file.is_file():
            if file.read_text(encoding="utf-8") == candidate.program:
                return
            # A changed program or machine may have proposed another before; what that has reached is not this one's.
            other = set_aside(file.parent)
            print(f"  another candidate was called {file.parent.name}; its folder is now {other.name}", flush=True)
        write(file, candidate.program)

    def _begin(self) -> None:
        """Train the given reward as far as any candidate, and diagnose it: what the first proposals start from."""
        given = self.record.given
        self._write(given)
        print(f"the given {self.tools.subject.name}", flush=True)
        if not self._train([given]):
            raise UserError(f"the given {self.tools.subject.name} cannot be trained: {given.verdicts[-1].message}")
        self._diagnose(given)
        self._save()

    def _train(self, entrants: Sequence[Candidate], *, again: bool = True) -> list[Candidate]:
        """Successive halving: all to the first rung, the better half of those to the next; who came to the last one.

        What failed at an earlier start is trained once more only if `again`: what later rounds tried rests on it.
        """
        running = list(entrants)
        for number, steps in enumerate(self.rungs, 1):
            works = [self._early(one) for one in running]
            results = self.tools.trainings.train(works, steps, again=again)
            reached: list[tuple[Candidate, Rung]] = []
            for one, result in zip(running, results, strict=True):
                if isinstance(result, str):
                    one.verdicts.append(Verdict("training", False, result))
                    why = one_line(result.partition("; see ")[0])  # where its log lies is no model's business
                    self.refused.append(Refused(self.programs[one.name], f"training: {why}"))
                    print(f"  {one.name}: {result}", flush=True)
                else:
                    one.rungs.append(result)
                    reached.append((one, result))
            running = [one for one, _ in reached] if number == len(self.rungs) else halved(reached)
            self._save()
        return running

    def _work(self, name: str, seed: int) -> Work:
        """The training of a candidate with a seed."""
        config = training_config(self.tools.subject.config(self.base, self.programs[name]), seed)
        return Work(self.folder / "candidates" / name / f"seed_{seed}", config)

    def _early(self, one: Candidate) -> Work:
        """The training of a candidate in its round: that of the loop's own seed, or what a warm start made of it."""
        cold = self._work(one.name, self.base.seed)
        if not self.settings.warm_start or not one.parent:
            return cold
        parent = self._early(self.record.candidate(one.parent))
        init = str(parent.folder.absolute())
        return Work(cold.folder.with_name(f"warm_{self.base.seed}"), dataclasses.replace(cold.config, init=init))

    def _judge(self, finalists: Sequence[Candidate], leader: Tried[Item]) -> Usage:
        """Diagnose who came to the last rung, look for tricks, and note what was found; what that cost."""
        entrants: list[Entrant] = []
        for one in finalists:
            try:
                entrants.append(Entrant(one.name, self._diagnose(one), leader.packet))
            except UserError as error:  # a term that is not finite where this policy flies, say
                self._flag(one, [Verdict("diagnosis", False, str(error))])
        judgement, usage = None, Usage()
        if self.tools.model is not None and entrants:
            shown = [(one.name, one.packet) for one in entrants]
            if len(shown) == 1 and leader.packet is not None:  # a judge compares; of the leader it has judged before
                shown.append((leader.name, leader.packet))
            try:
                judgement, usage = compare(self.tools.model, shown)
            except (BudgetSpent, NoAnswer) as error:  # the rules judge all the same, and nobody leads unjudged
                usage = error.usage
                print(f"  judged by the rules alone: {error}", flush=True)
        for result in self.tools.subject.judged(entrants, judgement):
            self._flag(self.record.candidate(result.name), result.verdicts())
        return usage

    def _flag(self, one: Candidate, verdicts: Sequence[Verdict]) -> None:
        """Note what was found; whoever has a verdict against it cannot lead."""
        one.verdicts += verdicts
        self.flags[one.name] = tuple(verdict.message for verdict in verdicts if not verdict.passed)
        for flag in self.flags[one.name]:
            print(f"  {one.name} flagged: {flag}", flush=True)

    def _diagnose(self, one: Candidate) -> Packet:
        work, output = self._early(one), self.folder / one.folder
        packet = self.tools.subject.diagnosed(work, output, episodes=LOOKED_AT, pictures=self.settings.pictures)
        self.packets[one.name] = packet
        return packet

    def _tried(self) -> list[Tried[Item]]:
        """All that were trained, in their order."""
        return [
            Tried(
                one.name,
                self.programs[one.name],
                one.rungs[-1].success.value,
                len(one.rungs),
                self.flags.get(one.name, ()),
                self.packets.get(one.name),
                one.rungs[-1].steps,
            )
            for one in self.record.everyone
            if one.rungs
        ]

    def _contenders(self) -> list[Tried[Item]]:
        """Who may win, the best first: came to the last rung, and nobody has flagged it. The given one always may."""
        able = [one for one in self._tried() if one.rungs == len(self.rungs) and not one.flags]
        return sorted(able, key=lambda one: -one.success)

    def _leader(self) -> Tried[Item]:
        return self._contenders()[0]

    def _save(self) -> None:
        if len(self.record.rounds) < len(self._begun):
            return  # what is read back is in the record already, and more
        self.record.seconds = self.clock.seconds
        record.save(self.record, self.folder)
        report.try_to_write(self.folder)
