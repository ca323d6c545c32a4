"""What a policy of Isaac Lab's measures and commands, read from the environment's observation and action terms.

    terms = observation_terms(environment, ["policy"])
    interface = interface_of(env_id, environment, terms, bounds)

Every term of the policy's observation becomes a measurement of the term's name. Its unit and frame are known where its
function is one of Isaac Lab's own (`QUANTITIES`); joints count as revolute, as in Isaac Lab's descriptors. What the
policy did in the step before is no measurement: whoever runs it knows that by itself.

A joint action term is an affine map of the policy's numbers. Where it can be read, the exported policy includes it, and
commands what the joints get (rad, rad/s, N·m); otherwise it commands the numbers that the term takes.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from robo_ppo.config import MeasurementConfig
from robo_ppo.env.isaac_lab_api import ActionManager, IsaacEnvironment, ObservationManager
from robo_ppo.env.measurements import Measured
from robo_ppo.env.observations import Onboard
from robo_ppo.env.robot import ActionInterface
from robo_ppo.env.signals import PREVIOUS, Leaf, Quantity, Signal, SignalTable
from robo_ppo.env.vector import Interface
from robo_ppo.errors import UserError, did_you_mean

QUANTITIES: Mapping[str, Quantity] = {
    "base_pos_z": Quantity("m", "world"),
    "base_lin_vel": Quantity("m/s", "body"),
    "base_ang_vel": Quantity("rad/s", "body"),
    "projected_gravity": Quantity("1", "body"),
    "root_pos_w": Quantity("m", "world"),
    "root_lin_vel_w": Quantity("m/s", "world"),
    "root_ang_vel_w": Quantity("rad/s", "world"),
    "joint_pos": Quantity("rad"),
    "joint_pos_rel": Quantity("rad"),
    "joint_vel": Quantity("rad/s"),
    "joint_vel_rel": Quantity("rad/s"),
    "joint_effort": Quantity("N·m"),
    "height_scan": Quantity("m"),
    "imu_ang_vel": Quantity("rad/s", "imu"),
    "imu_lin_acc": Quantity("m/s²", "imu"),
    "imu_projected_gravity": Quantity("1", "imu"),
}
"""By the name of Isaac Lab's observation function (`isaaclab.envs.mdp`)."""

_VELOCITY_COMMANDS = ("UniformVelocityCommand", "NormalVelocityCommand")
JOINT_UNITS = {"JointPositionAction": "rad", "JointVelocityAction": "rad/s", "JointEffortAction": "N·m"}
_LAST_ACTION = "last_action"  # of Isaac Lab's functions, and of what a controller on board remembers
_RESERVED = (_LAST_ACTION, "state_in", "state_out")
_NOTE = "in a physical unit: what the joint gets, scale and offset applied; in 1: what the action term takes"


@dataclass(frozen=True)
class Term:
    """A part of the policy's observation: a measurement, or the last action."""

    name: str
    shape: tuple[int, ...]
    quantity: Quantity
    errors: MeasurementConfig
    note: str = ""
    is_last_action: bool = False


def observation_terms(environment: IsaacEnvironment, groups: Sequence[str]) -> tuple[Term, ...]:
    """The terms of some groups, in the order in which they are observed; a `UserError` for what is no vector."""
    known = list(environment.single_observation_space)
    terms: list[Term] = []
    for group in groups:
        if group not in known:
            raise UserError(f"there is no observation group '{group}'; {did_you_mean(group, known)}")
        found = _of_manager(environment, group) or (_whole(environment, group, groups),)
        taken = [term.name for term in terms]
        terms += [replace(term, name=_free(term.name, group, taken)) for term in found]
    return tuple(terms)


def group_size(environment: IsaacEnvironment, group: str) -> int:
    """Numbers in an observation group."""
    return spaces.flatdim(environment.single_observation_space[group])


def action_bounds(environment: IsaacEnvironment, limit: float) -> ActionInterface:
    """What the environment's `step` takes, from the policy's [-1, 1]: its own bounds, ±`limit` where it has none."""
    space = environment.single_action_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise UserError(f"its actions are {space}; a Gaussian policy needs one vector of continuous numbers")
    low = [value if math.isfinite(value) else -limit for value in space.low.tolist()]
    high = [value if math.isfinite(value) else limit for value in space.high.tolist()]
    names = tuple(f"action_{number}" for number in range(len(low)))
    if not all(a < b for a, b in zip(low, high, strict=True)):
        raise UserError(f"its actions are {space}: some cannot change")
    return ActionInterface(names, ("1",) * len(low), tuple(low), tuple(high))


def interface_of(
    env_id: str, environment: IsaacEnvironment, terms: Sequence[Term], bounds: ActionInterface
) -> Interface:
    """The contract's content: measurements and commands with their names, units, frames and bounds."""
    signals: dict[str, Signal] = {}
    leaves: dict[str, Leaf] = {}
    for term in terms:
        if term.is_last_action:
            leaves[_LAST_ACTION] = Leaf((bounds.size,), "state", onboard=True)
            signals[term.name] = Signal(term.name, bounds.command, (_LAST_ACTION,), term.quantity)
        else:
            leaf = f"term.{term.name}"
            leaves[leaf] = Leaf(term.shape, "field")
            signals[term.name] = Signal(term.name, _as_it_is, (leaf,), term.quantity, is_measurement=True)
    measured = [term for term in terms if not term.is_last_action]
    return Interface(
        robot=env_id,
        control_period=float(environment.step_dt),
        onboard=Onboard(SignalTable(signals, leaves), list(signals)),
        sensors=tuple(Measured(term.name, term.shape, term.quantity, term.errors) for term in measured),
        action=_commands(environment, bounds),
        notes={term.name: term.note for term in measured if term.note},
    )


def _as_it_is(value: Tensor) -> Tensor:
    return value


def _whole(environment: IsaacEnvironment, group: str, groups: Sequence[str]) -> Term:
    """A group that does not say what it is made of, as one measurement."""
    space = environment.single_observation_space[group]
    if not isinstance(space, spaces.Box):
        raise UserError(f"its observation group '{group}' is {space}; a vector of numbers is needed")
    if len(space.shape) != 1:
        raise UserError(f"its observation group '{group}' has the shape {space.shape}; policies here see a vector")
    return Term("observation" if len(groups) == 1 else group, space.shape, Quantity(), MeasurementConfig())


def _of_manager(environment: IsaacEnvironment, group: str) -> tuple[Term, ...]:
    manager: ObservationManager | None = getattr(environment, "observation_manager", None)
    if manager is None:
        return ()
    names, shapes = manager.active_terms[group], [tuple(shape) for shape in manager.group_obs_term_dim[group]]
    most = 1 if manager.group_obs_concatenate[group] else 2
    for name, shape in zip(names, shapes, strict=True):
        if len(shape) > most:
            raise UserError(
                f"its observation term '{name}' ({group}) has the shape {shape}; policies here see a vector of numbers "
                "(a history needs flatten_history_dim=True)"
            )
    return tuple(_term(environment, group, name, shape) for name, shape in zip(names, shapes, strict=True))


def _term(environment: IsaacEnvironment, group: str, name: str, shape: tuple[int, ...]) -> Term:
    """What is known of a term: the configuration says which function it is, and what is done with its value."""
    group_cfg = _field(_field(environment.cfg, "observations"), group)
    cfg = _field(group_cfg, name)
    function = getattr(_field(cfg, "func"), "__name__", "")
    params = _field(cfg, "params") or {}
    scale = _field(cfg, "scale")
    if function == _LAST_ACTION and shape == _space_shape(environment) and _is_untouched(cfg, group_cfg):
        return Term(name, shape, Quantity(), MeasurementConfig(), is_last_action=True)
    quantity = QUANTITIES.get(function, Quantity())
    if function == "generated_commands" and _command_class(environment, params) in _VELOCITY_COMMANDS:
        quantity = Quantity("m/s, m/s, rad/s", "body")
    if scale is not None and scale != 1.0 and quantity.unit != "1":
        quantity = replace(quantity, unit=f"{quantity.unit} × {scale}")
    errors, unknown = _errors(cfg, group_cfg, float(environment.step_dt))
    note = "; ".join(text for text in (_joints(environment, function, params), unknown) if text)
    return Term(name, shape, quantity, errors, note)


def _errors(cfg: object, group_cfg: object, step_dt: float) -> tuple[MeasurementConfig, str]:
    """What the policy is trained with: noise (and bias) in the term's own unit, delay in s; and what cannot be said."""
    lags = (_field(cfg, "delay_min_lag") or 0, _field(cfg, "delay_max_lag") or 0)
    delay = [lag * step_dt for lag in lags]
    noise = _field(cfg, "noise") if _field(group_cfg, "enable_corruption") else None
    if noise is None:
        return MeasurementConfig(delay=delay), ""
    models = (_field(noise, "noise_cfg") or noise, _field(noise, "bias_noise_cfg"))
    scale = _field(cfg, "scale") or 1.0
    deviations = [0.0 if model is None else _standard_deviation(model) for model in models]
    if not isinstance(scale, float | int) or not all(isinstance(value, float) for value in deviations):
        return MeasurementConfig(delay=delay), f"trained with noise of its own kind ({type(noise).__name__})"
    # Noise comes before the scale.
    of_sample, of_episode = (abs(scale) * value for value in deviations if value is not None)
    return MeasurementConfig(noise=of_sample, bias=of_episode, delay=delay), ""


def _standard_deviation(noise: object) -> float | None:
    """Of added noise that is uniform or Gaussian, the same for all numbers; None for any other."""
    low, high, deviation = (_field(noise, name) for name in ("n_min", "n_max", "std"))
    if _field(noise, "operation") == "add" and isinstance(low, float | int) and isinstance(high, float | int):
        return (high - low) / math.sqrt(12.0)
    return float(deviation) if _field(noise, "operation") == "add" and isinstance(deviation, float | int) else None


def _is_untouched(cfg: object, group_cfg: object) -> bool:
    """Whether the value of a term is observed as its function returns it."""
    corrupted = _field(group_cfg, "enable_corruption") and _field(cfg, "noise") is not None
    changed = any(_field(cfg, name) for name in ("clip", "modifiers", "delay_max_lag"))
    scaled = _field(cfg, "scale") not in (None, 1.0)
    history = _field(group_cfg, "history_length") or _field(cfg, "history_length")
    return not (corrupted or changed or scaled or history or (_field(cfg, "params") or {}).get("action_name"))


def _joints(environment: IsaacEnvironment, function: str, params: Mapping[str, Any]) -> str:
    """The order of the joints, where a term has one number for each."""
    if not function.startswith("joint_"):
        return ""
    asset = params.get("asset_cfg")
    try:
        all_names = list(getattr(environment, "scene")[getattr(asset, "name", "robot")].joint_names)  # noqa: B009
        chosen = getattr(asset, "joint_ids", slice(None))
        names = all_names[chosen] if isinstance(chosen, slice) else [all_names[int(i)] for i in chosen]
    except (AttributeError, KeyError, TypeError, IndexError):  # an asset of another kind
        return ""
    return f"joints: {', '.join(names)}"


def _command_class(environment: IsaacEnvironment, params: Mapping[str, Any]) -> str:
    manager: Any = getattr(environment, "command_manager", None)
    return type(manager.get_term(params["command_name"])).__name__ if manager and "command_name" in params else ""


def _commands(environment: IsaacEnvironment, bounds: ActionInterface) -> ActionInterface:
    manager: ActionManager | None = getattr(environment, "action_manager", None)
    if manager is None:
        return bounds
    names: list[str] = []
    units: list[str] = []
    lower: list[float] = []
    upper: list[float] = []
    for name, size in zip(manager.active_terms, manager.action_term_dim, strict=True):
        term, first = manager.get_term(name), len(names)
        low, high = bounds.lower[first : first + size], bounds.upper[first : first + size]
        joints = getattr(term, "_joint_names", ())
        parts = joints if len(joints) == size else range(size)
        names += [_identifier(f"{name}_{part}") for part in parts]
        affine = _affine(term, size)
        if affine is not None:
            scale, offset = affine
            low = [o + s * x for s, o, x in zip(scale, offset, low, strict=True)]
            high = [o + s * x for s, o, x in zip(scale, offset, high, strict=True)]
        units += ["1" if affine is None else JOINT_UNITS[type(term).__name__]] * size
        lower += low
        upper += high
    return ActionInterface(tuple(names), tuple(units), tuple(lower), tuple(upper), note=_NOTE)


def _affine(term: object, size: int) -> tuple[list[float], list[float]] | None:
    """Scale and offset of each number; None unless the term is such a map, the same in every environment."""
    if type(term).__name__ not in JOINT_UNITS or _field(getattr(term, "cfg", None), "clip") is not None:
        return None
    found: list[list[float]] = []
    for given in (getattr(term, "_scale", None), getattr(term, "_offset", None)):
        if not isinstance(given, Tensor | float | int):
            return None
        values = torch.as_tensor(given, dtype=torch.float32).cpu()
        rows = values.reshape(-1, size) if values.ndim else values.expand(1, size)
        if not torch.equal(rows, rows[:1].expand_as(rows)):
            return None
        found.append(rows[0].tolist())
    scale, offset = found
    return (scale, offset) if min(scale) > 0.0 else None


def _space_shape(environment: IsaacEnvironment) -> tuple[int, ...]:
    return tuple(environment.single_action_space.shape or ())


def _free(name: str, group: str, taken: Sequence[str]) -> str:
    """A name that nothing else has; Isaac Lab's groups may have terms of one name."""
    name = _identifier(name)
    return f"{group}_{name}" if name in taken or name in _RESERVED or name.startswith(PREVIOUS) else name


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _field(cfg: object, name: str) -> Any:
    """A field of a configuration, which may be a class or a dictionary; None where it has none."""
    return cfg.get(name) if isinstance(cfg, dict) else getattr(cfg, name, None)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
