"""The final: the best candidate against the given reward, with several seeds.

Both train with the same seeds. Each seed's best policy flies the same validation episodes, which are others than those
that chose it. Only a difference whose interval lies above zero wins; a challenger whose policy the rules flag now makes
way for the next one. Then, once, the test episodes.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robo_ppo.config import RefineSettings
from robo_ppo.errors import UserError
from robo_ppo.run.evaluate import Options
from robo_ppo.shaping.candidates import Trainings, Work
from robo_ppo.shaping.documents import from_json, write_json
from robo_ppo.shaping.packets.packet import Packet
from robo_ppo.shaping.packets.rules import Flag
from robo_ppo.shaping.record import Refinement, Share, Verdict, best_file, share_of
from robo_ppo.shaping.selection import compare, is_better, is_open
from robo_ppo.shaping.subject import Subject

CHALLENGERS = 2  # that are tried, at most
_STAGE = "final"
POLICY = "policy.onnx"
TESTED = "tested.json"  # what a policy did in the test episodes, which it flies once


class Untrained(Exception):
    """A policy that the final needs did not come about; the message says why."""


class Final:
    """Ends a refinement: fills in who won, by how much, and what that is worth in test episodes."""

    def __init__(
        self,
        refinement: Refinement,
        settings: RefineSettings,
        seeds: Sequence[int],
        work: Callable[[str, int], Work],
        subject: Subject[Any],
        trainings: Trainings,
        folder: Path,
    ) -> None:
        self._record, self._settings, self._seeds, self._work = refinement, settings, list(seeds), work
        self._last_seed = self._seeds[-1] + settings.more_seeds  # whoever is the challenger
        self._subject, self._trainings, self._folder = subject, trainings, folder

    def run(self, challengers: Sequence[str]) -> Iterator[None]:
        """Compare, choose, and fly the test episodes; without a challenger the given reward stays.

        It yields whenever there is something new in the record.

        Raises:
            Stopped: a signal came.
            UserError: the given reward's trainings failed.
        """
        given = self._record.given
        self._record.winner = given.name
        if not challengers:
            self._seeds = self._seeds[:1]
            self._given()
        for name in challengers[:CHALLENGERS]:
            wins = self._wins(name)
            if wins:
                self._record.winner = name
            yield
            if wins:
                break
        self._test()
        yield

    def _wins(self, name: str) -> bool:
        """Whether a challenger is shown to be better; with further seeds, where they may tell."""
        while True:
            print(f"final: {name} against the given {self._subject.name}, seeds {self._seeds}", flush=True)
            flags = self._met(name)
            if flags is None:
                return False
            difference = self._record.comparison
            assert difference is not None
            if flags or not is_open(difference) or self._seeds[-1] >= self._last_seed:
                return not flags and is_better(difference)
            self._seeds.append(self._seeds[-1] + 1)
            both = [self._work(one, self._seeds[-1]) for one in (self._record.given.name, name)]
            self._trainings.train(both, both[0].config.total_steps)  # side by side; what comes of it is read below

    def _met(self, name: str) -> list[Flag] | None:
        """Compare a challenger with the given one over all seeds; what the rules flag, None where it cannot train."""
        before = self._given()
        candidate = self._record.candidate(name)
        try:
            after = self._trained(name)
        except Untrained as error:  # a reward that breaks with one seed of several is none to return
            print(f"  {name}: {error}", flush=True)
            candidate.verdicts.append(Verdict(_STAGE, False, str(error)))
            return None
        successes = [self._successes(self._record.given.name, before), self._successes(name, after)]
        self._record.comparison = difference = compare(self._seeds, *successes, challenger=name)
        pairs = zip(after, before, strict=True)
        flags = [flag for packet, parent in pairs for flag in self._subject.flags(packet, parent)]
        for flag in flags:
            print(f"  {name} flagged: {flag.message}", flush=True)
            candidate.verdicts.append(Verdict(_STAGE, False, f"{flag.name}: {flag.message}"))
        print(
            f"  validation success {_percent(difference.given)} before, {_percent(difference.winner)} after; "
            f"difference {difference.difference:+.1%} (95 % interval {difference.low:+.1%} to {difference.high:+.1%})",
            flush=True,
        )
        return flags

    def _given(self) -> list[Packet]:
        """The diagnoses of the given one's policies, which nothing can be compared without."""
        try:
            return self._trained(self._record.given.name)
        except Untrained as error:
            raise UserError(f"the given {self._subject.name}: {error}; resume= tries it again") from None

    def _trained(self, name: str) -> list[Packet]:
        """The diagnoses of a candidate's policies after all of their steps, one for each seed.

        Raises:
            Untrained: a training failed.
        """
        works = [self._work(name, seed) for seed in self._seeds]
        for work, result in zip(works, self._trainings.train(works, works[0].config.total_steps), strict=True):
            if isinstance(result, str):
                raise Untrained(f"the training with seed {work.config.seed} failed: {result}")
        episodes = self._settings.episodes
        look = self._subject.diagnosed
        return [look(work, work.folder / "final", episodes=episodes, pictures=False) for work in works]

    def _successes(self, name: str, packets: Sequence[Packet]) -> list[float]:
        """What each seed's policy is compared by."""
        works = zip(self._seeds, packets, strict=True)
        return [
            self._subject.success(self._work(name, seed), packet, self._settings.episodes).value
            for seed, packet in works
        ]

    def _test(self) -> None:
        """Fly the test episodes with the given one's policies and the winner's; keep the winner's best."""
        record = self._record
        record.test_before = self._tested(record.given.name)
        record.test_after = record.test_before
        if record.winner != record.given.name:
            record.test_after = self._tested(record.winner)
        best = self._best(record.winner)
        shutil.copyfile(best / POLICY, self._folder / POLICY)
        text = self._record.candidate(record.winner).program
        (self._folder / best_file(record.target)).write_text(text, encoding="utf-8")

    def _tested(self, name: str) -> Share:
        """Success in test episodes over all seeds; the best seed's evaluation is a whole one, with its film."""
        shares: list[Share] = []
        for seed in self._seeds:
            work = self._work(name, seed)
            folder, films = work.folder, self._settings.video and work.folder == self._best(name)
            options = Options(self._settings.episodes, "test", films, work.config.evaluation.video_seconds)
            if not ((folder / TESTED).exists() and (folder / POLICY).exists()):
                write_json(folder / TESTED, asdict(self._subject.tested(folder, options)))
            shares.append(from_json(Share, (folder / TESTED).read_bytes()))
        return share_of(sum(round(one.value * one.episodes) for one in shares), sum(one.episodes for one in shares))

    def _best(self, name: str) -> Path:
        """The folder of the seed whose policy did best in validation."""
        comparison = self._record.comparison
        successes = None
        if comparison is not None:
            successes = comparison.given if name == self._record.given.name else comparison.winner
        seed = self._seeds[0 if successes is None else successes.index(max(successes))]
        return self._work(name, seed).folder


def _percent(values: Sequence[float]) -> str:
    return " ".join(f"{value:.1%}" for value in values)
