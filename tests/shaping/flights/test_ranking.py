"""The ranking test refuses what is known to be bad, with the right counter-example, and lets good rewards pass."""

import dataclasses
import functools
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from robo_ppo.config import RunConfig
from robo_ppo.env.dry_run import DryRun
from robo_ppo.env.language import Program, parse, program_of
from robo_ppo.run.compose import compose
from robo_ppo.shaping.flights import trajectories as stored
from robo_ppo.shaping.flights.ranking import TIE, NotAvailable, Ranking
from robo_ppo.shaping.flights.returns import TermReturns, row_weights
from robo_ppo.shaping.flights.trajectories import Flight, Trajectories
from robo_ppo.shaping.gate import Gate
from tests.shaping.flights.known_bad import KNOWN_BAD, NEEDS_COLUMNS, Bad

ROOT = Path(__file__).parents[3]
TASKS = ("uav_nav", "uav_hover")
BAD = [
    *((task, name, bad) for task in TASKS for name, bad in KNOWN_BAD.items()),
    *(("uav_nav", name, bad) for name, bad in NEEDS_COLUMNS.items()),
]
POOR = {"uav_nav": ("collision", "hover", "weights"), "uav_hover": ("beside", "hurry", "weights")}


@functools.cache
def config_of(task: str) -> RunConfig:
    return compose(f"task={task}")


def poor(task: str, name: str) -> Program:
    """A shipped poor reward, as a program."""
    return program_of(yaml.safe_load((ROOT / f"conf/reward/{task}_poor_{name}.yaml").read_text()), name)


@functools.cache
def gate_of(task: str) -> Gate:
    return Gate(config_of(task))


def ranking_of(task: str) -> Ranking:
    ranking = gate_of(task).ranking
    assert ranking is not None
    return ranking


@functools.cache
def given(task: str) -> TermReturns:
    """Returns of the hand-made reward."""
    return gate_of(task).terms_of(program_of(config_of(task).reward, "given"))


@pytest.mark.parametrize(("task", "name", "bad"), BAD, ids=[f"{task}-{name}" for task, name, _ in BAD])
def test_a_bad_reward_is_refused_with_what_a_policy_would_rather_do(task: str, name: str, bad: Bad) -> None:
    verdicts = gate_of(task).judge(bad.text(name))
    assert [verdict.stage for verdict in verdicts] == ["language", "dry run", "ranking"], verdicts
    assert not verdicts[-1].passed
    ranking = ranking_of(task)
    first = ranking.refusals(gate_of(task).terms_of(parse(bad.text(name), name)))[0]
    worse = ranking.trajectories.flights[first.pair.worse]
    assert worse.kind in bad.instead, verdicts[-1].message
    assert verdicts[-1].message.startswith(f"{ranking.trajectories.kind(worse.kind).title} (episode {worse.episode})")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("factor", [0.01, 1.0, 100.0])
def test_the_hand_made_rewards_pass_at_any_scale(task: str, factor: float) -> None:
    reward = {name: {**s, "weight": factor * s["weight"]} for name, s in config_of(task).reward.items()}
    verdict = gate_of(task).judge(program_of(reward, "scaled"))[-1]
    assert verdict.passed, verdict.message


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    "weights",
    [
        '{"success_bonus": 10.0, "failure": 10.0}',  # nothing but the end
        '{"progress": 1.0, "success_bonus": 20.0, "failure": 10.0, "time": 0.005}',
        '{"progress": 3.0, "success_bonus": 10.0, "failure": 14.0, "time": 0.015, "action_change": 0.002}',
    ],
)
def test_plain_good_rewards_pass(task: str, weights: str) -> None:
    verdict = gate_of(task).judge(f'"""Plain."""\nversion = 1\nweights = {weights}\n')[-1]
    assert verdict.passed, verdict.message


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in POOR.items() for name in names])
def test_the_shipped_poor_rewards_are_refused(task: str, name: str) -> None:
    assert gate_of(task).margin(gate_of(task).terms_of(poor(task, name))) < 0.0


def test_a_refusal_tells_who_is_paid_more_for_what_and_how_to_mend_it() -> None:
    message = gate_of("uav_nav").judge(poor("uav_nav", "hover"))[-1].message
    assert "is worth" in message and "near_goal pays" in message and "succeeding" in message
    assert "must stay below what arriving is worth" in message


@pytest.mark.parametrize("task", TASKS)
def test_the_margin_is_what_a_plain_loop_finds(task: str) -> None:
    returns, ranking = given(task), ranking_of(task)
    margins: list[float] = []
    for pair in ranking.pairs:
        terms = [
            w * (a - b) for w, a, b in zip(returns.weights, *returns.matrix[[pair.better, pair.worse]], strict=True)
        ]
        margins.append(sum(terms) / sum(map(abs, terms)))
    np.testing.assert_allclose(ranking.margins(returns), margins, atol=1e-12)
    assert ranking.margin(returns) == pytest.approx(min(margins))
    assert -1.0 <= min(margins) <= 1.0


def test_other_weights_need_nothing_but_the_terms() -> None:
    gate, reward = gate_of("uav_nav"), config_of("uav_nav").reward
    returns = given("uav_nav")
    other = {name: settings["weight"] * 1.5**place for place, (name, settings) in enumerate(reward.items())}
    program = program_of({name: {**reward[name], "weight": weight} for name, weight in other.items()}, "other")
    quick, slow = gate.margin(returns, returns.weights_of(other)), gate.margin(gate.terms_of(program))
    assert quick == pytest.approx(slow)


def test_a_margin_does_not_see_the_way_that_both_flights_share() -> None:
    """Late and hovering fly the same way until one goes on to the goal: progress on it must not hide the rest."""
    ranking, returns = ranking_of("uav_nav"), gate_of("uav_nav").terms_of(poor("uav_nav", "hover"))
    more = returns.weights * np.where(np.array(returns.names) == "progress", 10.0, 1.0)
    late = [n for n, pair in enumerate(ranking.pairs) if ranking.trajectories.flights[pair.better].kind == "late"]
    assert late and (ranking.margins(returns, more)[late] < TIE).any()


def test_returns_are_discounted_and_what_is_cut_goes_on() -> None:
    """Against a plain loop; a constant reward is worth the same whether it is cut early or late."""
    gamma, period = 0.9, 0.25
    ends = [("success", 5), ("timeout", 7), ("timeout", 3), ("failure", 1)]
    flights: list[Flight] = []
    for number, (end, rows) in enumerate(ends):
        flights.append(Flight("k", number, end, sum(f.rows for f in flights), rows + 1))  # pyright: ignore
    trajectories = Trajectories("t", period, 1.0, (stored.Kind("k", "", {}),), tuple(flights), {})
    weights = row_weights(trajectories, gamma)
    reward = np.random.default_rng(0).normal(size=trajectories.rows)
    for flight in flights:
        paid = reward[flight.first + 1 : flight.first + flight.rows]
        worth = sum(gamma**step * value for step, value in enumerate(paid))
        if flight.end == "timeout":
            last = paid[-4:]  # a second
            worth += gamma ** len(paid) * (sum(last) / len(last)) / (1.0 - gamma)
        found = float(weights[flight.first : flight.first + flight.rows] @ reward[flight.first :][: flight.rows])
        assert found == pytest.approx(worth)
        if flight.end == "timeout":
            assert weights[flight.first : flight.first + flight.rows].sum() == pytest.approx(1.0 / (1.0 - gamma))


def test_without_discount_nothing_is_counted_beyond_a_flight() -> None:
    flight = Flight("k", 0, "timeout", 0, 4)
    assert row_weights(Trajectories("t", 0.25, 1.0, (), (flight,), {}), 1.0).tolist() == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("task", TASKS)
def test_pairs_are_of_one_scene_and_success_is_above_all_that_do_not_succeed(task: str) -> None:
    found = ranking_of(task).trajectories
    compared = {(found.flights[p.better].kind, found.flights[p.worse].kind) for p in ranking_of(task).pairs}
    assert {("success", f.kind) for f in found.flights if f.end != "success"} <= compared
    for pair in ranking_of(task).pairs:
        assert found.flights[pair.better].episode == found.flights[pair.worse].episode


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"settings": {"goal_radius": 0.05}}, "ended otherwise"),
        ({"settings": {"columns": [2, 3]}}, "do not fit"),
        ({"decimation": 2}, "step of"),
        ({"name": "another"}, "no stored flights"),
    ],
)
def test_flights_that_no_longer_fit_the_task_judge_nothing(changes: dict[str, object], reason: str) -> None:
    config = config_of("uav_nav")
    if "settings" in changes:
        changes = {"settings": {**config.task.settings, **dict(changes["settings"])}}  # pyright: ignore
    config = dataclasses.replace(config, task=dataclasses.replace(config.task, **changes))  # pyright: ignore
    with pytest.raises(NotAvailable, match=reason):
        Ranking(config, DryRun(config).table)


@pytest.mark.parametrize("task", TASKS)
def test_the_shipped_flights_are_small_and_end_as_they_say(task: str) -> None:
    """The truth of a success, by hand: 0.15 m from the goal and slower than 0.3 m/s for a second."""
    path = stored.path_of(config_of(task))
    assert path is not None and path.stat().st_size <= 1_000_000
    found = stored.read(path)
    assert {flight.end for flight in found.flights} == {"success", "failure", "timeout"}
    held = math.ceil(1.0 / found.control_period - 0.5)
    for flight in found.flights:
        rows = slice(flight.first + 1, flight.first + flight.rows)
        qpos, qvel = found.leaves["qpos"][rows].numpy(), found.leaves["qvel"][rows].numpy()
        away = np.linalg.norm(qpos[:, :3] - found.leaves["goal_position"][rows].numpy(), axis=1)
        there = (away < 0.15) & (np.linalg.norm(qvel[:, :3], axis=1) < 0.3)
        longest = max((len(list(run)) for here, run in itertools.groupby(there) if here), default=0)
        assert (longest >= held) == (flight.end == "success"), (flight, longest)
        if flight.kind == "hovers":
            assert 0.15 < away[-50:].min() and away[-50:].max() < 0.6
