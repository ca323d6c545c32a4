"""The reward language: what a program means, against torch written by hand, and what is said where one is wrong."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.reward_language import PROGRAM as TEXT
from robo_ppo.env.build import build
from robo_ppo.env.dry_run import DryRun
from robo_ppo.env.language import applied, parse, program_of
from robo_ppo.env.language.kernels import KERNELS
from robo_ppo.env.language.operations import OPERATIONS
from robo_ppo.env.language.term import Term
from robo_ppo.env.rewards import Reward
from robo_ppo.env.signals import signature, where, where_it_failed, with_settings
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from tests.env.hostile_programs import with_expression, with_parameters, with_statement, with_weights

ROWS = 5
NUMERIC = [
    name for name, found in OPERATIONS.items() if found.on_numbers and found.gives == "float" and name != "float"
]


def signals() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "goal_distance": torch.rand(ROWS),
        "speed": torch.rand(ROWS) * 2,
        "velocity": torch.randn(ROWS, 3),
        "success": torch.rand(ROWS) > 0.5,
        "previous_goal_distance": torch.rand(ROWS),
    }


def term(text: str) -> Term:
    return parse(text, "mine.py").functions["trap"]


def value(text: str, **settings: float) -> Tensor:
    return term(text)(*signals().values(), **settings)


S = signals()
MEANINGS: dict[str, Tensor] = {
    "-speed * 2 + 1": -S["speed"] * 2 + 1,
    "1 - speed / margin": 1 - S["speed"] / 0.3,
    "speed % 0.3 + speed // 0.3": S["speed"] % 0.3 + S["speed"] // 0.3,
    "speed ** 2 + 2 ** speed": S["speed"] ** 2 + 2 ** S["speed"],
    "exp(-1.0) * speed": torch.exp(torch.tensor(-1.0)) * S["speed"],
    "sum(velocity)": S["velocity"].sum(1),
    "mean(velocity) + norm(velocity)": S["velocity"].mean(1) + S["velocity"].norm(dim=1),
    "max(velocity) - min(velocity)": S["velocity"].amax(1) - S["velocity"].amin(1),
    "max(speed, 0.5) + min(0.5, speed)": S["speed"].clamp(min=0.5) + S["speed"].clamp(max=0.5),
    "maximum(speed, goal_distance)": torch.maximum(S["speed"], S["goal_distance"]),
    "sum(velocity * speed)": (S["velocity"] * S["speed"][:, None]).sum(1),
    "sum(speed * velocity)": (S["velocity"] * S["speed"][:, None]).sum(1),
    "velocity[:, 2] - velocity[..., 0]": S["velocity"][:, 2] - S["velocity"][:, 0],
    "norm(velocity[:, :2])": S["velocity"][:, :2].norm(dim=1),
    "norm(velocity[:, 1:])": S["velocity"][:, 1:].norm(dim=1),
    "dot(velocity, velocity)": (S["velocity"] ** 2).sum(1),
    "where(speed > 1, 1.0, 0.0)": (S["speed"] > 1).float(),
    "1.0 if speed > 1 else -speed": torch.where(S["speed"] > 1, 1.0, -S["speed"]),
    "speed > 1": (S["speed"] > 1).float(),
    "(speed > 1) + (speed > 0.5)": (S["speed"] > 1).float() + (S["speed"] > 0.5).float(),
    "0.2 < speed < 1.2": ((S["speed"] > 0.2) & (S["speed"] < 1.2)).float(),
    "success": S["success"].float(),
    "1.0 - success": 1.0 - S["success"].float(),
    "success and speed > 1": (S["success"] & (S["speed"] > 1)).float(),
    "success or not speed > 1": (S["success"] | ~(S["speed"] > 1)).float(),
    "success & ~(speed > 1) | (speed < 0.2)": (S["success"] & ~(S["speed"] > 1) | (S["speed"] < 0.2)).float(),
    "speed if success else goal_distance": torch.where(S["success"], S["speed"], S["goal_distance"]),
    "where(success, velocity[:, 0], 0.0)": torch.where(S["success"], S["velocity"][:, 0], 0.0),
    "sum(where(success, velocity, 0.0))": torch.where(S["success"][:, None], S["velocity"], 0.0).sum(1),
    "any(velocity > 0) and all(velocity < 2)": ((S["velocity"] > 0).any(1) & (S["velocity"] < 2).all(1)).float(),
    "clamp(speed, 0, 1)": S["speed"].clamp(0, 1),
    "clip(speed, max=0.5)": S["speed"].clamp(max=0.5),
    "clamp(speed, goal_distance, 1.0)": S["speed"].clamp(min=S["goal_distance"]).clamp(max=1.0),
    "clamp(0.5, min=speed)": S["speed"].clamp(min=0.5),
    "atan2(speed, 1.0) + atan2(velocity[:, 0], velocity[:, 1])": torch.atan(S["speed"])
    + torch.atan2(S["velocity"][:, 0], S["velocity"][:, 1]),
    "speed * (margin > 0.2)": S["speed"],
    "speed * (1.0 if margin > 0.2 and margin < 1 else 0.0)": S["speed"],
    "success and margin > 0.2": S["success"].float(),
    "cos(pi * speed)": torch.cos(torch.pi * S["speed"]),
    "relu(speed - 1) + sigmoid(speed) + softplus(speed)": torch.relu(S["speed"] - 1)
    + torch.sigmoid(S["speed"])
    + torch.nn.functional.softplus(S["speed"]),
    "previous_goal_distance - goal_distance": S["previous_goal_distance"] - S["goal_distance"],
}


@pytest.mark.parametrize("expression", MEANINGS)
def test_an_expression_means_what_torch_means(expression: str) -> None:
    found = value(with_expression(expression))
    assert found.shape == (ROWS,)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, MEANINGS[expression])


def test_names_are_assigned_and_changed() -> None:
    found = value(with_statement("x = speed\nx += 1.0\ny: Tensor = x * 2\nspeed = y - x"))
    torch.testing.assert_close(found, S["speed"] + 1.0)


@pytest.mark.parametrize("name", NUMERIC)
def test_an_operation_does_to_numbers_what_it_does_to_tensors(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation.on_numbers is not None
    numbers = [0.3, 0.5, 0.7][: len(operation.parameters)]
    expected = operation.on_numbers(*numbers)
    found = KERNELS[name](*[torch.tensor([number]) for number in numbers])
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_the_table_and_the_kernels_know_the_same_operations() -> None:
    assert set(OPERATIONS) <= set(KERNELS)


def test_every_hand_made_term_of_a_task_written_as_a_program_pays_the_same() -> None:
    """On transitions of the real task, whose episodes end and begin anew."""
    config = dataclasses.replace(compose("task=uav_hover", "reward=uav_nav"), seed=3)
    program = parse(TEXT, "uav_nav.py")
    assert program.functions.keys() == config.reward.keys()
    by_hand, written = (build(c, "train", 32, episodes=32) for c in (config, applied(config, program)))
    for environment in (by_hand, written):
        environment.reset()
    generator = torch.Generator().manual_seed(0)
    ends = 0
    for _ in range(40):
        action = torch.rand((32, by_hand.action_size), generator=generator) * 2 - 1
        one, other = (environment.step(action) for environment in (by_hand, written))
        for name in by_hand.reward.outputs:
            torch.testing.assert_close(one.values[name].float(), other.values[name], rtol=0.0, atol=1e-6)
        torch.testing.assert_close(one.reward, other.reward, rtol=1e-6, atol=1e-6)
        ends += int((one.terminated | one.truncated).sum())
    assert ends > 0


def test_a_term_is_used_as_any_other() -> None:
    found = term(with_expression("speed * margin"))
    assert signature(found) == (tuple(S), {"margin": 0.3})
    assert where(found) == "mine.py:5"
    half = with_settings(found, {"margin": 0.5}, "reward.trap")
    torch.testing.assert_close(half(*S.values()), S["speed"] * 0.5)
    assert where(half) == "mine.py:5"
    with pytest.raises(UserError, match="no setting 'margn'; did you mean margin"):
        with_settings(found, {"margn": 0.5}, "reward.trap")
    assert where_it_failed(found, ValueError()) == "mine.py:5"


@pytest.mark.parametrize("name", ["self", "function", "settings", "signals"])
def test_a_setting_may_have_any_name(name: str) -> None:
    text = with_expression(f"speed * {name}").replace("margin=0.3", f"{name}=0.3")
    torch.testing.assert_close(value(text, **{name: 2.0}), S["speed"] * 2.0)


def test_a_value_that_nobody_needs_any_more_is_let_go_of() -> None:
    program = with_expression("exp(exp(exp(exp(exp(speed)))))")
    alive = [step.dead for step in term(program).code.steps]
    assert all(alive[1:])
    assert [step.operation for step in term(with_statement("x = exp(speed)\ny = sin(x)")).code.steps] == ["as_float"]


def test_weights_are_replaced_in_the_text() -> None:
    program = parse(with_expression("speed * margin") + "# the end\n", "mine.py")
    assert program.weights == {"trap": {"weight": 1.0, "margin": 0.3}}
    changed = program.with_weights({"trap": {"weight": 2, "margin": 0.5}, "progress": {"weight": 1e-3}})
    assert changed.weights == {"trap": {"weight": 2.0, "margin": 0.5}, "progress": {"weight": 0.001}}
    assert changed.description == program.description
    assert changed.text.endswith("return speed * margin\n# the end\n")
    assert changed.with_weights(changed.weights).text == changed.text


def test_a_reward_of_the_configuration_is_a_program_too() -> None:
    config = compose("task=uav_nav")
    program = program_of(config.reward, 'Tells of """ quotes, ${seed}, \\ and\nlines')
    assert program.weights == config.reward
    assert not program.functions
    assert applied(config, program).reward == config.reward
    assert parse(program.text, "again").weights == program.weights
    with pytest.raises(UserError, match=r"progress.kind must be a number in a program, not 'x'"):
        program_of({"progress": {"weight": 1.0, "kind": "x"}}, "")


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("torch.exp(speed)", "there are no dots here: '.exp'; write exp(x)"),
        ("velocity.norm(dim=1)", "there are no dots here: '.norm'; write norm(x)"),
        ("torch.linalg.norm(velocity)", "there are no dots here: '.norm'; write norm(x)"),
        ("math.pi * speed", "there are no dots here; write pi"),
        ("exq(speed)", "there is no operation 'exq'; did you mean exp"),
        ("spede * 2", "a signal must be a parameter of the function; did you mean speed"),
        ("norm(velocity, dim=-1)", "write norm(x), without dim: it is always over the vector of each environment"),
        ("speed[0]", "environments cannot be picked; write x[:, 0]"),
        ("velocity[:, -1]", "a place in a vector is a whole number from 0 on"),
        ("1.0", "the same number for every environment and in every step; if it is meant, write it with a signal"),
        ("speed / 0", "this divides by zero"),
        ("1 / 0 * speed", "this divides by zero"),
        ("speed and 1.0", "'and' needs a condition, such as speed < 1.0, not a number"),
        (
            "speed > 1 & goal_distance < 2",
            "'&' needs a condition, such as speed < 1.0, not a number; put",
        ),
        ("velocity @ velocity", "'@' is not known here; write dot(a, b)"),
        ("clamp(speed, low=1)", "clamp takes no 'low' here; write clamp(x, min, max)"),
        ("trap(speed)", "a term cannot call another ('trap')"),
        ("[speed]", "lists cannot stand here"),
        ("sum(v for v in velocity)", "there are no loops; sum(x), mean(x) and the others run over a vector"),
        ("norm(speed)", "norm runs over the vector of each environment, and this is one number for each"),
        ("velocity[:, 3]", "this has 3 numbers for each environment, from [:, 0] to [:, 2]"),
        ("velocity * velocity[:, :2]", "mul cannot join, for each environment, 3 and 2"),
        ("velocity", "must return one value per environment, (num_envs,), not (num_envs, 3)"),
        ("speed if speed else 0.0", "the signal is a number; compare it"),
        ("speed * exp(margin * 10000)", "this has no value that is a number"),
    ],
)
def test_mistakes_are_told_with_the_line_and_what_is_right(trial: DryRun, expression: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        trial(parse(with_expression(expression), "mine.py"))
    assert said in str(caught.value)
    assert "mine.py:6" in str(caught.value) or "(mine.py:5)" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (with_statement("import torch"), "mine.py:6: nothing needs importing"),
        (
            with_statement("if speed > 1:\n    x = 1"),
            "mine.py:6: 'if' cannot begin a statement; write x = a if",
        ),
        (with_statement("for i in range(3):\n    x = 1"), "mine.py:6: there are no loops"),
        (with_weights('weights = {"trap": -1}'), "mine.py:3: the weight of 'trap' must be a number of at least 0"),
        (with_weights('weights = {"progress": 1}'), "the term 'trap' has no weight; add \"trap\": … to weights"),
        (
            with_weights('weights = {"trap": {"weight": 1, "margn": 2}}'),
            "mine.py:3: 'trap' has no setting 'margn'",
        ),
        (
            with_weights('weights = {"trap": 1, "progres": 1}'),
            "mine.py:3: there is no reward term 'progres'; did",
        ),
        (with_parameters("sped, speed"), "mine.py:5: there is no signal 'sped'; did you mean speed"),
        ('"""x"""\nweights = {"a": 1}\n', "say which version of the language this is: version = 1"),
        ("import torch\n", "a program begins with what it is for"),
    ],
)
def test_mistakes_outside_of_expressions(trial: DryRun, text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        trial(parse(text, "mine.py"))
    assert said in str(caught.value)


@pytest.fixture(scope="module")
def trial() -> DryRun:
    return DryRun(compose("task=uav_hover"))


def test_recorded_signals_must_be_paid_with_finite_numbers_of_a_sensible_size(trial: DryRun) -> None:
    recorded = {**signals(), "speed": torch.tensor([1.0, 0.5, 0.0, 1.0, 1.0])}
    trial(parse(with_expression("speed"), "mine.py"), recorded)
    with pytest.raises(UserError, match=r"mine.py:5: the term 'trap' is not finite: -inf, from .*speed = 0"):
        trial(parse(with_expression("log(speed)"), "mine.py"), recorded)
    with pytest.raises(UserError, match=r"the term 'trap' pays more than 1e\+06 in a step: 2e\+06"):
        trial(parse(with_expression("speed * 2e6"), "mine.py"), recorded)


def test_a_program_that_would_slow_the_training_down_is_refused() -> None:
    trial = DryRun(compose("task=uav_nav"))
    text = with_statement("x = sum(velocity)\nSLOW").replace("velocity", "ranges").replace("x = sum", "x = tanh")
    text = text.replace("return speed", "return speed * sum(x)")
    for slow, said in (
        ("x = abs(x) * x\n    " * 15, ""),
        (
            "x = tan(ranges) + abs(x)\n    " * 20,
            r"mine\.py:5: the program computes more than 1024 numbers for each environment",
        ),
        ("x = x * x * x * x * x * x\n    " * 110, r"mine\.py:3: the program has 55\d operations"),
    ):
        program = parse(text.replace("SLOW", slow.rstrip()), "mine.py")
        if said:
            with pytest.raises(UserError, match=said):
                trial(program)
        else:
            trial(program)


def test_a_slow_program_is_refused_by_whoever_builds_with_it() -> None:
    text = with_statement("x = tanh(ranges)" + "\nx = tan(ranges) + abs(x)" * 20)
    text = text.replace("velocity", "ranges").replace("return speed", "return speed * sum(x)")
    program = parse(text, "mine.py")
    with pytest.raises(UserError, match="more than 1024 numbers"):
        build(applied(compose("task=uav_nav"), program), "train", 2)


def test_whole_numbers_are_floats() -> None:
    """Python's own grow without end, and so would the time that a setting squared again and again takes."""
    text = (
        '"""A test."""\nversion = 1\nweights = {"evil": 1.0}\n\ndef evil(speed, *, n=1.0):\n' + "    n = n * n\n" * 40
    )
    text += "    return speed + n\n"
    reward = Reward({"evil": {"weight": 1.0, "n": 3}}, [], torch.device("cpu"), parse(text, "mine.py").functions)
    value = reward.signals["reward.evil"].function(torch.zeros(2))
    assert value.isinf().all()
    with pytest.raises(UserError, match="too large"):
        Reward({"evil": {"weight": 1.0, "n": 10**400}}, [], torch.device("cpu"), parse(text, "mine.py").functions)


def test_a_program_needs_no_number_from_the_device() -> None:
    """On tensors without numbers, any look at one raises."""
    program = parse(TEXT, "uav_nav.py")
    given = {"velocity": 3, "last_action": 4, "previous_last_action": 4, "gyro": 3, "goal_direction": 3}
    for name, found in program.functions.items():
        kinds = {"success": torch.bool, "failed": torch.bool}
        inputs = [
            torch.empty((8, *([given[s]] if s in given else [])), dtype=kinds.get(s, torch.float32), device="meta")
            for s in found.code.signals
        ]
        settings = {key: number for key, number in program.weights[name].items() if key != "weight"}
        assert found(*inputs, **settings).shape == (8,)


PAGE = Path(__file__).parents[2] / "docs" / "reward_language.md"


def test_the_page_lists_every_operation_as_the_table_has_it() -> None:
    rows = re.findall(r"^\| `(\w+)\((.*?)\)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [(name, ", ".join(found.names), found.says) for name, found in OPERATIONS.items()]


def test_the_example_of_the_page_works(trial: DryRun) -> None:
    example = PAGE.read_text().split("```python\n")[1].split("```")[0]
    trial(parse(example, "my_reward.py"))
