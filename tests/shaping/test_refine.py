"""The loop: it finds what is better, returns nothing that is not, pays for nothing twice, and says what it did."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest
from typing_extensions import override

from robo_ppo.config import RunConfig
from robo_ppo.env.language import Program, parse
from robo_ppo.errors import UserError
from robo_ppo.run import folder as folders
from robo_ppo.shaping import final, judge, record, refine, subject
from robo_ppo.shaping.candidates import Work
from robo_ppo.shaping.judge import Entrant, Judged, Judgement, Opinion
from robo_ppo.shaping.llm.model import BudgetSpent, NoAnswer, Question, Usage
from robo_ppo.shaping.packets.packet import Packet
from robo_ppo.shaping.packets.rules import Flag
from robo_ppo.shaping.page import report
from robo_ppo.shaping.proposer import Proposal, Request
from robo_ppo.shaping.record import Refinement, share_of
from robo_ppo.shaping.subject import RewardSubject
from tests.shaping.loops import BESIDE, GOOD, Foretold, Script, Teacher, config, exported_once, loop, reward


@pytest.fixture(autouse=True, scope="module")
def all_is_quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subject, "export_run", exported_once)
        patch.setattr(refine, "LOOKED_AT", 6)
        patch.setattr(report, "try_to_write", lambda folder: (folder / report.PAGE).touch())  # read by page/
        yield


@pytest.fixture
def without_final(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what happens before it."""
    monkeypatch.setattr(final.Final, "run", lambda *_: [])


def unstamped(refinement: Refinement) -> Refinement:
    """Without what the clock says."""
    refinement.seconds = 0.0
    for turn in refinement.rounds:
        turn.seconds = 0.0
    return refinement


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Refinement, Script, Teacher]:
    folder = tmp_path_factory.mktemp("refined")
    script, teacher = (
        Script([reward({**BESIDE, "time": 1.0}), reward(GOOD), reward(BESIDE | {"time": 0.02})]),
        Teacher(),
    )
    return (
        folder,
        loop(folder, reward(BESIDE), script, teacher, config(), subject=RewardSubject()).run(),
        script,
        teacher,
    )


def test_it_finds_the_reward_that_is_better_and_shows_by_how_much(
    refined: tuple[Path, Refinement, Script, Teacher],
) -> None:
    folder, found, _, _ = refined
    assert found.winner == "r01_c02"
    assert found.comparison is not None
    assert found.comparison.given == [0.0, 0.0, 0.0]
    assert found.comparison.low > 0.9
    assert found.test_before is not None
    assert found.test_after is not None
    assert (found.test_before.value, found.test_before.episodes) == (0.0, 18)
    assert found.test_after.value > 0.9
    assert parse((folder / "best_reward.py").read_text(), "best").weights == reward(GOOD).weights
    assert (folder / "policy.onnx").stat().st_size > 1000
    assert (folder / "refine_report.html").exists()
    assert record.load(folder) == found
    assert found.usage == Usage(1, 10, 5)


def test_what_ranks_flights_wrongly_is_refused_before_any_training(
    refined: tuple[Path, Refinement, Script, Teacher],
) -> None:
    folder, found, _, teacher = refined
    (turn,) = found.rounds
    verdicts = {one.name: [(v.stage, v.passed) for v in one.verdicts] for one in turn.candidates}
    assert verdicts["r01_c01"] == [("language", True), ("dry run", True), ("ranking", False)]
    assert "worth" in turn.candidates[0].verdicts[-1].message
    assert not any("r01_c01" in str(path) for path, _ in teacher.trained)
    for one in (found.given, turn.candidates[0]):
        assert (folder / one.folder / "reward.py").read_text() == one.program


def test_run_again_it_trains_and_diagnoses_nothing_and_finds_the_same(
    refined: tuple[Path, Refinement, Script, Teacher],
) -> None:
    folder, found, script, _ = refined
    teacher = Teacher()
    packets = {path: path.stat().st_mtime_ns for path in folder.rglob("packet.json")}
    again = loop(folder, reward(BESIDE), script, teacher, config(), subject=RewardSubject()).run()
    assert unstamped(again) == unstamped(found)
    assert teacher.trained == []
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("packet.json")} == packets


@pytest.mark.slow
def test_killed_at_any_training_it_goes_on_and_trains_each_once(
    refined: tuple[Path, Refinement, Script, Teacher], tmp_path: Path
) -> None:
    _, found, script, whole = refined
    done: list[tuple[str, int]] = []
    for attempt in range(len(whole.trained) + 1):
        teacher = Teacher(fails=_killed_after(2))
        try:
            again = loop(tmp_path, reward(BESIDE), script, teacher, config(), subject=RewardSubject()).run()
        except KeyboardInterrupt:
            done += [(str(folder.relative_to(tmp_path)), steps) for folder, steps in teacher.trained[:2]]
            continue
        done += [(str(folder.relative_to(tmp_path)), steps) for folder, steps in teacher.trained]
        assert attempt > 3
        assert unstamped(again) == unstamped(found)
        break
    else:
        raise AssertionError("it never came to its end")
    assert len(set(done)) == len(done) == len(whole.trained)


def _killed_after(trainings: int) -> Callable[[RunConfig], str]:
    begun = 0

    def fails(_: RunConfig) -> str:
        nonlocal begun
        begun += 1
        if begun > trainings:
            raise KeyboardInterrupt
        return ""

    return fails


def test_nothing_that_is_not_better_replaces_the_given_reward(tmp_path: Path) -> None:
    teacher = Teacher()
    script = Script([reward({**GOOD, "time": 0.02}), reward({**GOOD, "progress": 4.0})])
    found = loop(tmp_path, reward(GOOD), script, teacher, config(enough=1.1)).run()
    assert found.winner == "given"
    assert parse((tmp_path / "best_reward.py").read_text(), "best").weights == reward(GOOD).weights
    assert found.comparison is None  # they were not even ahead, so no final was held
    assert found.test_after == found.test_before


class Suspicious(Foretold):
    """Finds a sign of a hack wherever these candidates are."""

    def __init__(self, *, in_round: str = "", in_final: str = "") -> None:
        self._in_round, self._in_final = in_round, in_final

    def judged(self, entrants: Sequence[Entrant], judgement: Judgement | None) -> list[Judged]:
        flags = (Flag("stalling", "it waits"),)
        return [Judged(one.name, one.packet, flags if one.name == self._in_round else ()) for one in entrants]

    def flags(self, packet: Packet, parent: Packet | None) -> list[Flag]:
        return [Flag("stalling", "it waits")] if self._in_final and self._in_final in packet.folder else []


def test_whom_the_judge_flags_cannot_lead_and_whom_the_final_flags_cannot_win(tmp_path: Path) -> None:
    script = Script([reward(GOOD), reward({**GOOD, "time": 0.02}), reward({**GOOD, "progress": 4.0})])
    run = loop(tmp_path, reward(BESIDE), script, Teacher(), config(rungs=[0.5]))
    run.tools = dataclasses.replace(run.tools, subject=Suspicious(in_round="r01_c01", in_final="r01_c02"))
    found = run.run()
    assert found.rounds[0].best == "r01_c02"  # as good as the first, which is flagged
    assert found.winner == "r01_c03"
    assert found.comparison is not None and found.comparison.challenger == "r01_c03"
    assert found.rounds[0].candidates[1].verdicts[-1].stage == "final"


def test_the_final_takes_seeds_that_chose_nobody_and_goes_on_without_who_cannot_train(tmp_path: Path) -> None:
    def fails(trained: RunConfig) -> str:
        return "the update diverged" if trained.seed == 7 and "success_bonus" in trained.reward else ""

    teacher = Teacher(fails)
    run = loop(tmp_path, reward(BESIDE), Script([reward(GOOD)]), teacher, config(), seed=5)
    found = run.run()
    assert {folder.name for folder, _ in teacher.trained} == {"seed_5", "seed_6", "seed_7", "seed_8"}
    assert found.winner == "given"
    assert found.rounds[0].candidates[0].verdicts[-1].message == "the training with seed 7 failed: the update diverged"


def test_a_given_reward_that_cannot_train_with_every_seed_can_be_replaced_all_the_same(tmp_path: Path) -> None:
    def fails(trained: RunConfig) -> str:
        return "the update diverged" if trained.seed == 2 and "success_bonus" not in trained.reward else ""

    settings, teacher = config(), Teacher(fails)
    found = loop(tmp_path, reward(BESIDE), Script([reward(GOOD)]), teacher, settings).run()
    assert found.winner == "r01_c01"
    assert teacher.at_once == 6, "both rewards' seeds can train side by side"
    assert [folder.name for folder, _ in teacher.trained].count("seed_2") == 2, "what failed is not tried again"
    assert found.comparison is not None and found.comparison.given == [0.0, 0.0, 0.0]
    assert found.test_before is not None and found.test_before.episodes == 3 * settings.refine.episodes
    assert [one.message for one in found.given.verdicts] == ["the training with seed 2 failed: the update diverged"]


class Broken(Foretold):
    """Some policies cannot be looked at, as where a term of theirs is not finite."""

    def __init__(self, *broken: str) -> None:
        self._broken = broken

    @override
    def diagnosed(self, work: Work, output: Path, *, episodes: int, pictures: bool) -> Packet:
        if any(name in str(output) for name in self._broken):
            raise UserError("the term 'speed' is not finite")
        return super().diagnosed(work, output, episodes=episodes, pictures=pictures)


def test_who_cannot_be_looked_at_neither_leads_nor_wins(tmp_path: Path) -> None:
    script = Script([reward(GOOD), reward({**GOOD, "time": 0.02}), reward({**GOOD, "progress": 4.0})])
    broken = Broken("r01_c01", "r01_c02/seed_3")
    found = loop(tmp_path, reward(BESIDE), script, Teacher(), config(rungs=[0.5]), subject=broken).run()
    first, second, _ = found.rounds[0].candidates
    assert (first.verdicts[-1].stage, found.rounds[0].best) == ("diagnosis", "r01_c02")
    assert second.verdicts[-1].message == "the policy of seed 3: the term 'speed' is not finite"
    assert found.winner == "r01_c03"


class Lucky(Foretold):
    """With two seeds, the given reward's policy succeeds too, nearly."""

    @override
    def diagnosed(self, work: Work, output: Path, *, episodes: int, pictures: bool) -> Packet:
        packet = super().diagnosed(work, output, episodes=episodes, pictures=pictures)
        lucky = work.config.seed < 3 and packet.success.value == 0.0
        return dataclasses.replace(packet, success=share_of(round(0.7 * episodes), episodes)) if lucky else packet


class Tied(Lucky):
    """And so it does with all later ones but the third."""

    @override
    def diagnosed(self, work: Work, output: Path, *, episodes: int, pictures: bool) -> Packet:
        seed = 1 if work.config.seed > 3 else work.config.seed
        config = dataclasses.replace(work.config, seed=seed)
        return super().diagnosed(Work(work.folder, config), output, episodes=episodes, pictures=pictures)


@pytest.mark.parametrize(("more", "winner", "seeds"), [(0, "given", 3), (1, "given", 4), (2, "r01_c01", 5)])
def test_where_every_seed_was_better_more_of_them_may_tell(tmp_path: Path, more: int, winner: str, seeds: int) -> None:
    settings = config(more_seeds=more)
    found = loop(tmp_path, reward(BESIDE), Script([reward(GOOD)]), Teacher(), settings, subject=Lucky()).run()
    assert found.comparison is not None
    assert found.comparison.seeds == list(range(1, 1 + seeds))
    assert (found.winner, found.comparison.low > 0.0) == (winner, winner != "given")
    assert found.test_before is not None
    assert found.test_before.episodes == seeds * settings.refine.episodes


def test_the_next_challenger_gets_no_more_seeds_than_the_one_before(tmp_path: Path) -> None:
    script = Script([reward(GOOD), reward({**GOOD, "time": 0.02})])
    settings = config(more_seeds=1, rungs=[0.5])
    found = loop(tmp_path, reward(BESIDE), script, Teacher(), settings, subject=Tied()).run()
    assert found.winner == "given"
    assert found.comparison is not None
    assert (found.comparison.challenger, found.comparison.seeds) == ("r01_c02", [1, 2, 3, 4])


def test_a_training_that_fails_is_a_lesson_and_no_end(tmp_path: Path, without_final: None) -> None:
    def fails(trained: RunConfig) -> str:
        return "the update diverged" if trained.reward["progress"]["weight"] == 4.0 else ""

    script = Script([reward({**GOOD, "progress": 4.0}), reward({**GOOD, "time": 0.02})])
    run = loop(tmp_path, reward(BESIDE), script, Teacher(fails), config())
    found = run.run()
    failed = found.rounds[0].candidates[0]
    assert (failed.verdicts[-1].stage, failed.verdicts[-1].message) == ("training", "the update diverged")
    assert [one.message for one in run.refused] == ["training: the update diverged"]
    assert found.rounds[0].best == "r01_c02"


def test_nobody_inherits_the_training_of_another_candidate_of_the_same_name(
    tmp_path: Path, without_final: None
) -> None:
    loop(tmp_path, reward(BESIDE), Script([reward(GOOD)]), Teacher(), config()).run()
    other = reward({**BESIDE, "time": 0.02})
    teacher = Teacher()
    found = loop(tmp_path, reward(BESIDE), Script([other]), teacher, config()).run()
    assert [one.success.value for one in found.rounds[0].candidates[0].rungs] == [0.0, 0.0]
    assert [folder.parent.name for folder, _ in teacher.trained] == ["r01_c01", "r01_c01"]
    assert (tmp_path / "candidates/r01_c01/reward.py").read_text() == other.text
    assert (tmp_path / "candidates/replaced_1_r01_c01/reward.py").read_text() == reward(GOOD).text


@pytest.mark.parametrize("silence", [BudgetSpent, NoAnswer])
def test_without_an_answer_of_the_judge_the_rules_judge(
    silence: type[BudgetSpent | NoAnswer], tmp_path: Path, without_final: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broke:
        def ask(self, *_: object) -> NoReturn:
            raise silence("10 requests", Usage(2, 100, 10))

    monkeypatch.setattr(
        judge, "rules", lambda packet, _: [Flag("stalling", "for ever")] if packet.success.value else []
    )
    run = loop(tmp_path, reward(BESIDE), Script([reward(GOOD), reward({**GOOD, "time": 0.02})]), Teacher(), config())
    run.tools = dataclasses.replace(run.tools, model=Broke())
    run.rungs = run.rungs[:1]  # so that both come to the last one
    found = run.run()
    assert [one.verdicts[-1].message for one in found.rounds[0].candidates] == ["stalling: for ever"] * 2
    assert found.rounds[0].best == "given"
    assert found.usage == Usage(3, 110, 15)


def test_who_comes_alone_to_the_last_rung_is_judged_beside_the_leader(tmp_path: Path, without_final: None) -> None:
    class Judge:
        def ask(self, question: Question, *_: object) -> tuple[Judgement, Usage]:
            told = "r01_c01, given), once"
            return Judgement(
                [Opinion("r01_c01", told in question.text, "it hovers"), Opinion("given", True, "so")]
            ), Usage()

    run = loop(tmp_path, reward(BESIDE), Script([reward(GOOD)]), Teacher(), config())
    run.tools = dataclasses.replace(run.tools, model=Judge())
    found = run.run()
    assert found.rounds[0].candidates[0].verdicts[-1].message == "judge: it hovers"
    assert found.rounds[0].best == "given"  # of which nobody wants to know it again


def test_a_budget_that_is_spent_ends_the_rounds_and_not_the_loop(tmp_path: Path, without_final: None) -> None:
    class Spent(Script):
        def propose(self, request: Request) -> tuple[list[Proposal], Usage]:
            if request.round == 2:
                raise BudgetSpent("10 requests", Usage(1, 50, 5))
            return super().propose(request)

    found = loop(tmp_path, reward(BESIDE), Spent([reward(GOOD)]), Teacher(), config(rounds=3)).run()
    assert found.stopped_by == "budget: 10 requests"
    assert found.usage == Usage(2, 60, 10)
    assert [turn.best for turn in found.rounds] == ["r01_c01"]


def test_a_loop_that_is_late_when_it_goes_on_forgets_nothing(tmp_path: Path, without_final: None) -> None:
    def restarted(proposals: Sequence[Program], fails: Callable[[RunConfig], str] = lambda _: "") -> Refinement:
        again = config(rounds=2, enough=1.1, minutes=1.0)
        return loop(tmp_path, reward(BESIDE), Script(proposals), Teacher(fails), again).run()

    with pytest.raises(KeyboardInterrupt):  # in the second round
        restarted([reward(GOOD), reward({**GOOD, "progress": 4.0})], _killed_after(7))
    late = record.load(tmp_path)
    assert len(late.rounds) == 2
    late.seconds = 3600.0
    record.save(late, tmp_path)
    found = restarted([reward(GOOD), reward({**GOOD, "progress": 4.0})])
    assert [turn.best for turn in found.rounds] == ["r01_c01", "r01_c01"]
    assert found.rounds[0].seconds == late.rounds[0].seconds
    assert found.seconds >= 3600.0


def test_what_failed_in_a_round_has_failed_for_all_that_comes_later(tmp_path: Path, without_final: None) -> None:
    def fails(trained: RunConfig) -> str:
        return "the update diverged" if trained.reward["progress"]["weight"] == 4.0 else ""

    proposals = [reward(GOOD), reward({**GOOD, "progress": 4.0})]
    found = loop(tmp_path, reward(BESIDE), Script(proposals), Teacher(fails), config()).run()
    teacher = Teacher()
    again = loop(tmp_path, reward(BESIDE), Script(proposals), teacher, config()).run()
    assert teacher.trained == []
    assert unstamped(again) == unstamped(found)


def test_who_failed_on_the_way_to_the_last_rung_is_among_those_of_the_first(
    tmp_path: Path, without_final: None
) -> None:
    times: list[int] = []

    def fails(trained: RunConfig) -> str:
        times.append(1)
        return "the update diverged" if trained.reward["progress"]["weight"] == 4.0 and len(times) == 7 else ""

    proposals = [reward({**GOOD, "progress": weight}) for weight in (4.0, 5.0, 6.0, 7.0)]
    script = Script(proposals)
    found = loop(tmp_path, reward(BESIDE), script, Teacher(fails), config()).run()
    assert [len(one.rungs) for one in found.rounds[0].candidates] == [1, 2, 1, 1]
    again, teacher = Script(proposals), Teacher()
    assert unstamped(loop(tmp_path, reward(BESIDE), again, teacher, config()).run()) == unstamped(found)
    assert teacher.trained == []


def test_the_proposer_is_told_what_was_tried_and_refused(tmp_path: Path, without_final: None) -> None:
    requests: list[Request] = []

    class Listening(Script):
        def propose(self, request: Request) -> tuple[list[Proposal], Usage]:
            requests.append(request)
            return super().propose(request)

    proposer = Listening([reward(GOOD), reward({**BESIDE, "time": 1.0})])
    loop(tmp_path, reward(BESIDE), proposer, Teacher(), config(rounds=2, enough=1.1)).run()
    first, second = requests
    assert (first.leader.name, first.leader.packet is not None, list(first.refused)) == ("given", True, [])
    assert second.leader.name == "r01_c01"
    assert [one.name for one in second.tried] == ["given", "r01_c01"]
    assert [one.message.partition(":")[0] for one in second.refused][:1] == ["ranking"]


def test_a_warm_start_helps_in_the_rounds_and_not_in_the_final(tmp_path: Path) -> None:
    teacher = Teacher()
    loop(tmp_path, reward(BESIDE), Script([reward(GOOD)]), teacher, config(warm_start=True)).run()
    inits = {
        folder.relative_to(tmp_path / "candidates").as_posix(): folders.load_config(folder).init
        for folder, _ in teacher.trained
    }
    assert inits.pop("r01_c01/warm_0") == str(tmp_path / "candidates/given/seed_0")
    final = {f"{name}/seed_{seed}" for name in ("given", "r01_c01") for seed in range(1, 4)}
    assert set(inits) == {"given/seed_0", *final}
    assert set(inits.values()) == {None}


def test_test_episodes_are_flown_once(refined: tuple[Path, Refinement, Script, Teacher]) -> None:
    folder, found, script, _ = refined
    kept = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("tested.json"))
    assert kept == [
        f"candidates/{name}/seed_{seed}/tested.json" for name in ("given", "r01_c02") for seed in range(1, 4)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RewardSubject, "tested", lambda *_: pytest.fail("flown again"))
        again = loop(folder, reward(BESIDE), script, Teacher(), config(), subject=RewardSubject()).run()
    assert again.test_after == found.test_after
