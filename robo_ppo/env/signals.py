"""Signals: named quantities of every environment, and the graph of pure functions that computes them.

A signal is a tensor `(num_envs, *shape)` with a unit and a frame. Its name is the name of the function that computes
it, and the function's parameters are the names of the signals that it needs:

    @measurement(unit="m", frame="world")
    def position(qpos: Tensor) -> Tensor:            # what the vehicle senses, from a field of the simulation
        return qpos[:, :3]

    @signal(unit="m", frame="body")
    def goal_offset(position: Tensor, attitude: Tensor, goal: Tensor) -> Tensor:
        return rotate_inverse(attitude, goal - position)

Leaves are fields of the simulation (`qpos`), states that the environment remembers (`last_action`) and, on board,
measurements. `previous_<name>` is any signal one control step earlier. A `SignalTable` knows all functions and leaves
of a task; `SignalTable.graph` resolves the names that are asked for into the order in which to call the functions,
once, when the run is composed. A wrong name fails there, with the nearest right ones.

Keyword-only parameters of a function are settings (numbers from the configuration), not signals.
"""

import functools
import inspect
import traceback
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from robo_ppo.errors import UserError, did_you_mean

SignalFunction = Callable[..., Tensor]
Function = TypeVar("Function", bound=SignalFunction)

PREVIOUS = "previous_"


@dataclass(frozen=True)
class Quantity:
    """What a signal is: its unit ("1" for a pure number, "quaternion" for a rotation) and its frame ("" where none).

    `range` is what it can be, both ends included; `debug=true` checks it.
    """

    unit: str = "1"
    frame: str = ""
    range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Leaf:
    """A signal that is not computed: a field of the simulation or a state of the environment.

    `onboard` says that a controller on the vehicle knows it by itself, as it knows its own last action.
    """

    shape: tuple[int, ...]
    kind: Literal["field", "state"]
    quantity: Quantity = Quantity()
    dtype: torch.dtype = torch.float32
    onboard: bool = False


@dataclass(frozen=True)
class State:
    """A tensor (num_envs, *shape) that the environment remembers for a task.

    At the beginning of an episode it takes the value that the scene bank has under its name, or else `initial`. With
    `follows`, it takes that signal's value at the end of every step. A task may also rewrite it in `Task.advance`.
    """

    shape: tuple[int, ...] = ()
    unit: str = "1"
    frame: str = ""
    initial: float = 0.0
    dtype: torch.dtype = torch.float32
    follows: str | None = None

    def leaf(self, *, onboard: bool = False) -> Leaf:
        """The state as a leaf of the signal graph."""
        return Leaf(self.shape, "state", Quantity(self.unit, self.frame), self.dtype, onboard)


@dataclass(frozen=True)
class Signal:
    """A signal that is computed from others."""

    name: str
    function: SignalFunction
    inputs: tuple[str, ...]
    quantity: Quantity
    is_measurement: bool = False


def signal(
    *, unit: str = "1", frame: str = "", range: tuple[float, float] | None = None
) -> Callable[[Function], Function]:
    """Mark a pure function of signals as a signal of its own name."""
    return _mark(Quantity(unit, frame, range), is_measurement=False)


def measurement(
    *, unit: str = "1", frame: str = "", range: tuple[float, float] | None = None
) -> Callable[[Function], Function]:
    """Mark a function as what the real vehicle senses, estimates or is told.

    Its value in simulation is computed from fields and states; on the vehicle it is an input of the policy.
    """
    return _mark(Quantity(unit, frame, range), is_measurement=True)


def _mark(quantity: Quantity, is_measurement: bool) -> Callable[[Function], Function]:
    def mark(function: Function) -> Function:
        function.__dict__["robo_ppo_signal"] = (quantity, is_measurement)
        return function

    return mark


def collect(*sources: object) -> dict[str, Signal]:
    """All marked functions of the given modules and objects, by name; a later source replaces an earlier one."""
    found: dict[str, Signal] = {}
    for source in sources:
        for name in dir(source):
            if name.startswith("_"):
                continue
            function = getattr(source, name)
            mark = getattr(function, "robo_ppo_signal", None)
            if mark is not None:
                found[name] = Signal(name, function, signature(function)[0], *mark)
    return found


def signature(function: SignalFunction) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Names of the signals that a function needs, and its settings with their defaults (`Parameter.empty`: none)."""
    inputs: list[str] = []
    settings: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY:
            settings[parameter.name] = parameter.default
        elif parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            inputs.append(parameter.name)
        else:
            raise UserError(f"{where(function)}: *args, **kwargs and '/' cannot name signals; name each signal")
    return tuple(inputs), settings


def with_settings(function: SignalFunction, given: Mapping[str, Any], what: str) -> SignalFunction:
    """The function with its keyword-only settings filled in; a missing, unknown or mistyped one is a `UserError`."""
    _, known = signature(function)
    for name, value in given.items():
        if name not in known:
            raise UserError(f"{what} has no setting '{name}'; {did_you_mean(name, known)} ({where(function)})")
        annotation = inspect.signature(function).parameters[name].annotation
        if annotation in (int, float, bool) and not _is_of(value, annotation):
            raise UserError(f"{what}: {name} must be of type {annotation.__name__}, not {value!r}")
        if annotation is float:
            given = {**given, name: _as_float(value, f"{what}: {name}")}
    missing = [name for name, default in known.items() if default is inspect.Parameter.empty and name not in given]
    if missing:
        raise UserError(f"{what} needs the setting {', '.join(missing)} ({where(function)})")
    return functools.partial(function, **given) if given else function


def _is_of(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _as_float(value: float, what: str) -> float:
    """A whole number as a float: of Python's own, products grow without end."""
    try:
        return float(value)
    except OverflowError:
        raise UserError(f"{what} is too large a number") from None


def where(function: Callable[..., object]) -> str:
    """File and line of a function, for messages; what is compiled from a reward program says it itself."""
    inner = function.func if isinstance(function, functools.partial) else function
    place = getattr(inner, "robo_ppo_where", None)
    if place is not None:
        return str(place)
    code = _code(function)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else repr(function)


def where_it_failed(function: Callable[..., object], error: BaseException) -> str:
    """File and line that an exception left a function at: the last one that is in the function's own file."""
    code = _code(function)
    frames = traceback.walk_tb(error.__traceback__)
    own = [line for frame, line in frames if code is not None and frame.f_code.co_filename == code.co_filename]
    return f"{code.co_filename}:{own[-1]}" if code is not None and own else where(function)


def _code(function: Callable[..., object]) -> types.CodeType | None:
    inner = function.func if isinstance(function, functools.partial) else function
    return getattr(inspect.unwrap(inner), "__code__", None)


@dataclass(frozen=True)
class Graph:
    """Functions in the order in which they must be called, and the leaves that they start from."""

    outputs: tuple[str, ...]
    leaves: tuple[str, ...]
    steps: tuple[Signal, ...]

    def __call__(self, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Values of the leaves and of every step, by name; all tensors have the same number of rows.

        What a function raises becomes a `UserError` that names the signal and the line.
        """
        values = {name: leaves[name] for name in self.leaves}
        step = None
        try:  # around the loop, where it costs nothing
            for step in self.steps:
                values[step.name] = step.function(*[values[name] for name in step.inputs])
        except UserError:
            raise
        except Exception as error:
            assert step is not None
            raise _failure(step, values, error) from error
        return values

    @property
    def previous(self) -> tuple[str, ...]:
        """Names of the signals whose value of the step before is needed."""
        return tuple(leaf.removeprefix(PREVIOUS) for leaf in self.leaves if leaf.startswith(PREVIOUS))


def _failure(step: Signal, values: Mapping[str, Tensor], error: Exception) -> UserError:
    """What to say when a signal's function raised: which one, on what, why, and at which line of it."""
    given = ", ".join(f"{name} {tuple(values[name].shape)}" for name in step.inputs)
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if "meta" in reason and any(values[name].is_meta for name in step.inputs):
        # Nothing is wrong with its numbers: there are none.
        reason = (
            f"a tensor that it makes is not where its signals are; make it with constant(…, {step.inputs[0]}), of "
            "robo_ppo.env.constants"
            if "expected device" in reason
            else "it looks at single numbers, but all environments are computed at once; use torch.where"
        )
    return UserError(f"'{step.name}' fails on {given or 'nothing'}: {reason} ({where_it_failed(step.function, error)})")


class SignalTable:
    """Every signal that a task, its robot and its terms define, and the leaves that they start from."""

    def __init__(self, signals: Mapping[str, Signal], leaves: Mapping[str, Leaf]) -> None:
        clash = sorted(set(signals) & set(leaves))
        if clash:
            raise UserError(
                f"'{clash[0]}' is a state or a field of the simulation and also a function; rename one "
                f"({where(signals[clash[0]].function)})"
            )
        self.signals = dict(signals)
        self.leaves = dict(leaves)
        self._known: dict[tuple[str, int], Tensor] = {}  # meta tensors by signal and rows: many graphs share signals

    def names(self) -> list[str]:
        """All names that a function may ask for."""
        return sorted({*self.signals, *self.leaves})

    def quantity(self, name: str) -> Quantity:
        """Unit and frame of a signal."""
        base = name.removeprefix(PREVIOUS)
        return self.signals[base].quantity if base in self.signals else self.leaves[base].quantity

    def graph(self, outputs: Iterable[str], *, onboard: bool = False, beginning: Iterable[str] = ()) -> Graph:
        """Resolve names into a graph.

        With `onboard` the measurements are leaves, as they are on the vehicle; otherwise they are computed from the
        simulation. The signals in `beginning` have no past: their previous value is their present one.
        """
        resolver = _Resolver(self, onboard, frozenset(beginning))
        outputs = tuple(dict.fromkeys(outputs))
        for name in outputs:
            resolver.visit(name, ())
        return Graph(outputs, tuple(resolver.leaves), tuple(resolver.steps))

    def graph_with_previous(self, outputs: Iterable[str], *, onboard: bool = False) -> Graph:
        """As `graph`, computing also every signal whose value of the step before is needed, so that it can be kept."""
        graph = self.graph(outputs, onboard=onboard)
        while not set(graph.previous) <= set(graph.outputs):
            graph = self.graph([*graph.outputs, *graph.previous], onboard=onboard)
        return graph

    def measurements(self, outputs: Iterable[str]) -> tuple[str, ...]:
        """The measurements that the outputs need on board, in the order in which they are first needed."""
        leaves = self.graph_with_previous(outputs, onboard=True).leaves
        return tuple(name for name in leaves if name in self.signals)

    def path_off_board(self, name: str) -> tuple[str, ...] | None:
        """The names that lead from a signal to a leaf that no vehicle knows; None if it can be computed on board."""
        base = name.removeprefix(PREVIOUS)
        if base in self.leaves:
            return None if self.leaves[base].onboard else (name,)
        if self.signals[base].is_measurement:
            return None
        for source in self.signals[base].inputs:
            rest = self.path_off_board(source)
            if rest is not None:
                return (name, *rest)
        return None

    def shapes(self, graph: Graph) -> dict[str, tuple[int, ...]]:
        """Shape of every signal of a graph without the environment axis, found by running it on meta tensors."""
        sizes = [self.on_meta(graph, rows) for rows in (3, 5)]
        for name, value in sizes[0].items():
            other = sizes[1][name]
            if value.ndim == 0 or value.shape[0] != 3 or other.shape[0] != 5 or value.shape[1:] != other.shape[1:]:
                raise UserError(
                    f"'{name}' must have one row for each environment, (num_envs, ...), but with 3 environments it has "
                    f"the shape {tuple(value.shape)}{self.defined_at(name)}"
                )
        return {name: tuple(value.shape[1:]) for name, value in sizes[0].items()}

    def on_meta(self, graph: Graph, rows: int) -> dict[str, Tensor]:
        """Every value of a graph as a meta tensor with that many rows: shapes and dtypes without numbers."""
        values = {name: self._meta(name, rows) for name in graph.leaves}
        for step in graph.steps:
            known = self._known.get((step.name, rows))
            values[step.name] = self._computed(step, values) if known is None else known
            self._known[step.name, rows] = values[step.name]
        return values

    def _computed(self, step: Signal, values: Mapping[str, Tensor]) -> Tensor:
        try:
            value = step.function(*[values[name] for name in step.inputs])
        except UserError:
            raise
        except Exception as error:
            raise _failure(step, values, error) from error
        if not isinstance(value, Tensor):
            raise UserError(f"'{step.name}' must return a tensor{self.defined_at(step.name)}")
        return value

    def _meta(self, name: str, rows: int) -> Tensor:
        base = name.removeprefix(PREVIOUS)
        if base in self.leaves:
            leaf = self.leaves[base]
            return torch.empty((rows, *leaf.shape), dtype=leaf.dtype, device="meta")
        # A measurement on board, or the value of a computed signal one step earlier: as it is when computed now.
        if base in self.graph_with_previous([base]).previous:
            raise UserError(
                f"'{base}' needs its own previous value; declare a state that follows it instead{self.defined_at(base)}"
            )
        return self.on_meta(self.graph([base]), rows)[base]

    def defined_at(self, name: str) -> str:
        """Where a signal's function is, in brackets, to end a message with; nothing for a leaf."""
        return f" ({where(self.signals[name].function)})" if name in self.signals else ""


def _unchanged(value: Tensor) -> Tensor:
    return value


class _Resolver:
    """Depth-first walk from the outputs to the leaves."""

    def __init__(self, table: SignalTable, onboard: bool, beginning: frozenset[str]) -> None:
        self.table = table
        self.onboard = onboard
        self.beginning = beginning
        self.leaves: dict[str, None] = {}
        self.steps: list[Signal] = []
        self.done: set[str] = set()

    def visit(self, name: str, path: Sequence[str]) -> None:
        if name in path:
            place = where(self.table.signals[name.removeprefix(PREVIOUS)].function)
            raise UserError(f"signals need each other in a circle: {' → '.join([*path, name])} ({place})")
        if name in self.done:
            return
        self.done.add(name)
        table = self.table
        if name in table.leaves:
            self.leaves[name] = None
        elif name in table.signals:
            found = table.signals[name]
            if self.onboard and found.is_measurement:
                self.leaves[name] = None
                return
            self.done.discard(name)
            for source in found.inputs:
                self.visit(source, [*path, name])
            self.done.add(name)
            self.steps.append(found)
        elif name.startswith(PREVIOUS):
            base = name.removeprefix(PREVIOUS)
            if base not in table.leaves and base not in table.signals:
                raise UserError(
                    f"{self._asked_by(path)}there is no signal '{base}'; {did_you_mean(base, table.names())}"
                )
            if base in self.beginning:
                self.done.discard(name)
                self.visit(base, [*path, name])
                self.done.add(name)
                self.steps.append(Signal(name, _unchanged, (base,), table.quantity(base)))
            else:
                self.leaves[name] = None
        else:
            raise UserError(f"{self._asked_by(path)}there is no signal '{name}'; {did_you_mean(name, table.names())}")

    def _asked_by(self, path: Sequence[str]) -> str:
        if not path:
            return ""
        asking = self.table.signals[path[-1]]
        return f"'{path[-1]}' ({where(asking.function)}) asks for what is not there: "
