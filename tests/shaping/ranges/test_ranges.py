"""Ranges as candidates: their text, what is refused, who proposes them, and the loop around them."""

import dataclasses
import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from robo_ppo.config import RandomizationConfig, RefineConfig, RefineSettings, RunConfig
from robo_ppo.env.robot import Parameter
from robo_ppo.env.signals import State
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from robo_ppo.run.evaluate import Options
from robo_ppo.shaping.candidates import Trainings, Work
from robo_ppo.shaping.judge import Entrant
from robo_ppo.shaping.llm.answer_format import AnswerFormat
from robo_ppo.shaping.llm.model import Question, Usage
from robo_ppo.shaping.packets.packet import Packet
from robo_ppo.shaping.proposer import Request, Tried
from robo_ppo.shaping.ranges import prepare as refine_ranges
from robo_ppo.shaping.ranges.author import ProposedRanges, Range, RangeAuthor, RangeProposals
from robo_ppo.shaping.ranges.held_out import HeldOut
from robo_ppo.shaping.ranges.ranges import Ranges, applied, parse_ranges, ranges_of
from robo_ppo.shaping.ranges.search import ALIKE, RangeSearch
from robo_ppo.shaping.ranges.subject import MARGIN, RangeSubject, judge, kept
from robo_ppo.shaping.ranges.sweep import Point, Sweep, Swept
from robo_ppo.shaping.record import Rung, Share, load, share_of
from robo_ppo.shaping.refine import GIVEN, Loop, Tools
from tests.env import toy
from tests.shaping.packets import SOUND, share

SWEPT = Sweep(
    success=0.98,
    episodes=100,
    bar=0.882,
    parameters={
        "mass": Swept("1", 1.0, True, 0.64, 1.25, 0.25, 4.0, [Point(0.64, 0.9), Point(1.25, 0.9)]),
        "motor_lag": Swept("1", 1.0, True, 0.25, 4.0, 0.25, 4.0, []),
        "wind_x": Swept("m/s", 0.0, False, -2.0, 1.0, -4.0, 4.0, []),
    },
    errors=Swept("1", 1.0, False, 0.0, 3.0, 0.0, 8.0, []),
)
NARROW = Ranges({"mass": (0.9, 1.1), "wind_x": (-0.5, 0.5)}, 1.0, "What was given.")


def request(leader: Ranges = NARROW, number: int = 1, count: int = 8, tried: Sequence[Ranges] = ()) -> Request[Ranges]:
    others = [Tried(f"r{i}", one, 0.5, 2) for i, one in enumerate(tried)]
    first = Tried(GIVEN, leader, 0.6, 2, packet=SOUND)
    return Request(number, count, first, [first, *others], [])


def test_a_text_is_read_back_and_is_a_choice_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges = Ranges({"mass": (0.5, 2.0), "wind_x": (-1.0, 1e-7)}, 2.0, "Wide:\nfor all.")
    assert parse_ranges(ranges.text, "a file") == ranges
    assert ranges_of(ranges.config) == dataclasses.replace(ranges, reason="")
    monkeypatch.chdir(tmp_path)
    Path("best_randomization.yaml").write_text(ranges.text)
    for name in ("best_randomization.yaml", str(tmp_path / "best_randomization.yaml")):
        config = compose("task=uav_hover", f"randomization={name}", "randomization.parameters.mass=[0.6,2.0]")
        assert config.randomization == RandomizationConfig({"mass": [0.6, 2.0], "wind_x": [-1.0, 1e-7]}, 2.0)
    Path("typo.yaml").write_text("parameter: {}\n")
    with pytest.raises(Exception, match="parameter"):
        compose("task=uav_hover", "randomization=typo.yaml")
    Path("theirs.yaml").write_text('parameters: {mass: ["\\x24{oc.env:HOME}", 2.0]}\n')
    with pytest.raises(Exception, match="interpolation"):
        compose("task=uav_hover", "randomization=theirs.yaml")
    with pytest.raises(Exception, match=r"missing\.yaml"):
        compose("task=uav_hover", "randomization=missing.yaml")


def test_no_parameters_are_a_text_too() -> None:
    assert parse_ranges(Ranges({}, 0.0).text, "a file") == Ranges({}, 0.0)


@pytest.mark.parametrize(
    ("parameters", "errors", "message"),
    [
        ({"masss": (0.9, 1.1)}, 1.0, "no parameter 'masss'; did you mean mass"),
        ({"mass": (1.1, 1.2)}, 1.0, "does not hold the nominal value, 1"),
        ({"mass": (1.2, 0.8)}, 1.0, "does not hold the nominal value, 1"),
        ({"mass": (0.9, 5.0)}, 1.0, "goes beyond what was swept, .0, 4."),
        ({"mass": (-0.1, 1.0)}, 1.0, "goes beyond what was swept"),
        ({"wind_x": (-9.0, 0.0)}, 1.0, "goes beyond what was swept, .-4, 4."),
        ({}, 9.0, "measurement_errors must be a factor from 0 to 8, not 9"),
        ({}, -1.0, "measurement_errors must be"),
        ({}, float("nan"), "measurement_errors must be"),
        ({"mass": (float("nan"), 1.0)}, 1.0, "nominal value"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(
    parameters: dict[str, tuple[float, float]], errors: float, message: str
) -> None:
    (verdict,) = judge(Ranges(parameters, errors), SWEPT)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_a_search_begins_with_shares_of_what_passed() -> None:
    proposals, usage = RangeSearch(SWEPT, seed=0).propose(request())
    assert usage == Usage()
    assert len(proposals) == 8
    half, whole, beyond = (one.program for one in proposals[:3])
    assert ALIKE[:3] == (0.5, 1.0, 1.5)
    assert whole.parameters == {"mass": (0.64, 1.25), "motor_lag": (0.25, 4.0), "wind_x": (-2.0, 1.0)}
    assert whole.measurement_errors == 3.0
    assert half.parameters["mass"] == pytest.approx((0.8, 1.25**0.5), abs=0.005), "half the way of a factor is its root"
    assert half.parameters["wind_x"] == (-1.0, 0.5)
    assert beyond.parameters["wind_x"] == (-3.0, 1.5)
    assert beyond.parameters["motor_lag"] == (0.25, 4.0), "never farther than anybody has looked"


def test_a_search_repeats_itself_passes_the_gate_and_proposes_nothing_twice() -> None:
    seen: list[Ranges] = []
    for number in (1, 2, 3):
        asked = request(number=number, tried=seen)
        first, again = (RangeSearch(SWEPT, seed=4).propose(asked)[0] for _ in range(2))
        assert [one.program for one in first] == [one.program for one in again]
        seen += [one.program for one in first]
    assert len({one.settings for one in seen}) == len(seen) == 24
    assert all(judge(one, SWEPT)[0].passed for one in seen)
    assert RangeSearch(SWEPT, seed=5).propose(request(number=2))[0] != RangeSearch(SWEPT, seed=4).propose(request())[0]


class Scripted:
    """A model with written answers, which are checked as any."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.questions, self.complaints = list(answers), list[Question](), list[str | None]()

    def ask(self, question: Question, kind: type[Any], check: Any) -> tuple[Any, Usage]:
        self.questions.append(question)
        for text in self.answers:
            answer = AnswerFormat(kind).read(text)
            self.complaints.append(check(answer))
            if self.complaints[-1] is None:
                return answer, Usage(1, 10, 10)
        raise UserError("no valid answer")


def answer(*ranges: tuple[str, float, float], errors: float = 1.0, reason: str = "Since it passes there.") -> str:
    listed = [{"parameter": name, "low": low, "high": high} for name, low, high in ranges]
    return json.dumps({"randomizations": [{"reason": reason, "ranges": listed, "measurement_errors": errors}]})


def test_a_model_is_told_of_the_sweep_and_of_its_mistakes() -> None:
    model = Scripted(
        '{"randomizations": []}',
        answer(("mas", 0.9, 1.1)),
        answer(("mass", 0.9, 1.1), ("mass", 0.8, 1.1)),
        answer(("mass", 0.9, 1.1), reason="x" * 500),
        answer(("mass", 0.7, 1.2), ("wind_x", -1.0, 1.0), errors=2.0, reason="Wide.\nparameters: {${oc.env:HOME}}"),
    )
    author = RangeAuthor(model, "openai", SWEPT, "uav_hover", lambda name: f"{name}: gusts 40%")
    ((proposal,), usage) = author.propose(request())
    assert proposal.program.parameters == {"mass": (0.7, 1.2), "wind_x": (-1.0, 1.0)}
    assert proposal.program.measurement_errors == 2.0
    assert "${" not in proposal.program.text
    assert parse_ranges(proposal.program.text, "its file") == proposal.program
    assert (proposal.origin, proposal.parent, usage.requests) == ("openai", GIVEN, 1)
    text = model.questions[0].text
    for part in ("wind_x (m/s, nominal 0): passes from -2 to 1", "measurement_errors", "mass: [0.9, 1.1]", "gusts 40%"):
        assert part in text
    told = " | ".join(str(one) for one in model.complaints)
    for part in ("no randomization", "did you mean mass", "stand there twice: mass", "at most 400"):
        assert part in told


def test_a_form_of_ranges_has_an_example() -> None:
    form = AnswerFormat(RangeProposals)
    assert form.read(form.example())
    assert ProposedRanges("Why.", [Range("mass", 0.9, 1.1)], 1.0)


def test_who_flies_the_nominal_vehicle_worse_is_flagged(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = RangeSubject(HeldOut(compose("task=uav_hover"), SWEPT))
    worse = dataclasses.replace(SOUND, success=share(SOUND.success.value - MARGIN - 0.01))
    as_good = dataclasses.replace(SOUND, success=share(SOUND.success.value - MARGIN + 0.01))
    found = subject.judged([Entrant("bad", worse, SOUND), Entrant("good", as_good, SOUND), Entrant("x", worse)], None)
    assert [not one.flags for one in found] == [False, True, True]
    assert "nominal vehicle" in found[0].flags[0].message


def test_a_policy_is_kept_as_it_was_at_a_rung(tmp_path: Path) -> None:
    work = Work(tmp_path, RunConfig())
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "best.pt").write_bytes(b"early")
    assert kept(work, 100).read_bytes() == b"early"
    (tmp_path / "checkpoints" / "best.pt").write_bytes(b"late")
    assert (kept(work, 100).read_bytes(), kept(work, 200).read_bytes()) == (b"early", b"late")


class Pretended(Trainings):
    """Trainings that take no time: the wider the mass, the better in other worlds, up to what passed."""

    def __init__(self) -> None:
        self.trained: list[str] = []

    def train(self, wanted: Sequence[Work], steps: int, *, again: bool = True) -> list[Rung | str]:
        self.trained += [work.folder.parent.name for work in wanted]
        for work in wanted:
            work.folder.mkdir(parents=True, exist_ok=True)
            (work.folder / "policy.onnx").write_text(work.folder.parent.name)
        return [Rung(steps, 1.0, share_of(round(100 * quality(work.config)), 100), work.config.seed) for work in wanted]


def quality(config: RunConfig) -> float:
    low, high = config.randomization.parameters.get("mass", [1.0, 1.0])
    return min(0.9, 0.5 + 0.4 * (high - low)) - 0.01 * (config.seed % 2)


class PretendedSubject(RangeSubject):
    """Flies nothing."""

    def diagnosed(self, work: Work, output: Path, *, episodes: int, pictures: bool) -> Packet:
        return SOUND

    def success(self, work: Work, packet: Packet, episodes: int) -> Share:
        return share_of(round(quality(work.config) * episodes), episodes)

    def tested(self, folder: Path, options: Options) -> Share:
        return share_of(options.episodes // 2, options.episodes)


def test_the_loop_finds_the_wider_ranges_and_writes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = compose("task=uav_hover", "total_steps=1000")
    config = RefineConfig(**{f.name: getattr(base, f.name) for f in dataclasses.fields(RunConfig)})
    config.target, config.refine = "randomization", RefineSettings(rounds=2, candidates=4, episodes=100, enough=1.0)
    trainings = Pretended()
    subject = PretendedSubject(HeldOut(base, SWEPT))

    def run() -> Any:
        tools = Tools[Ranges](RangeSearch(SWEPT, 0), lambda one: judge(one, SWEPT), trainings, None, subject)
        return Loop(config, ranges_of(base.randomization), base, tmp_path, tools).run()

    found = run()
    assert (found.target, len(found.rounds)) == ("randomization", 2)
    assert found.winner != GIVEN
    assert found.comparison is not None
    assert found.comparison.low > 0.0
    best = parse_ranges((tmp_path / "best_randomization.yaml").read_text(), "the best")
    assert "best_randomization.yaml" in (tmp_path / "refine_report.html").read_text()
    assert best.parameters["mass"][1] - best.parameters["mass"][0] > 0.5
    assert (tmp_path / "policy.onnx").read_text() == found.winner
    assert (tmp_path / "candidates" / found.winner / "randomization.yaml").read_text() == best.text
    assert load(tmp_path).winner == found.winner
    assert run().winner == found.winner, "a loop that is run again finds the same"
    assert "against the given randomization" in capsys.readouterr().out


def test_candidates_train_to_the_end_with_their_ranges() -> None:
    subject = RangeSubject(HeldOut(compose("task=uav_hover"), SWEPT))
    base = compose("task=uav_hover", "validation.target=0.9")
    config = subject.config(base, NARROW)
    assert config.validation.target is None
    assert config.randomization.parameters == {"mass": [0.9, 1.1], "wind_x": [-0.5, 0.5]}
    assert applied(base, NARROW).validation.target == 0.9


def test_a_robot_without_parameters_has_nothing_to_randomize() -> None:
    base = toy.config(robot="tests.shaping.ranges.test_ranges:Fixed", ranges={})
    with pytest.raises(UserError, match="nothing to randomize"):
        refine_ranges.given_ranges(base)


class Fixed(toy.Cart):
    """A cart of which nothing may differ."""

    def parameters(self) -> dict[str, Parameter]:
        return {}

    def states(self) -> dict[str, State]:
        return {"wind": State(initial=0.0)}


@pytest.mark.slow
def test_a_whole_refinement_ends_with_ranges_that_can_be_trained_on(tmp_path: Path) -> None:
    """From the shipped policy, with far too little training: whatever comes of it is written down and can be used."""
    root = Path(__file__).parents[3]
    small = ["total_steps=60000", "num_envs=256", "ranks=1", "ppo.horizon=16", "validation.episodes=16"]
    loop = ["refine.rungs=[0.5,1.0]", "refine.rounds=1", "refine.candidates=2", "refine.episodes=20"]
    quiet = ["refine.video=false", "refine.pictures=false", f"runs={tmp_path}", "init=policies/uav_hover.onnx"]
    command = [sys.executable, "refine.py", "target=randomization", "task=uav_hover", *small, *loop, *quiet]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = (tmp_path / "refine_uav_hover").iterdir()
    found = load(folder)
    assert found.test_before is not None
    assert found.test_after is not None
    best = folder / "best_randomization.yaml"
    assert f"randomization={best}" in done.stdout
    config = compose("task=uav_hover", f"randomization={best}")
    assert ranges_of(config.randomization) == dataclasses.replace(parse_ranges(best.read_text(), "best"), reason="")
    assert {"sweep.json", "policy.onnx", "refinement.json"} <= {path.name for path in folder.iterdir()}
    assert sorted(path.name for path in (folder / "candidates").iterdir()) == [GIVEN, "r01_c01", "r01_c02"]
