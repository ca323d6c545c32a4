"""From a configuration to an environment: names become classes, functions and graphs, and mistakes become messages.

environment = build(config, split="train", num_envs=1024)               # of a task of signals
environment = make_environment(config, split="train", num_envs=1024)    # of whatever task.entry_point names
"""

import dataclasses
from typing import Any, get_type_hints

import mujoco
import numpy as np
import torch

from robo_ppo.config import CurriculumConfig, MeasurementConfig, RunConfig, TaskConfig
from robo_ppo.env.backends import make_simulation
from robo_ppo.env.bounds import check_bounds
from robo_ppo.env.classes import check_robot, load_class, scenes_of
from robo_ppo.env.environment import Environment, EnvironmentOptions
from robo_ppo.env.language import PROGRAM, parse
from robo_ppo.env.measurements import Measured, Sensors, scaled
from robo_ppo.env.observations import Onboard
from robo_ppo.env.randomization import Randomization
from robo_ppo.env.rewards import Reward
from robo_ppo.env.robot import Robot
from robo_ppo.env.scenes import Columns, Split, build_bank, stream_of
from robo_ppo.env.signals import Leaf, SignalTable, State, collect
from robo_ppo.env.task import SUCCESS, Task
from robo_ppo.env.vector import ForeignEnvironment, VectorEnvironment
from robo_ppo.errors import UserError, did_you_mean

TRAINING_SCENES = 8192
LAST_ACTION = "last_action"


def make_environment(
    config: RunConfig,
    split: Split,
    num_envs: int,
    *,
    episodes: int = TRAINING_SCENES,
    rank: int = 0,
    ranks: int = 1,
    recorded: bool = False,
) -> VectorEnvironment:
    """The configured environment: `task.entry_point` names a `Task`, or a class that makes environments of its own.

    The parameters are those of `build`; `recorded` computes also what an evaluation reports and shows.
    """
    if is_foreign(config):
        return make_foreign(config, split, num_envs, rank=rank, ranks=ranks)
    extra = make_task(config).recorded() if recorded else ()
    return build(config, split, num_envs, episodes=episodes, rank=rank, ranks=ranks, extra_signals=extra)


def is_foreign(config: RunConfig) -> bool:
    """Whether the configured environments are simulated by another library."""
    return _foreign_class(config) is not None


def affordable(config: RunConfig, wanted: int) -> int:
    """As many environments side by side as are wanted, and as are cheap."""
    foreign = _foreign_class(config)
    return (
        wanted if foreign is None else min(wanted, foreign.at_once(_settings(foreign.Settings, config.task.settings)))
    )


def make_foreign(
    config: RunConfig, split: Split, num_envs: int, *, rank: int = 0, ranks: int = 1, film: bool = False
) -> ForeignEnvironment:
    """The configured environments of another library; `film` makes them such that they can be drawn."""
    foreign = _foreign_class(config)
    if foreign is None:
        raise UserError(f"{config.task.name} is a task of signals; its environments are not another library's")
    settings = _settings(foreign.Settings, config.task.settings)
    return foreign.make(settings, split, config.seed, num_envs, rank=rank, ranks=ranks, film=film)


def build(
    config: RunConfig,
    split: Split,
    num_envs: int,
    *,
    episodes: int = TRAINING_SCENES,
    rank: int = 0,
    ranks: int = 1,
    extra_signals: tuple[str, ...] = (),
) -> Environment:
    """An environment of the configured task.

    Training environments draw from a bank of `episodes` scenes and begin at random ages; validation and test run the
    episodes 0, 1, 2, … `episodes` - 1 of their split. Of several ranks, each runs its share of them. `extra_signals`
    are computed besides what the task needs (metrics, readings).
    """
    for name, number in (("num_envs", num_envs), ("episodes", episodes)):
        if number < 1:
            raise UserError(f"{name} must be at least 1, not {number}")
    task = make_task(config)
    robot, settings = task.robot, config.task
    _check_times(settings)
    spec = robot.spec()
    spec.option.timestep = settings.timestep
    spec.compiler.discardvisual = True  # what is only to be looked at need not move with the physics
    model = spec.compile()
    check_robot(robot, model)
    sim = make_simulation(config, model, num_envs)

    randomization = Randomization(config.randomization, robot.parameters())
    reward = make_reward(config, task, sim.device)
    table, states = signal_table(task, randomization, reward)
    reward.check(table)
    if config.program:
        check_bounds(parse(config.program, PROGRAM), reward, table)
    _check_ends(table, task)

    _check_observation(settings)
    onboard = Onboard(table, list(settings.observation.policy), settings.observation.history)
    critic = tuple(name for name in settings.observation.critic if name not in onboard.signals)
    table.graph(critic)
    sensors = _sensors(config, table, onboard, num_envs, sim.device)
    low, high = _delay(settings.action_delay)
    factor = config.randomization.measurement_errors
    options = EnvironmentOptions(
        num_envs=num_envs,
        control_period=settings.timestep * settings.decimation,
        decimation=settings.decimation,
        max_episode_steps=round(settings.episode_seconds / (settings.timestep * settings.decimation)),
        stream=stream_of(split, config.seed),
        random_first_ages=split == "train",
        action_delay=(low * factor, high * factor),
        debug=config.debug,
        rank=rank,
        ranks=ranks,
    )

    def draw_action_delay(rng: np.random.Generator, count: int) -> Columns:
        return {"action_delay": rng.random(count, dtype=np.float32)}

    scenes = scenes_of(task, states, model)
    draws = {"scene": scenes, "action_delay": draw_action_delay, **randomization.draws(), **sensors.draws()}
    bank = build_bank(draws, split, config.seed, episodes, sim.device)
    return Environment(
        sim, task, table, states, onboard, critic, sensors, reward, randomization, bank, options, extra_signals
    )


def make_task(config: RunConfig) -> Task:
    """The task with its robot and settings."""
    robot = _robot_class(config)(config.robot.action)
    task_class = _task_class(config)
    settings = _settings(task_class.Settings, config.task.settings)
    return task_class(robot, settings, config.task.timestep * config.task.decimation)


def signal_table(task: Task, randomization: Randomization, reward: Reward) -> tuple[SignalTable, dict[str, State]]:
    """All signals of a task, and the states behind them."""
    robot = task.robot
    states = {**robot.states(), **task.states(), **randomization.states()}
    states[LAST_ACTION] = State((robot.action.size,))
    model = robot.spec().compile()
    data = mujoco.MjData(model)
    leaves = {name: Leaf(tuple(np.shape(getattr(data, name))), "field") for name in robot.fields()}
    leaves |= {name: state.leaf(onboard=name == LAST_ACTION) for name, state in states.items()}
    return SignalTable({**collect(*task.sources(), robot, task), **reward.signals}, leaves), states


def _sensors(config: RunConfig, table: SignalTable, onboard: Onboard, num_envs: int, device: torch.device) -> Sensors:
    configured = config.task.measurements
    measurements = [name for name, found in table.signals.items() if found.is_measurement]
    for name in configured:
        if name not in measurements:
            raise UserError(f"task.measurements: there is no measurement '{name}'; {did_you_mean(name, measurements)}")
    factor = config.randomization.measurement_errors
    shapes = table.shapes(table.graph(onboard.measurements))
    layout = [
        Measured(
            name,
            shapes[name],
            table.quantity(name),
            scaled(configured[name], factor, name) if name in configured else MeasurementConfig(),
        )
        for name in onboard.measurements
    ]
    return Sensors(layout, config.task.timestep * config.task.decimation, num_envs, device)


def _check_observation(settings: TaskConfig) -> None:
    for group, signals in (("policy", settings.observation.policy), ("critic", settings.observation.critic)):
        for name, given in signals.items():
            if given:
                raise UserError(f"task.observation.{group}.{name} has no settings, so it must be {{}}, not {given}")


def make_reward(config: RunConfig, task: Task, device: torch.device) -> Reward:
    """The configured reward: terms of its program, where it has one, then the task's own."""
    own = parse(config.program, PROGRAM).functions if config.program else {}
    return Reward(config.reward, task.terms(), device, own)


def _check_times(settings: TaskConfig) -> None:
    for key in ("episode_seconds", "timestep"):
        if not 0.0 < getattr(settings, key) < float("inf"):
            raise UserError(f"task.{key} must be greater than 0, not {getattr(settings, key)}")
    if settings.decimation < 1:
        raise UserError(f"task.decimation must be at least 1, not {settings.decimation}")
    if settings.episode_seconds < settings.timestep * settings.decimation:
        raise UserError(f"task.episode_seconds={settings.episode_seconds} is less than one control step")


def _delay(limits: list[float]) -> tuple[float, float]:
    if len(limits) != 2 or not 0 <= limits[0] <= limits[1]:
        raise UserError(f"task.action_delay must be [shortest, longest] in seconds, not {list(limits)}")
    return limits[0], limits[1]


def _check_ends(table: SignalTable, task: Task) -> None:
    if isinstance(task.failures, str):  # whose letters would be taken for names
        raise UserError(f"{type(task).__name__}.failures must be a tuple, as ({task.failures!r},)")
    graph = table.graph([SUCCESS, *task.failures])
    shapes, values = table.shapes(graph), table.on_meta(graph, 3)
    for name in graph.outputs:
        if shapes[name] != () or values[name].dtype != torch.bool:
            kind = str(values[name].dtype).removeprefix("torch.")
            raise UserError(
                f"'{name}' ends episodes: it must be one bool per environment, not {kind} {shapes[name]}"
                f"{table.defined_at(name)}"
            )


def _settings(schema: type, given: dict[str, Any]) -> object:
    fields, hints = {f.name: f for f in dataclasses.fields(schema)}, get_type_hints(schema)
    for name, value in given.items():
        if name not in fields:
            raise UserError(f"task.settings has no '{name}'; {did_you_mean(name, fields)}")
        example = _example(fields[name], hints[name])
        if example is not None and not _is_like(value, example):
            raise UserError(f"task.settings.{name} must be {_kind(example)}, not {value!r}")
    missing = [n for n, f in fields.items() if n not in given and f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise UserError(f"task.settings needs {', '.join(missing)}")
    return schema(**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})


def _example(field: "dataclasses.Field[Any]", hint: Any) -> object:
    """A value of the kind that a field takes: its default, or of its type; None where neither says."""
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return hint() if hint in (bool, int, float, str) else None


def _is_like(value: object, default: object) -> bool:
    """Whether a configured value may stand where the default does: an int for a float, a list for a tuple."""
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and len(value) == len(default) and all(map(_is_like, value, default))
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    return isinstance(value, float | int if isinstance(default, float) else type(default))


def _kind(default: object) -> str:
    if isinstance(default, tuple):
        return f"a list like {list(default)}"
    names = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "a text", "dict": "a map"}
    return names.get(type(default).__name__, f"of type {type(default).__name__}")


def _robot_class(config: RunConfig) -> type[Robot]:
    return load_class(config.robot.entry_point, Robot, "robot.entry_point")


def _task_class(config: RunConfig) -> type[Task]:
    return load_class(config.task.entry_point, Task, "task.entry_point")


def _foreign_class(config: RunConfig) -> type[ForeignEnvironment] | None:
    """The class that `task.entry_point` names, if it brings its own environments; then nothing of ours applies."""
    found = load_class(config.task.entry_point, object, "task.entry_point")
    if not issubclass(found, ForeignEnvironment):
        return None
    ours = {
        "robot": config.robot.entry_point,
        "reward": config.reward or config.program,
        "randomization.parameters": config.randomization.parameters,
        "task.observation": config.task.observation.policy or config.task.observation.critic,
        "task.observation.history": config.task.observation.history != 1,
        "task.measurements": config.task.measurements,
        "task.episode_seconds": config.task.episode_seconds,
        "task.timestep": config.task.timestep,
        "task.action_delay": any(config.task.action_delay),
        "task.decimation": config.task.decimation != 1,
        "task.curriculum": config.task.curriculum != CurriculumConfig(),
        "randomization.measurement_errors": config.randomization.measurement_errors not in (0.0, 1.0),
        "debug": config.debug,
    }
    for key, given in ours.items():
        if given:
            raise UserError(f"{key} is for tasks of signals; {config.task.name} brings its own, so it cannot apply")
    return found
