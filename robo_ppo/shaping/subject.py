"""What a refinement changes: the reward of a task, or its randomization. The loop is the same for both.

    Loop(config, given, base, folder, Tools(proposer, judge, trainings, model, subject)).run()

A candidate is an *item*: something with a text that a person can read. A subject knows what differs between kinds of
items: how a candidate trains, how its policy is looked at, by what success candidates are compared, and what speaks
against one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from typing_extensions import TypeVar, override

from robo_ppo.config import RunConfig
from robo_ppo.env.language import Program, applied
from robo_ppo.run import folder as folders
from robo_ppo.run.evaluate import Options, evaluate, fly
from robo_ppo.run.export import BUNDLE, export_run
from robo_ppo.shaping.candidates import Work, diagnosed
from robo_ppo.shaping.judge import Entrant, Judged, Judgement, judged
from robo_ppo.shaping.packets.packet import Packet
from robo_ppo.shaping.packets.rules import Flag, rules
from robo_ppo.shaping.record import Share, share_of


class Text(Protocol):
    """Whatever has a text."""

    @property
    def text(self) -> str:
        """What a person reads, and what is kept."""
        ...


Item = TypeVar("Item", bound=Text, default=Program)
Taken = TypeVar("Taken", bound=Text, contravariant=True)


class Subject(Protocol[Taken]):
    """One kind of refinement."""

    name: str  # the target

    def config(self, base: RunConfig, item: Taken) -> RunConfig:
        """How a candidate trains."""
        ...

    def diagnosed(self, work: Work, output: Path, *, episodes: int, pictures: bool) -> Packet:
        """What the policy of a training does, as `output` says, or as is found out now and kept there."""
        ...

    def success(self, work: Work, packet: Packet, episodes: int) -> Share:
        """What finalists are compared by, in so many validation episodes."""
        ...

    def judged(self, entrants: Sequence[Entrant], judgement: Judgement | None) -> list[Judged]:
        """What speaks against candidates of a round."""
        ...

    def flags(self, packet: Packet, parent: Packet | None) -> list[Flag]:
        """What speaks against a finalist beside the given one, where that has a policy."""
        ...

    def tested(self, folder: Path, options: Options) -> Share:
        """Success of a finished training in test episodes; exports its policy."""
        ...


class RewardSubject(Subject[Program]):
    """`target=reward`."""

    name = "reward"

    @override
    def config(self, base: RunConfig, item: Program) -> RunConfig:
        return applied(base, item)

    @override
    def diagnosed(self, work: Work, output: Path, *, episodes: int, pictures: bool) -> Packet:
        return diagnosed(work, output, episodes=episodes, pictures=pictures)

    @override
    def success(self, work: Work, packet: Packet, episodes: int) -> Share:
        return packet.success

    @override
    def judged(self, entrants: Sequence[Entrant], judgement: Judgement | None) -> list[Judged]:
        return judged(entrants, judgement)

    @override
    def flags(self, packet: Packet, parent: Packet | None) -> list[Flag]:
        return rules(packet, parent)

    @override
    def tested(self, folder: Path, options: Options) -> Share:
        config = folders.load_config(folder)
        bundle = export_run(config, folder)
        if options.video:
            found = evaluate(folder, config, bundle, options, record_in=folder / BUNDLE)["success"]["count"]
        else:
            found = fly(config, bundle, options).episodes.count("success")
        return share_of(found, options.episodes)
