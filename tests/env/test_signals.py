"""The signal graph: order of evaluation, what is on board, and mistakes that end in a message."""

import inspect
import types
from collections.abc import Callable

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch import Tensor

from robo_ppo.env.observations import Onboard
from robo_ppo.env.signals import Leaf, Quantity, Signal, SignalTable, State, collect, measurement, signal, with_settings
from robo_ppo.errors import UserError

FILE = __file__


@measurement(unit="m", frame="world")
def position(qpos: Tensor) -> Tensor:
    return qpos[:, :3]


@measurement(unit="m", frame="world")
def goal(goal_position: Tensor) -> Tensor:
    return goal_position


@signal(unit="m")
def distance(position: Tensor, goal: Tensor) -> Tensor:
    return (goal - position).norm(dim=1)


@signal(unit="m")
def gained(distance: Tensor, previous_distance: Tensor) -> Tensor:
    return previous_distance - distance


@signal(unit="m/s")
def headwind(wind: Tensor, position: Tensor) -> Tensor:
    return wind * position[:, 0]


@signal(unit="m/s")
def gust(headwind: Tensor, previous_headwind: Tensor) -> Tensor:
    return headwind - previous_headwind


LEAVES = {
    "qpos": Leaf((7,), "field"),
    "qvel": Leaf((6,), "field"),
    "goal_position": State((3,), "m", "world").leaf(),
    "wind": State(unit="m/s").leaf(),
    "last_action": State((4,)).leaf(onboard=True),
}


def table(*functions: Callable[..., Tensor], leaves: dict[str, Leaf] | None = None) -> SignalTable:
    """The signals above and some more, which need no mark."""
    signals = collect(inspect.getmodule(table))
    more = {f.__name__: Signal(f.__name__, f, tuple(inspect.signature(f).parameters), Quantity()) for f in functions}
    return SignalTable(signals | more, LEAVES | (leaves or {}))


def names(steps: tuple[Signal, ...]) -> list[str]:
    return [step.name for step in steps]


def test_marked_functions_are_collected_with_what_they_say_of_themselves() -> None:
    found = collect(inspect.getmodule(table))
    assert set(found) == {"position", "goal", "distance", "gained", "headwind", "gust"}
    assert found["position"].is_measurement and not found["distance"].is_measurement
    assert found["position"].quantity == Quantity("m", "world")
    assert found["gained"].inputs == ("distance", "previous_distance")


def test_a_later_source_replaces_a_signal_of_an_earlier_one() -> None:
    @signal(unit="1")
    def other(wind: Tensor) -> Tensor:
        return wind

    found = collect(inspect.getmodule(table), types.SimpleNamespace(distance=other))
    assert found["distance"].inputs == ("wind",)


def test_methods_are_signals_of_their_object() -> None:
    class Robot:
        scale = 3.0

        @signal(unit="m")
        def scaled(self, wind: Tensor) -> Tensor:
            return self.scale * wind

    found = collect(Robot())["scaled"]
    assert found.inputs == ("wind",)
    assert found.function(torch.tensor([2.0])).tolist() == [6.0]


def test_each_function_is_called_once_and_after_what_it_needs() -> None:
    graph = table().graph(["gained", "distance", "position"])
    assert sorted(names(graph.steps)) == ["distance", "gained", "goal", "position"]
    order = names(graph.steps)
    assert order.index("position") < order.index("distance") < order.index("gained")
    assert set(graph.leaves) == {"qpos", "goal_position", "previous_distance"}
    assert graph.previous == ("distance",)
    assert graph.outputs == ("gained", "distance", "position")


def test_values_are_those_of_the_functions() -> None:
    qpos = torch.tensor([[0.0, 0, 0, 1, 0, 0, 0], [1.0, 0, 0, 1, 0, 0, 0]])
    goals = torch.tensor([[3.0, 4, 0], [1.0, 0, 2]])
    leaves = {"qpos": qpos, "goal_position": goals, "previous_distance": torch.tensor([6.0, 1.5]), "more": qpos}
    values = table().graph(["gained"])(leaves)
    assert values["distance"].tolist() == [5.0, 2.0]
    assert values["gained"].tolist() == [1.0, -0.5]
    assert "more" not in values


def test_what_begins_takes_its_present_for_the_step_before() -> None:
    def gained_more(gained: Tensor, previous_gained: Tensor, previous_wind: Tensor) -> Tensor:
        return gained - previous_gained + previous_wind

    graph = table(gained_more).graph(["gained_more", "gained"], beginning=["gained", "distance"])
    assert set(graph.leaves) == {"qpos", "goal_position", "previous_wind"}
    leaves = {"qpos": torch.ones(1, 7), "goal_position": torch.zeros(1, 3), "previous_wind": torch.tensor([0.25])}
    values = graph(leaves)
    assert values["previous_distance"].tolist() == values["distance"].tolist() == [pytest.approx(3.0**0.5)]
    assert values["gained"].tolist() == values["previous_gained"].tolist() == [0.0]
    assert values["gained_more"].tolist() == [0.25]


@given(st.data())
def test_any_graph_without_a_circle_is_evaluated_like_nested_calls(data: st.DataObject) -> None:
    """Random graphs of sums: against recursion without any order."""
    size = data.draw(st.integers(1, 8))
    inputs = {
        f"s{i}": data.draw(st.lists(st.sampled_from(["wind", *[f"s{j}" for j in range(i)]]), max_size=3, unique=True))
        for i in range(size)
    }
    order = data.draw(st.permutations(sorted(inputs)))
    signals = {
        name: Signal(name, lambda *values: sum(values, torch.ones(2)), tuple(inputs[name]), Quantity())
        for name in order
    }

    def truth(name: str) -> float:
        return 0.5 if name == "wind" else 1.0 + sum(map(truth, inputs[name]))

    outputs = data.draw(st.lists(st.sampled_from(order), min_size=1))
    graph = SignalTable(signals, LEAVES).graph(outputs)
    values = graph({"wind": torch.full((2,), 0.5)})
    for name in outputs:
        assert values[name].tolist() == [truth(name)] * 2
    assert len(names(graph.steps)) == len(set(names(graph.steps)))


def test_a_circle_is_refused_and_shown() -> None:
    def hen(egg: Tensor) -> Tensor:
        return egg

    def egg(nest: Tensor) -> Tensor:
        return nest

    def nest(hen: Tensor) -> Tensor:
        return hen

    with pytest.raises(UserError, match="hen → egg → nest → hen"):
        table(hen, egg, nest).graph(["hen"])


def test_an_unknown_output_names_the_nearest_right_one() -> None:
    with pytest.raises(UserError, match=r"no signal 'distanze'; did you mean distance"):
        table().graph(["distanze"])
    with pytest.raises(UserError, match=r"no signal 'distanze'; did you mean distance"):
        table().graph(["previous_distanze"])
    with pytest.raises(UserError, match=r"no signal 'zzz'; known: .*distance.*wind"):
        table().graph(["zzz"])


def test_an_unknown_parameter_says_who_asks_and_where() -> None:
    def term(positon: Tensor) -> Tensor:
        return positon

    def later(previous_positon: Tensor) -> Tensor:
        return previous_positon

    for function in (term, later):
        line = function.__code__.co_firstlineno
        with pytest.raises(
            UserError, match=rf"'{function.__name__}' \(.*test_signals.py:{line}\).*did you mean position"
        ):
            table(function).graph([function.__name__])


def test_a_name_cannot_be_both_a_leaf_and_a_function() -> None:
    with pytest.raises(UserError, match="'distance' is a state or a field of the simulation and also a function"):
        table(leaves={"distance": State().leaf()})


@pytest.mark.parametrize(
    "function", [lambda *signals: signals[0], lambda **signals: signals, eval("lambda wind, /: wind")]
)
def test_parameters_that_name_no_signal_are_refused(function: Callable[..., Tensor]) -> None:
    with pytest.raises(UserError, match=r"cannot name signals; name each signal"):
        collect(types.SimpleNamespace(marked=signal()(function)))


# On board


def test_on_board_measurements_are_leaves() -> None:
    graph = table().graph(["gained"], onboard=True)
    assert set(graph.leaves) == {"position", "goal", "previous_distance"}
    assert names(graph.steps) == ["distance", "gained"]


def test_measurements_that_are_needed_on_board() -> None:
    assert table().measurements(["distance"]) == ("position", "goal")
    assert table().measurements(["last_action"]) == ()
    # To know it one step earlier, it must be computed now.
    assert set(table().measurements(["previous_distance"])) == {"position", "goal"}
    assert table().measurements(["previous_position"]) == ("position",)


def test_the_path_off_board() -> None:
    signals = table()
    for name in ("position", "distance", "gained", "previous_distance", "last_action"):
        assert signals.path_off_board(name) is None
    assert signals.path_off_board("headwind") == ("headwind", "wind")
    assert signals.path_off_board("gust") == ("gust", "headwind", "wind")
    assert signals.path_off_board("previous_gust") == ("previous_gust", "headwind", "wind")
    assert signals.path_off_board("qvel") == ("qvel",)


def test_a_policy_that_cannot_fly_says_why() -> None:
    Onboard(table(), ["distance", "last_action"]).refuse_to_export()
    with pytest.raises(UserError, match="'gust', which cannot be computed on board: gust → headwind → wind"):
        Onboard(table(), ["distance", "gust"]).refuse_to_export()


def test_an_observation_with_memory_needs_nothing_but_measurements_and_memory() -> None:
    """Also where what is remembered needs memory itself."""

    def jerk(gained: Tensor, previous_gained: Tensor) -> Tensor:
        return gained - previous_gained

    onboard = Onboard(table(jerk), ["jerk", "position"])
    assert set(onboard.measurements) == {"position", "goal"}
    assert onboard.remembered == {"previous_gained": (), "previous_distance": ()}
    assert (onboard.states, onboard.size) == ((), 4)
    memory = {name: torch.zeros(1) for name in onboard.remembered}
    jerks: list[float] = []
    for x in (1.0, 3.0, 6.0, 6.0):
        known = {"position": torch.zeros(1, 3), "goal": torch.tensor([[x, 0.0, 0.0]])}
        observation, memory = onboard.observe(known | memory)
        jerks.append(float(observation[0, 0]))
    # Distances 0 1 3 6 6, gains -1 -2 -3 0, their changes -1 -1 -1 3.
    assert jerks == [-1.0, -1.0, -1.0, 3.0]


def test_a_policy_that_observes_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="observes nothing"):
        Onboard(table(), [])


# Shapes


def test_shapes_are_found_without_numbers() -> None:
    signals = table()
    assert signals.shapes(signals.graph(["gained", "last_action"])) == {
        "qpos": (7,),
        "goal_position": (3,),
        "position": (3,),
        "goal": (3,),
        "distance": (),
        "previous_distance": (),
        "gained": (),
        "last_action": (4,),
    }
    assert signals.shapes(signals.graph(["previous_position", "gained"], onboard=True)) == {
        "previous_position": (3,),
        "position": (3,),
        "goal": (3,),
        "distance": (),
        "previous_distance": (),
        "gained": (),
    }


@given(st.lists(st.integers(1, 4), max_size=3), st.integers(1, 3))
def test_shapes_of_any_leaf(shape: list[int], repeats: int) -> None:
    def wider(leaf: Tensor) -> Tensor:
        return torch.stack([leaf] * repeats, -1)

    signals = table(wider, leaves={"leaf": State(tuple(shape)).leaf()})
    assert signals.shapes(signals.graph(["wider"]))["wider"] == (*shape, repeats)


def total(position: Tensor) -> Tensor:
    return position.sum()


def of_all(position: Tensor) -> Tensor:
    return position.sum(0)


def fixed(position: Tensor) -> Tensor:
    return torch.zeros(3, device=position.device)


def crossed(position: Tensor) -> Tensor:
    return position @ position.T


@pytest.mark.parametrize("wrong", [total, of_all, fixed, crossed], ids=lambda f: f.__name__)
def test_a_signal_without_a_row_for_each_environment_is_refused(wrong: Callable[..., Tensor]) -> None:
    line = wrong.__code__.co_firstlineno
    signals = table(wrong)
    with pytest.raises(
        UserError, match=rf"'{wrong.__name__}' must have one row for each environment.*test_signals.py:{line}"
    ):
        signals.shapes(signals.graph([wrong.__name__]))


def test_a_signal_that_fails_says_on_what_shapes() -> None:
    def broken(position: Tensor, last_action: Tensor) -> Tensor:
        return position + last_action

    signals = table(broken)
    with pytest.raises(
        UserError, match=r"'broken' fails on position \(3, 3\), last_action \(3, 4\): .*test_signals.py"
    ):
        signals.shapes(signals.graph(["broken"]))


def test_a_signal_that_is_no_tensor_is_refused() -> None:
    def parts(position: Tensor) -> Tensor:
        return position.unbind(1)  # pyright: ignore[reportReturnType]

    signals = table(parts)
    with pytest.raises(UserError, match=r"'parts' must return a tensor \(.*test_signals.py"):
        signals.shapes(signals.graph(["parts"]))


def test_a_signal_cannot_need_its_own_past() -> None:
    def smooth(position: Tensor, previous_smooth: Tensor) -> Tensor:
        return position + previous_smooth

    def tick(previous_tock: Tensor) -> Tensor:
        return previous_tock

    def tock(previous_tick: Tensor) -> Tensor:
        return previous_tick

    def sum_of(position: Tensor, previous_tick: Tensor) -> Tensor:
        return position[:, 0] + previous_tick

    signals = table(smooth, tick, tock, sum_of)
    for name in ("smooth", "tick", "sum_of"):
        with pytest.raises(UserError, match="needs its own previous value; declare a state that follows it instead"):
            signals.shapes(signals.graph([name]))


def test_units_and_frames() -> None:
    signals = table()
    assert signals.quantity("position") == signals.quantity("previous_position") == Quantity("m", "world")
    assert signals.quantity("wind") == Quantity("m/s", "")


# Settings


def shaped(distance: Tensor, *, margin: float, power: int = 2, inverted: bool = False, note: str = "") -> Tensor:
    return (distance / margin) ** power * (-1.0 if inverted else 1.0)


def test_settings_are_filled_in() -> None:
    assert with_settings(shaped, {"margin": 2.0}, "t")(torch.tensor([4.0])).tolist() == [4.0]
    assert with_settings(shaped, {"margin": 2, "power": 3, "inverted": True}, "t")(torch.tensor([4.0])).tolist() == [
        -8.0
    ]
    assert with_settings(total, {}, "t") is total


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"reward.shaped needs the setting margin \(.*test_signals.py:\d+\)"),
        ({"margn": 1.0}, r"reward.shaped has no setting 'margn'; did you mean margin\? \(.*test_signals.py:\d+\)"),
        ({"margin": "wide"}, "margin must be of type float, not 'wide'"),
        ({"margin": True}, "margin must be of type float, not True"),
        ({"margin": None}, "margin must be of type float, not None"),
        ({"margin": 1.0, "power": 1.5}, "power must be of type int, not 1.5"),
        ({"margin": 1.0, "power": True}, "power must be of type int, not True"),
        ({"margin": 1.0, "inverted": 1}, "inverted must be of type bool, not 1"),
        ({"margin": 1.0, "distance": 1.0}, "has no setting 'distance'"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_settings(shaped, settings, "reward.shaped")
