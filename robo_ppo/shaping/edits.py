"""Edits: how a reward is changed by small, named steps, each of which a person can read in one line.

    edited(program, [Edit("progress", factor=2.0), Edit("near_goal", setting="distance", value=0.3)], library)

A term's weight is multiplied by one of five factors, a term of the task that the reward lacks is added with a weight,
or a setting of a term gets a new value. Whole programs are the other kind of proposal.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from robo_ppo.env.language import Program
from robo_ppo.errors import UserError, did_you_mean

FACTORS = (0.0, 0.25, 0.5, 2.0, 4.0)
"""What a weight may be multiplied by; 0 removes the term."""

Library = Mapping[str, Mapping[str, float | None]]
"""Terms that the task offers, each with its settings and their defaults; None: a value must be given."""


@dataclass(frozen=True)
class Edit:
    """One change of one term: a factor, or a weight for a term that is new, or a setting with its value."""

    term: str
    factor: float | None = None
    weight: float | None = None
    setting: str | None = None
    value: float | None = None

    def __str__(self) -> str:
        """As a person would say it."""
        if self.factor is not None:
            return f"{self.term} ×{self.factor:g}"
        if self.weight is not None:
            return f"{self.term} with weight {self.weight:g}"
        return f"{self.term}.{self.setting} = {self.value:g}"


def edited(program: Program, edits: Sequence[Edit], library: Library) -> Program:
    """The program after all edits, in their order; a `UserError` that says which one cannot be done, and why."""
    weights = {term: dict(settings) for term, settings in program.weights.items()}
    for edit in edits:
        _check(edit)
        if edit.factor is not None:
            _multiply(weights, edit, keep=edit.term in program.functions)
        elif edit.weight is not None:
            _add(weights, edit, library)
        else:
            _set(weights, edit, library)
    if not any(settings["weight"] > 0.0 for settings in weights.values()):
        raise UserError("nothing is left of the reward; keep at least one term")
    missing = [
        f"{term}.{setting}"
        for term, settings in weights.items()
        if term not in program.functions
        for setting, default in library.get(term, {}).items()
        if default is None and setting not in settings
    ]
    if missing:
        raise UserError(f"{', '.join(missing)} must be given a value, by an edit of its own")
    return program.with_weights(weights)


def _check(edit: Edit) -> None:
    kinds = [edit.factor is not None, edit.weight is not None, edit.setting is not None]
    if sum(kinds) != 1 or (edit.setting is None) != (edit.value is None):
        raise UserError(
            f"an edit of {edit.term} needs exactly one of: a factor, a weight (of a new term), a setting with its value"
        )
    if edit.factor is not None and edit.factor not in FACTORS:
        factors = ", ".join(f"{factor:g}" for factor in FACTORS)
        raise UserError(f"{edit.term}: the factor must be one of {factors}, not {edit.factor:g}")
    for number in (edit.weight, edit.value):
        if number is not None and not math.isfinite(number):
            raise UserError(f"{edit.term}: {number} is not a finite number")
    if edit.weight is not None and edit.weight <= 0.0:
        raise UserError(f"{edit.term}: a weight must be greater than 0, not {edit.weight:g}; a penalty is negative")


def _multiply(weights: dict[str, dict[str, float]], edit: Edit, *, keep: bool) -> None:
    """Make a term weigh more or less; with a factor of 0 it goes, unless it is the program's own and `keep` is set."""
    assert edit.factor is not None
    if edit.term not in weights:
        raise UserError(f"the reward has no term '{edit.term}' to be multiplied; {did_you_mean(edit.term, weights)}")
    if weights[edit.term]["weight"] == 0.0:
        raise UserError(f"'{edit.term}' is off in the present reward, and no factor changes that; give it a weight")
    weights[edit.term]["weight"] *= edit.factor
    if edit.factor == 0.0 and not keep:
        del weights[edit.term]


def _add(weights: dict[str, dict[str, float]], edit: Edit, library: Library) -> None:
    assert edit.weight is not None
    present = weights.get(edit.term)
    if present is not None and present["weight"] > 0.0:
        raise UserError(f"the reward has '{edit.term}' already; multiply its weight instead")
    if present is None and edit.term not in library:
        raise UserError(f"there is no term '{edit.term}' to be added; {did_you_mean(edit.term, library)}")
    weights[edit.term] = {**(present or {}), "weight": edit.weight}


def _set(weights: dict[str, dict[str, float]], edit: Edit, library: Library) -> None:
    assert edit.setting is not None
    assert edit.value is not None
    if edit.term not in weights:
        raise UserError(f"the reward has no term '{edit.term}' to be set; {did_you_mean(edit.term, weights)}")
    known = {name for name in {**library.get(edit.term, {}), **weights[edit.term]} if name != "weight"}
    if not known:
        raise UserError(f"{edit.term} has no settings")
    if edit.setting not in known:
        raise UserError(f"{edit.term} has no setting '{edit.setting}'; {did_you_mean(edit.setting, known)}")
    weights[edit.term][edit.setting] = edit.value
