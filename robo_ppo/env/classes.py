"""The classes that a configuration names, a person's own among them: loaded, and held to what they promise.

Whatever is wrong with them is found when a run is composed, and the message says in which file and line.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import TypeVar

import mujoco
import numpy as np
from mujoco.batch import DATA_FIELDS

from robo_ppo.env.robot import Robot
from robo_ppo.env.scenes import Columns
from robo_ppo.env.signals import State, where, where_it_failed
from robo_ppo.env.task import Task
from robo_ppo.errors import UserError, did_you_mean, why_not_imported

Base = TypeVar("Base")


def load_class(entry_point: str, base: type[Base], key: str) -> type[Base]:
    """The class that the configuration's `key` names as `module:Class`."""
    module, _, name = entry_point.partition(":")
    try:
        loaded = importlib.import_module(module)
    except Exception as error:
        reason = why_not_imported(module, error, if_missing="; it must be 'module:Class' of an installed package")
        raise UserError(f"{key}={entry_point}: {reason}") from error
    found = getattr(loaded, name, None) if name else None
    if found is None:
        classes = [own for own, value in vars(loaded).items() if isinstance(value, type)]
        reason = f"there is no such class ({did_you_mean(name, classes)})" if name else "the class is missing"
        raise UserError(f"{key}={entry_point}: {reason}; it must be 'module:Class'")
    if not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"{key}={entry_point} is not a {base.__name__}")
    return found


def check_robot(robot: Robot, model: mujoco.MjModel) -> None:
    """Refuse what would go wrong later: commands that do not fit the model's actuators, fields that do not exist."""
    action, place = robot.action, where(type(robot).spec)
    for name in robot.fields():
        if name not in DATA_FIELDS:
            raise UserError(
                f"{robot.name} reads '{name}', which is no field of the simulation; {did_you_mean(name, DATA_FIELDS)} "
                f"({where(type(robot).fields)})"
            )
    for what, given in (("units", action.units), ("lower", action.lower), ("upper", action.upper)):
        if len(given) != action.size:
            raise UserError(
                f"the action interface of {robot.name} has {action.size} names, but {len(given)} {what} ({place})"
            )
    if action.size != model.nu:
        raise UserError(
            f"{robot.name} commands {action.size} numbers ({', '.join(action.names)}), but its model has {model.nu} "
            f"actuators ({', '.join(model.actuator(i).name for i in range(model.nu))}); it needs one for each, in "
            f"their order ({place})"
        )
    for name, low, high in zip(action.names, action.lower, action.upper, strict=True):
        if not low < high:
            raise UserError(f"the command '{name}' of {robot.name} must go from less to more, not {low} to {high}")


def scenes_of(
    task: Task, states: Mapping[str, State], model: mujoco.MjModel
) -> Callable[[np.random.Generator, int], Columns]:
    """The task's `scenes`; what it draws must be all of `qpos` and `qvel`, and states of the right shape."""
    shapes = {"qpos": (model.nq,), "qvel": (model.nv,)} | {name: state.shape for name, state in states.items()}
    place = where(type(task).scenes)

    def draw(rng: np.random.Generator, count: int) -> Columns:
        try:
            columns = task.scenes(rng, count)
        except UserError:
            raise
        except Exception as error:
            line = where_it_failed(type(task).scenes, error)
            raise UserError(
                f"scenes() fails: {type(error).__name__}: {' '.join(str(error).split())} ({line})"
            ) from error
        if not isinstance(columns, Mapping):
            raise UserError(f"scenes() must return arrays by name, not {type(columns).__name__} ({place})")
        for name in ("qpos", "qvel"):
            if name not in columns:
                raise UserError(f"scenes() must draw '{name}', (count, {shapes[name][0]}) ({place})")
        for name, values in columns.items():
            if name not in shapes:
                raise UserError(f"scenes() draws '{name}', which is no state; {did_you_mean(name, shapes)} ({place})")
            if np.shape(values) != (count, *shapes[name]):
                wanted = ", ".join(map(str, ("count", *shapes[name])))
                raise UserError(f"scenes() must draw '{name}' as ({wanted}), not {np.shape(values)} ({place})")
        return columns

    return draw
