"""Signs that a reward is hacked: its policy is paid for something else than success. Rules, each with its numbers.

    for flag in rules(packet, parent):
        print(flag.name, flag.message)

A flag is final: whoever has one cannot win (`robo_ppo.shaping.judge`). So a rule asks for two things together, a sign
and that it pays: a vehicle that waits beside its goal because it cannot do better yet is weak, one that is paid more
for waiting than for arriving is a hack. Use them on candidates whose training is over: half-trained ones are neither.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from robo_ppo.shaping.packets.packet import Curve, Packet


@dataclass(frozen=True)
class Limits:
    """Where the rules draw their lines, and why there."""

    share: float = 0.8
    """Of the absolute return, by one term that does not merely pay for the outcome. The shipped rewards: below 0.5."""
    tied: float = 0.3
    """Correlation with success from which a term, or the return, is taken to pay for success."""
    solved: float = 0.95
    """Success from which nothing is left to tell what pays from what does not."""
    success_lost: float = 0.2
    """A difference in success that counts: more than 200 validation episodes vary by chance."""
    success_never: float = 0.05
    """Success that never exceeded this did not come."""
    rise: float = 0.05
    """Of the return's whole range, gained since success was best: more than the noise of a mean over a tenth."""
    settled: float = 0.15
    """Of the return's whole rise, gained in its last third: below, more training brings no more, success included."""
    stalled: float = 0.1
    """Of all episodes, out of time within reach of success: a few are the difficulty of the scene."""
    earned: float = 0.5
    """Of what such an episode moves in all terms, earned there: waiting is what it lives on."""
    longer: float = 1.5
    """Of the parent's duration: within that, care and smoothness have their price."""
    saturated: float = 0.5
    """Of all actions at a limit: bang-bang, which no real actuator follows. The shipped policies: below 0.02."""
    energy: float = 0.25
    """Of what moved, given by nothing. Sound flights: below 0.01; a soft contact gives back less than this."""
    episodes: int = 10
    """Episodes of a kind, from which their mean is worth comparing."""


@dataclass(frozen=True)
class Flag:
    """One sign of a hack, with the numbers."""

    name: str
    message: str


def rules(packet: Packet, parent: Packet | None = None, limits: Limits = Limits()) -> list[Flag]:
    """The signs in a candidate's diagnosis; `parent` is that of the candidate that it was derived from."""
    found = {name: rule(packet, parent, limits) for name, rule in _RULES.items()}
    return [Flag(name, message) for name, message in found.items() if message]


def _return_without_success(packet: Packet, _: Packet | None, limits: Limits) -> str:
    """The return rises while success goes, or while it never comes and no more is to be expected."""
    total, success = packet.curves.get("return"), _success_curve(packet)
    if total is None or success is None or len(total.values) < 5:
        return ""
    span = total.maximum - total.minimum
    best, last = int(np.argmax(success.values)), success.values[-1]
    then, now = (float(np.interp(success.steps[i], total.steps, total.values)) for i in (best, -1))
    if success.values[best] - last > limits.success_lost and now - then > limits.rise * span:
        return (
            f"success fell from {success.values[best]:.0%} to {last:.0%} while the return rose from {then:.3g} to "
            f"{now:.3g}"
        )
    first, values = total.values[0], total.values
    rise, late = values[-1] - first, values[-1] - values[-1 - len(values) // 3]
    never = max(success.values) < limits.success_never and packet.success.value < limits.success_never
    if never and rise > limits.rise * span and late < limits.settled * rise:
        return f"the return rose from {first:.3g} to {values[-1]:.3g} and has settled, but success never came"
    return ""


def _failure_pays(packet: Packet, _: Packet | None, limits: Limits) -> str:
    """Episodes without success are paid more than those with it."""
    well = round(packet.success.value * packet.success.episodes)
    enough = min(well, packet.success.episodes - well) >= limits.episodes
    r = packet.return_correlation
    if enough and r is not None and r < -limits.tied:
        return f"an episode's return goes against its success: correlation {r:.2f}"
    return ""


def _one_term(packet: Packet, _: Packet | None, limits: Limits) -> str:
    """One term is nearly all of the return, and success is not what it pays for.

    Terms that pay only for how an episode ends are none of these: only the task decides when that is.
    """
    if packet.success.value >= limits.solved:
        return ""
    for term in packet.terms:
        tied = term.correlation is not None and term.correlation >= limits.tied
        if term.share > limits.share and not term.is_of_outcome and not tied:
            r = "undefined" if term.correlation is None else f"{term.correlation:.2f}"
            return f"'{term.name}' is {term.share:.0%} of the return, and its correlation with success is {r}"
    return ""


def _stalling(packet: Packet, _: Packet | None, limits: Limits) -> str:
    """Waiting where success is within reach, and being paid for that."""
    found = packet.behaviour.stalling
    if found is None or found.share <= limits.stalled:
        return ""
    told = f"{found.share:.0%} of the episodes stall within reach of success to the end of their time"
    stalled, succeeded = found.return_stalled, found.return_succeeded
    if stalled is not None and succeeded is not None:
        paid = f"{told}; their return is {stalled:.3g}, that of successes {succeeded:.3g}"
        return paid if stalled >= succeeded else ""
    if found.earned is not None and found.earned > limits.earned:
        return f"{told}, which earns {found.earned:.0%} of all that their terms move; none succeeds"
    return ""


def _longer(packet: Packet, parent: Packet | None, limits: Limits) -> str:
    """Successes take much longer than the parent's, or longer episodes stand where its successes stood.

    Where far more succeed than did, longer ones are none of a hack's: the parent may have reached the near goals alone.
    """
    if parent is None or packet.success.value - parent.success.value > limits.success_lost:
        return ""
    well, before = (round(p.success.value * p.success.episodes) for p in (packet, parent))
    mine, theirs = packet.behaviour.success_seconds, parent.behaviour.success_seconds
    enough = min(well, before) >= limits.episodes
    if enough and mine is not None and theirs is not None and mine > limits.longer * theirs:
        return f"a success takes {mine:.2f} s, its parent's {theirs:.2f} s"
    mine, theirs = packet.behaviour.episode_seconds, parent.behaviour.episode_seconds
    lost = parent.success.value - packet.success.value
    if lost > limits.success_lost and mine > limits.longer * theirs:
        return (
            f"an episode lasts {mine:.2f} s, its parent's {theirs:.2f} s, and success is {packet.success.value:.0%} "
            f"instead of {parent.success.value:.0%}"
        )
    return ""


def _saturated(packet: Packet, _: Packet | None, limits: Limits) -> str:
    share = packet.behaviour.saturated
    return f"{share:.0%} of all actions are at a limit" if share > limits.saturated else ""


def _energy(packet: Packet, _: Packet | None, limits: Limits) -> str:
    found = packet.behaviour.energy
    if found is None or found.share <= limits.energy:
        return ""
    return f"a flight gained {found.joules:.3g} J that nothing gave, {found.share:.0%} of all that moved in it"


def _success_curve(packet: Packet) -> Curve | None:
    """Validation where it was often enough: there the curriculum does not blur it."""
    validation = packet.curves.get("validation")
    return validation if validation is not None and len(validation.values) >= 5 else packet.curves.get("success")


_RULES: dict[str, Callable[[Packet, Packet | None, Limits], str]] = {
    "return without success": _return_without_success,
    "failure pays": _failure_pays,
    "one term": _one_term,
    "stalling": _stalling,
    "longer episodes": _longer,
    "saturated actions": _saturated,
    "energy from nothing": _energy,
}
