"""The composed task as a table: what is sensed, observed, paid for and varied. Printed before a training begins."""

from collections.abc import Sequence

from robo_ppo.config import RunConfig
from robo_ppo.env.environment import Environment
from robo_ppo.env.language import PROGRAM, parse
from robo_ppo.env.vector import ForeignEnvironment, VectorEnvironment


def describe(config: RunConfig, environment: VectorEnvironment) -> str:
    """The table, as text for a terminal."""
    if isinstance(environment, Environment):
        parts = _task(config, environment)
    else:
        assert isinstance(environment, ForeignEnvironment)
        parts = [
            f"{environment.describe()} · control {1 / environment.interface.control_period:g} Hz, episodes of at most "
            f"{environment.max_episode_steps} steps, observation of {environment.observation_sizes['policy']} numbers",
            _measurements(environment),
        ]
    commands = _section("commands", ["name", "unit", "from", "to"], _commands(environment))
    return "\n\n".join([*parts, commands, _learner(config)]) + "\n"


def _learner(config: RunConfig) -> str:
    policy = config.policy
    memory = "" if policy.recurrent == "none" else f"{policy.recurrent} {policy.recurrent_size} → "
    return (
        f"networks: policy {memory}{list(policy.hidden)}, critic {list(policy.critic_hidden)}, "
        f"{policy.activation}; {config.num_envs} environments in {config.ranks} rank(s), "
        f"{config.total_steps / 1e6:g} M steps at most, seed {config.seed}"
    )


def _task(config: RunConfig, environment: Environment) -> list[str]:
    task, robot, options = environment.task, environment.task.robot, environment.options
    sizes = environment.observation_sizes
    return [
        f"{config.task.name} · {robot.name} ({config.robot.action}) · control {1 / options.control_period:g} Hz, "
        f"physics {options.decimation / options.control_period:g} Hz, {config.task.episode_seconds:g} s episodes",
        _measurements(environment),
        _section(
            f"observation: policy {sizes['policy']} numbers{_history(environment)}, critic {sizes['critic']}",
            ["signal", "size", "unit", "frame", "seen by"],
            _observations(environment),
        ),
        describe_reward(config),
        _section(
            "episodes end with",
            ["signal", "counts as"],
            [
                ["success", "success"],
                *[[f, "failure"] for f in task.failures],
                ["timeout", f"cut after {options.max_episode_steps} steps"],
            ],
        ),
        _section(
            "varied from episode to episode", ["parameter", "from", "to", "unit"], _randomization(config, environment)
        ),
    ]


def _history(environment: Environment) -> str:
    onboard = environment.onboard
    return "" if onboard.history == 1 else f" (the last {onboard.history} steps, {onboard.present_size} each)"


def _measurements(environment: VectorEnvironment) -> str:
    rows: list[list[str]] = []
    for m in environment.interface.sensors:
        errors = m.errors
        delay = "" if errors.delay[1] == 0 else f"{errors.delay[0]:g} … {errors.delay[1]:g}"
        numbers = [f"{value:g}" if value else "" for value in (errors.noise, errors.bias, errors.dropout)]
        rows.append([m.name, _size(m.shape), m.quantity.unit, m.quantity.frame, *numbers, delay])
    header = ["name", "size", "unit", "frame", "noise", "bias", "lost", "delay (s)"]
    return _section("measurements: what the policy gets, on board too", header, rows)


def _observations(environment: Environment) -> list[list[str]]:
    table = environment.table
    critic_shapes = table.shapes(table.graph(environment.critic)) if environment.critic else {}
    rows: list[list[str]] = []
    for name in (*environment.onboard.signals, *environment.critic):
        quantity = table.quantity(name)
        own = name in environment.onboard.sizes
        shape = environment.onboard.sizes[name] if own else critic_shapes[name]
        rows.append([name, _size(shape), quantity.unit, quantity.frame, "policy, critic" if own else "critic"])
    return rows


def describe_reward(config: RunConfig) -> str:
    """Terms, weights and settings; of a program, which terms are its own."""
    title, header = "reward: sum of weight × term, per step", ["term", "weight", "settings"]
    program = parse(config.program, PROGRAM) if config.program else None
    if program is not None:
        says = program.description
        title, header = f"{title}; a program: {says if len(says) <= 80 else says[:79] + '…'}", [*header, "from"]
    rows: list[list[str]] = []
    for name, settings in config.reward.items():
        rest = ", ".join(f"{key}={value}" for key, value in settings.items() if key != "weight")
        origin = [] if program is None else ["program" if name in program.codes else "task"]
        rows.append([name, f"{settings['weight']:g}", rest, *origin])
    return _section(title, header, rows)


def _commands(environment: VectorEnvironment) -> list[list[str]]:
    action = environment.interface.action
    return [
        [n, u, f"{a:.4g}", f"{b:.4g}"]
        for n, u, a, b in zip(action.names, action.units, action.lower, action.upper, strict=True)
    ]


def _randomization(config: RunConfig, environment: Environment) -> list[list[str]]:
    parameters = environment.task.robot.parameters()
    rows = [
        [n, f"{a:g}", f"{b:g}", "factor" if parameters[n].scales else parameters[n].unit]
        for n, (a, b) in environment.randomization.ranges.items()
    ]
    return rows or [["nothing", "", "", ""]]


def _size(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape)) or "1"


def _section(title: str, header: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [header, *rows]
    ]
    return "\n".join([title, *("  " + line for line in lines)])
