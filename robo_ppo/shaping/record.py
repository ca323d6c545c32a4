"""What a refinement did, as one JSON file that is rewritten after every event: the page and `resume=` read it."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

from robo_ppo.errors import UserError
from robo_ppo.run.statistics import wilson_interval
from robo_ppo.shaping.documents import from_json, write_json
from robo_ppo.shaping.llm.model import Usage


@dataclass(frozen=True)
class Share:
    """A share of episodes with its 95 % Wilson interval."""

    value: float
    low: float
    high: float
    episodes: int


def share_of(count: int, episodes: int) -> Share:
    """A share of successes with its 95 % Wilson interval."""
    low, high = wilson_interval(count, episodes)
    return Share(count / episodes, low, high, episodes)


@dataclass
class Rung:
    """A candidate after some training."""

    steps: int
    seconds: float
    success: Share  # in validation episodes
    seed: int = 0
    training_success: float = 0.0  # in training's own episodes, easier ones where there is a curriculum


@dataclass
class Verdict:
    """What a stage said of a candidate."""

    stage: str  # language, dry run, ranking, ranges, training, diagnosis, rules, judge, final
    passed: bool
    message: str = ""


@dataclass
class Candidate:
    """One reward that was proposed."""

    name: str  # r01_c02; "given" is what the loop began with
    parent: str  # the candidate that it was derived from; "" for the given one
    origin: str  # given, search, or who was asked: the name of a choice of llm=
    reason: str
    program: str  # its text
    folder: str  # below the refinement's own: its text, packet.json, pictures; seed_0/ and others are runs
    verdicts: list[Verdict] = field(default_factory=list)
    rungs: list[Rung] = field(default_factory=list)


@dataclass
class Round:
    """One turn of the loop."""

    number: int
    candidates: list[Candidate] = field(default_factory=list)
    best: str = ""  # the leading candidate after it
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0


@dataclass
class Comparison:
    """A challenger against the given reward: the same seeds, the same episodes."""

    seeds: list[int]
    given: list[float]  # validation success for each seed
    winner: list[float]  # the challenger's, whether it has won or not
    difference: float
    low: float  # 95 % interval of the difference
    high: float
    challenger: str = ""


@dataclass
class Refinement:
    """The whole loop."""

    task: str
    target: str  # reward or randomization
    llm: str
    given: Candidate
    rounds: list[Round] = field(default_factory=list)
    winner: str = ""
    comparison: Comparison | None = None
    test_before: Share | None = None  # of the given reward's policy, touched once, at the end
    test_after: Share | None = None
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    stopped_by: str = ""  # rounds, budget, target or a signal's name; "" while it runs

    @property
    def everyone(self) -> list[Candidate]:
        """All candidates in their order, the given one first."""
        return [self.given, *(one for turn in self.rounds for one in turn.candidates)]

    def candidate(self, name: str) -> Candidate:
        """The one with this name; a StopIteration where there is none."""
        return next(one for one in self.everyone if one.name == name)


NAME = "refinement.json"
_FILES = {"reward": "reward.py", "randomization": "randomization.yaml"}


def item_file(target: str) -> str:
    """The file of a candidate's text, in its folder."""
    return _FILES.get(target, _FILES["reward"])


def best_file(target: str) -> str:
    """The file of what has won, in the refinement's folder."""
    return f"best_{item_file(target)}"


def save(refinement: Refinement, folder: Path) -> None:
    """Replace the record in a refinement's folder; whoever reads meanwhile sees the one or the other."""
    write_json(folder / NAME, asdict(refinement))


def load(folder: Path) -> Refinement:
    """The record of a refinement; a `UserError` where there is none, or a damaged one."""
    path = folder / NAME
    try:
        return from_json(Refinement, path.read_bytes())
    except OSError as error:
        raise UserError(f"{folder} is not a refinement: {NAME} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged, or of another version: {error}") from error
