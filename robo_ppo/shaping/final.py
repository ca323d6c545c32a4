"""The final: the best candidate against the given reward, with several seeds.

Both train with the same seeds, others than the rounds': the best of many is the best by its luck, too, and has to show
it again. Each seed's best policy flies the same validation episodes, which are others than those that chose it. Only a
difference whose interval lies above zero wins; else, or where the rules flag a policy now, the next one is tried, two
at most. Then, once, the test episodes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from robo_ppo.config import RefineSettings
from robo_ppo.errors import UserError
from robo_ppo.run.evaluate import Options
from robo_ppo.shaping.candidates import Trainings, Work
from robo_ppo.shaping.documents import from_json, write, write_json
from robo_ppo.shaping.packets.packet import Packet
from robo_ppo.shaping.packets.rules import Flag
from robo_ppo.shaping.record import Candidate, Refinement, Rung, Share, Verdict, best_file, share_of
from robo_ppo.shaping.selection import compare, is_better, is_open
from robo_ppo.shaping.subject import Subject

CHALLENGERS = 2  # that are tried, at most
_STAGE = "final"
POLICY = "policy.onnx"
TESTED = "tested.json"  # what a policy did in the test episodes, which it flies once


class Final:
    """Ends a refinement: fills in who won, by how much, and what that is worth in test episodes."""

    def __init__(
        self,
        refinement: Refinement,
        settings: RefineSettings,
        seed: int,
        work: Callable[[str, int], Work],
        subject: Subject[Any],
        trainings: Trainings,
        folder: Path,
    ) -> None:
        """`seed` is that of the rounds; `work` gives the training of a candidate with a seed."""
        self._record, self._settings, self._work = refinement, settings, work
        self._of_rounds = seed
        self._seeds = [seed + 1 + number for number in range(settings.seeds)]
        self._broken: set[int] = set()  # seeds with which the given one has no policy
        self._last_seed = self._seeds[-1] + settings.more_seeds  # whoever is the challenger
        self._subject, self._trainings, self._folder = subject, trainings, folder

    def run(self, challengers: Sequence[str]) -> Iterator[None]:
        """Compare, choose, and fly the test episodes; without a challenger the given reward stays.

        It yields whenever there is something new in the record.

        Raises:
            Stopped: a signal came.
            UserError: there is no policy to return.
        """
        given = self._record.given
        self._record.winner = given.name
        if not challengers:
            self._seeds = [self._of_rounds]
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
            both = [self._work(one, seed) for seed in self._seeds for one in (self._record.given.name, name)]
            self._trainings.train(both, both[0].config.total_steps)  # side by side; what comes of it is read below
            flags = self._met(name)
            if flags is None:
                return False
            difference = self._record.comparison
            assert difference is not None
            if flags or not is_open(difference) or self._seeds[-1] >= self._last_seed:
                return not flags and is_better(difference)
            self._seeds.append(self._seeds[-1] + 1)

    def _met(self, name: str) -> list[Flag] | None:
        """Compare a challenger with the given one over all seeds; what the rules flag, None where it cannot train."""
        before, after = self._given(), self._flown(name)
        candidate = self._record.candidate(name)
        found = [one for one in after if not isinstance(one, str)]
        if len(found) < len(after):  # a reward that breaks with one seed of several is none to return
            self._note(candidate, next(one for one in after if isinstance(one, str)))
            return None
        successes = [self._successes(self._record.given.name, before), self._successes(name, after)]
        self._record.comparison = difference = compare(self._seeds, *successes, challenger=name)
        flags: list[Flag] = []
        for packet, parent in zip(found, before, strict=True):
            flags += self._subject.flags(packet, None if isinstance(parent, str) else parent)
        for flag in flags:
            self._note(candidate, f"{flag.name}: {flag.message}")
        print(
            f"  validation success {_percent(difference.given)} before, {_percent(difference.winner)} after; "
            f"difference {difference.difference:+.1%} (95 % interval {difference.low:+.1%} to {difference.high:+.1%})",
            flush=True,
        )
        return flags

    def _given(self) -> list[Packet | str]:
        """The given one's policies. With a seed that it cannot train with, it has no success, and the loop goes on."""
        given, found = self._record.given, self._flown(self._record.given.name)
        failures = {seed: one for seed, one in zip(self._seeds, found, strict=True) if isinstance(one, str)}
        if len(failures) == len(found):
            raise UserError(f"the given {self._subject.name}: {next(iter(failures.values()))}; resume= tries it again")
        for seed, why in failures.items():
            if seed not in self._broken:
                self._note(given, why)
        self._broken |= set(failures)
        return found

    def _note(self, candidate: Candidate, objection: str) -> None:
        """Have the record say what speaks against a candidate."""
        print(f"  {candidate.name}: {objection}", flush=True)
        candidate.verdicts.append(Verdict(_STAGE, False, objection))

    def _flown(self, name: str) -> list[Packet | str]:
        """What a candidate's policy of each seed does after all of its steps, or why there is none."""
        works = [self._work(name, seed) for seed in self._seeds]
        results = self._trainings.train(works, works[0].config.total_steps, again=False)
        return [self._diagnosed(work, result) for work, result in zip(works, results, strict=True)]

    def _diagnosed(self, work: Work, trained: Rung | str) -> Packet | str:
        if isinstance(trained, str):
            return f"the training with seed {work.config.seed} failed: {trained}"
        episodes = self._settings.episodes
        try:
            return self._subject.diagnosed(work, work.folder / "final", episodes=episodes, pictures=False)
        except UserError as error:  # a term that is not finite where this policy flies, say
            return f"the policy of seed {work.config.seed}: {error}"

    def _successes(self, name: str, flown: Sequence[Packet | str]) -> list[float]:
        """What each seed's policy is compared by; no success where there is none."""
        success, episodes = self._subject.success, self._settings.episodes
        return [
            0.0 if isinstance(one, str) else success(self._work(name, seed), one, episodes).value
            for seed, one in zip(self._seeds, flown, strict=True)
        ]

    def _test(self) -> None:
        """Fly the test episodes with the given one's policies and the winner's; keep the winner's best."""
        record = self._record
        record.test_before = self._tested(record.given.name)
        record.test_after = record.test_before
        if record.winner != record.given.name:
            record.test_after = self._tested(record.winner)
        best = self._best(record.winner)
        write(self._folder / POLICY, (best / POLICY).read_bytes())
        write(self._folder / best_file(record.target), record.candidate(record.winner).program)

    def _tested(self, name: str) -> Share:
        """Success in test episodes over all seeds; the best seed's evaluation is a whole one, with its film."""
        shares: list[Share] = []
        for seed in self._seeds:
            if name == self._record.given.name and seed in self._broken:
                shares.append(share_of(0, self._settings.episodes))
                continue
            work = self._work(name, seed)
            folder, films = work.folder, self._settings.video and work.folder == self._best(name)
            options = Options(self._settings.episodes, "test", films, work.config.evaluation.video_seconds)
            if not ((folder / TESTED).exists() and (folder / POLICY).exists()):
                write_json(folder / TESTED, asdict(self._subject.tested(folder, options)))
            shares.append(from_json(Share, (folder / TESTED).read_bytes()))
        return share_of(sum(round(one.value * one.episodes) for one in shares), sum(one.episodes for one in shares))

    def _best(self, name: str) -> Path:
        """The folder of the seed whose policy did best in validation."""
        comparison, is_given = self._record.comparison, name == self._record.given.name
        seeds = [seed for seed in self._seeds if not (is_given and seed in self._broken)]
        if comparison is not None:
            successes = comparison.given if is_given else comparison.winner
            seeds.sort(key=lambda seed: -successes[self._seeds.index(seed)])
        return self._work(name, seeds[0]).folder


def _percent(values: Sequence[float]) -> str:
    return " ".join(f"{value:.1%}" for value in values)
