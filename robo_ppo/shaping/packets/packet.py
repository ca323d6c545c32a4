"""What is known of a trained candidate: one JSON document and a few PNGs, which people, rules and models all judge by.

    packet = read_packet(folder / "packet.json")
    packet.success.value, packet.term("progress").share, packet.behaviour.saturated
    Question("propose", system, packet.text(), packet.pictures())

Everything but the learning curves is of validation episodes, flown by the best policy without its noise. Returns are
weighted and of whole episodes. What a task or a run cannot say is None.
"""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from robo_ppo.env.task import SUCCESS
from robo_ppo.errors import UserError
from robo_ppo.shaping.documents import from_json, write
from robo_ppo.shaping.llm.model import Picture
from robo_ppo.shaping.record import Share

VERSION = 1
FILE = "packet.json"


@dataclass(frozen=True)
class Spread:
    """A quantity over steps or episodes: its mean, and between what 90 % of it lies."""

    mean: float
    low: float  # 5th percentile
    high: float  # 95th
    unit: str = "1"


@dataclass(frozen=True)
class Curve:
    """A quantity over a training: each of up to ten points is the mean over a tenth of it."""

    steps: list[float]  # in the middle of each tenth
    values: list[float]
    maximum: float  # of all that was logged, as are the next two
    mean: float
    minimum: float


@dataclass(frozen=True)
class Term:
    """One term of the reward."""

    name: str
    weight: float
    curve: Curve | None  # of its return per episode
    share: float  # of the sum over terms of |its return|, mean over episodes
    at_end: float  # share of what it paid (absolutely) that it paid in an episode's last step
    correlation: float | None  # of an episode's return of it with success; None where one of them never varies
    in_success: float | None  # its mean return in episodes that succeeded; None where there are none
    otherwise: float | None  # in the others

    @property
    def is_of_outcome(self) -> bool:
        """Whether it pays for how an episode ends, and never for ending without success: a bonus, a penalty."""
        return self.at_end > 0.99 and (self.otherwise is None or self.otherwise <= 0.0)


@dataclass(frozen=True)
class Stalling:
    """Hovering where success is within reach, without it."""

    seconds: float  # within reach, of an episode without success; mean
    share: float  # of all episodes: out of time, after at least half of it within reach
    return_stalled: float | None  # mean return of those
    return_succeeded: float | None  # mean return of the episodes that succeeded
    earned: float | None  # what those that stalled were paid within reach, over the sum of |their terms' returns|


@dataclass(frozen=True)
class EnergyGain:
    """Mechanical energy that nothing gave: `robo_ppo.shaping.packets.energy`."""

    share: float  # the worst flight's gain over its own scale
    joules: float
    scale: float  # J: what its actuators worked, and how far its energy ranged
    flights: int  # that were looked at


@dataclass(frozen=True)
class Behaviour:
    """How the policy moves the robot."""

    quantities: dict[str, Spread]  # of the task's own choice, by label with unit; over all steps
    action_change: float  # mean squared change of an action from step to step, each in [-1, 1]
    saturated: float  # share of actions at a limit
    episode_seconds: float
    success_seconds: float | None  # of episodes that succeeded
    stalling: Stalling | None
    energy: EnergyGain | None


@dataclass(frozen=True)
class Failure:
    """An episode that stands for others."""

    episode: int
    outcome: str
    seconds: float
    story: str


@dataclass(frozen=True)
class PictureFile:
    """A PNG beside the packet."""

    name: str
    file: str
    caption: str


@dataclass(frozen=True)
class Packet:
    """One candidate."""

    version: int
    task: str
    policy_steps: float  # after which the best policy was saved
    training_steps: float  # of the whole training, as far as it went
    success: Share
    outcomes: dict[str, int]
    return_correlation: float | None  # of an episode's return with success
    metrics: dict[str, Spread]
    terms: list[Term]
    behaviour: Behaviour
    curves: dict[str, Curve]  # success, validation, return
    failures: list[Failure]
    files: list[PictureFile]
    notes: list[str]  # what is missing, and why
    folder: str = field(default="", compare=False)  # where it lies; not part of the document

    def term(self, name: str) -> Term:
        """One of the reward's terms."""
        return next(term for term in self.terms if term.name == name)

    def pictures(self) -> tuple[Picture, ...]:
        """The PNGs, read from its folder."""
        return tuple(Picture(f.name, (Path(self.folder) / f.file).read_bytes(), f.caption) for f in self.files)

    def text(self) -> str:
        """All of it in some fifty short lines, for a prompt."""
        lines = [
            f"task {self.task}; trained for {self.training_steps / 1e6:.2f} M steps; its best policy, of step "
            f"{self.policy_steps / 1e6:.2f} M, in {self.success.episodes} validation episodes without noise",
            f"success {_success(self.success)}",
            "ends: " + ", ".join(f"{name} {count}" for name, count in self.outcomes.items()),
            *(f"metric {name}: {_spread(spread)}" for name, spread in self.metrics.items()),
            "",
        ]
        if self.curves:
            lines += ["learning curves (ten points over the training):"]
            lines += [*(f"  {name}: {_points(curve)}" for name, curve in self.curves.items()), ""]
        lines += [
            "reward terms, weighted return per episode (share: of the sum of absolute values; r: correlation with "
            "success; then mean in successes | otherwise):",
            *(line for term in self.terms for line in _term(term)),
            f"  whole return: r {_number(self.return_correlation)}",
            "",
            "behaviour:",
            *(f"  {line}" for line in _behaviour(self.behaviour)),
        ]
        if self.failures:
            lines += ["", "typical failures:"]
            lines += [f"  {f.story}" for f in self.failures]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def write_packet(packet: Packet, folder: Path) -> Path:
    """Write `packet.json` into a folder."""
    document = {name: value for name, value in dataclasses.asdict(packet).items() if name != "folder"}
    path = folder / FILE
    write(path, json.dumps(document, indent=1, allow_nan=False) + "\n")
    return path


def read_packet(path: Path) -> Packet:
    """A packet that was written; a `UserError` where it is none, or one of another version."""
    try:
        text = path.read_bytes()
        document = json.loads(text)
    except (OSError, ValueError) as error:
        raise UserError(f"the diagnosis {path} cannot be read: {error}") from error
    version = document.get("version") if isinstance(document, dict) else None
    if version != VERSION:
        raise UserError(f"{path} is a diagnosis of version {version}; this robo_ppo reads version {VERSION}")
    try:
        packet = from_json(Packet, text)
    except ValueError as error:
        raise UserError(f"{path} is not a whole diagnosis: {error}") from error
    outside = [f.file for f in packet.files if Path(f.file).name != f.file]
    if outside:  # its pictures are sent to a model
        raise UserError(f"{path} names a picture that is not beside it: {outside[0]!a:.80}")
    return dataclasses.replace(packet, folder=str(path.parent))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:z.3g}"


def _success(share: Share) -> str:
    return f"{share.value:.1%} (95 % interval {share.low:.1%} to {share.high:.1%})"


def _spread(spread: Spread) -> str:
    unit = "" if spread.unit == "1" else f" {spread.unit}"
    return f"mean {spread.mean:z.3g}{unit}, 90 % in {spread.low:z.3g} to {spread.high:z.3g}"


def _points(curve: Curve) -> str:
    largest = max(abs(curve.maximum), abs(curve.minimum))
    digits = max(0, 2 - math.ceil(math.log10(largest))) + 1 if largest > 0.0 else 0  # three of the largest value

    def text(value: float) -> str:
        return f"{value:z.{min(digits, 9)}f}".rstrip("0").rstrip(".") if digits else f"{value:z.0f}"

    points = " ".join(text(value) for value in curve.values)
    return f"{points} (max {text(curve.maximum)}, mean {text(curve.mean)}, min {text(curve.minimum)})"


def _term(term: Term) -> list[str]:
    means = f"{_number(term.in_success)} | {_number(term.otherwise)}"
    when = ", paid at the end alone" if term.at_end > 0.99 else ""
    head = (
        f"  {term.name} (weight {term.weight:g}{when}): share {term.share:.0%}, r {_number(term.correlation)}, {means}"
    )
    return [head] if term.curve is None else [head, f"    {_points(term.curve)}"]


def _behaviour(b: Behaviour) -> list[str]:
    lines = [f"{label.removesuffix(f' ({spread.unit})')}: {_spread(spread)}" for label, spread in b.quantities.items()]
    lines.append(f"mean squared action change {b.action_change:.3g}; {b.saturated:.1%} of actions at a limit")
    arrived = "" if b.success_seconds is None else f"; with {SUCCESS} {b.success_seconds:.2f} s"
    lines.append(f"episode length {b.episode_seconds:.2f} s{arrived}")
    if b.stalling is not None:
        s = b.stalling
        lines.append(
            f"within reach of success without it: {s.seconds:.2f} s in episodes without success; {s.share:.1%} of all "
            f"episodes stall there to the end: return {_number(s.return_stalled)}, that of successes "
            f"{_number(s.return_succeeded)}"
        )
    if b.energy is not None:
        lines.append(f"energy that nothing gave: {b.energy.share:.1%} of what moved, in the worst flight")
    return lines
