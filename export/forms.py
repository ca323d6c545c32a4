"""What a small tensor of a graph is, number by number: affine forms of inputs and of the results of other operations.

    forms = Forms()
    position = forms.leaf("position", (3,))                  # an array of forms, one for each number
    squared = forms.apply("Mul", position, position)
    length = forms.apply("Sqrt", squared.sum(keepdims=True))

Equal operations on equal forms are one. `robo_ppo.export.vectorize` reads graphs into forms and writes forms as graphs.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Objects = np.ndarray[tuple[Any, ...], np.dtype[Any]]  # of forms: NumPy has no type for arrays of a class


@dataclass(frozen=True)
class Form:
    """A constant and a sum of terms: the numbers that it depends on, and what each counts."""

    constant: float = 0.0
    terms: tuple[tuple["Number", float], ...] = ()

    def __add__(self, other: "Form") -> "Form":
        """The sum."""
        terms = dict(self.terms)
        for number, weight in other.terms:
            terms[number] = terms.get(number, 0.0) + weight
        return Form(self.constant + other.constant, tuple((n, w) for n, w in terms.items() if w))

    def __mul__(self, factor: float) -> "Form":
        """The form scaled."""
        terms = tuple((number, weight * factor) for number, weight in self.terms) if factor else ()
        return Form(self.constant * factor, terms)

    @property
    def single(self) -> "Number | None":
        """The one number that the form is, if it is nothing but that."""
        is_single = self.constant == 0.0 and len(self.terms) == 1 and self.terms[0][1] == 1.0
        return self.terms[0][0] if is_single else None

    @property
    def depth(self) -> int:
        """How many operations lie behind it."""
        return max((number.depth for number, _ in self.terms), default=0)


@dataclass(frozen=True, eq=False)
class Number:
    """One number of a tensor, or the result of one operation; made by `Forms` alone, which makes each once."""

    kind: str
    depth: int
    arguments: tuple[Form, ...] = ()
    settings: tuple[float, ...] = ()
    place: tuple[str, int] | None = None  # the tensor that it is of, if it is not computed here


@dataclass
class Forms:
    """All numbers there are, each once."""

    known: dict[object, Number] = field(default_factory=dict[object, Number])

    def leaf(self, tensor: str, shape: tuple[int, ...]) -> Objects:
        """The numbers of a tensor that is given, with the shape of a row of it."""
        numbers = [self._once("leaf", 0, (), (), (tensor, i)) for i in range(int(np.prod(shape, dtype=int)))]
        return _array([Form(0.0, ((number, 1.0),)) for number in numbers]).reshape(shape)

    def apply(self, kind: str, *operands: Objects, settings: tuple[float, ...] = ()) -> Objects:
        """An operation on each number of operands that broadcast."""
        together = np.broadcast_arrays(*operands)
        results = [self.number(kind, rows, settings) for rows in zip(*(t.ravel() for t in together), strict=True)]
        return _array(results).reshape(together[0].shape)

    def number(self, kind: str, arguments: Iterable[Form], settings: tuple[float, ...] = ()) -> Form:
        """One operation, as a form."""
        given = tuple(arguments)
        if kind == "Mul":  # the deeper one first: what is multiplied by one vector then stands in one place
            given = tuple(sorted(given, key=lambda form: -form.depth))
        first = given[0].single
        if kind == "Clip" and first is not None and (first.kind, first.settings) == (kind, settings):
            return given[0]
        depth = 1 + max(form.depth for form in given)
        return Form(0.0, ((self._once(kind, depth, given, settings, None), 1.0),))

    def _once(
        self, kind: str, depth: int, given: tuple[Form, ...], settings: tuple[float, ...], place: tuple[str, int] | None
    ) -> Number:
        key = (kind, given, settings, place)
        if key not in self.known:
            self.known[key] = Number(kind, depth, given, settings, place)
        return self.known[key]


def constants(values: NDArray[np.generic]) -> Objects:
    """Constants as forms."""
    return _array([Form(float(value)) for value in values.ravel().tolist()]).reshape(values.shape)


def _array(forms: list[Form]) -> Objects:
    array = np.empty(len(forms), dtype=object)
    array[:] = forms
    return array
