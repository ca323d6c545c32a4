"""Replays the last step of a world that broke in training, substep by substep: which quantity ran away first, and when.

    replay = load("runs/latest/broken_worlds/episode_5123_step_87.pt")
    print(replay.table())

Training dumps such a world (`robo_ppo.env.vector.BrokenWorld`). Its episode's id gives the parameters, the run's
configuration the task; from the state before the step MuJoCo alone takes its substeps again.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np

from robo_ppo.config import RunConfig
from robo_ppo.env.broken import LARGEST, REPLAYED
from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment
from robo_ppo.env.shapes import Shape
from robo_ppo.env.vector import BrokenWorld
from robo_ppo.errors import UserError
from robo_ppo.run import checkpoint
from robo_ppo.run import folder as folders
from robo_ppo.run.resolve import on_cpu

STATE = ("ctrl", "qvel", "qpos")  # what training watches, in the order in which it breaks: velocities move positions
_MOVING = ("actuator_force", "qacc")  # what is computed in a substep from the state before it


@dataclass(frozen=True)
class Largest:
    """The number of a field that is the farthest from zero."""

    value: float
    where: str

    @property
    def is_broken(self) -> bool:
        """Whether it is infinite, not a number, or as good as that."""
        return not abs(self.value) < LARGEST


@dataclass(frozen=True)
class Substep:
    """The world after some substeps; number 0 is before the first."""

    number: int
    qpos: np.ndarray
    largest: dict[str, Largest]  # by field

    @property
    def broken(self) -> list[str]:
        """Fields that have run away."""
        return [name for name, found in self.largest.items() if found.is_broken]


@dataclass(frozen=True)
class Replay:
    """A last step as it went, and the scene around it."""

    environment: Environment
    world: BrokenWorld
    substeps: list[Substep]
    shapes: list[Shape]

    @property
    def fields(self) -> list[str]:
        """What is looked at in every substep, from cause to effect."""
        return list(self.substeps[-1].largest)

    def first(self, among: tuple[str, ...] | None = None) -> tuple[int, str] | None:
        """The first substep and field (`among` some, or of all) that ran away; None if none did."""
        for substep in self.substeps:
            for name in substep.broken:
                if among is None or name in among:
                    return substep.number, name
        return None

    def table(self) -> str:
        """What happened, for a terminal: the largest magnitude of every field after every substep."""
        rows = [["substep", *self.fields]]
        for substep in self.substeps:
            found = [substep.largest.get(name) for name in self.fields]
            cells = ("" if f is None else f"{abs(f.value):.4g}{'!' if f.is_broken else ''}" for f in found)
            rows.append([str(substep.number), *cells])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        return "\n".join(
            [self.title(), "", *lines, "", "largest magnitudes; ! not finite, or beyond 1e10", self.verdict()]
        )

    def title(self) -> str:
        """Which step this is."""
        return f"episode {self.world.episode} of the training, step {self.world.step}: from the state before it"

    def verdict(self) -> str:
        """What ran away first, and whether training saw the same."""
        broke, watched = self.first(), self.first(STATE)
        said = f"training said {self.world.first_field}"
        if broke is None or watched is None:
            return f"nothing ran away here, but {said}: the dump keeps single precision, and this step was on the edge"
        found = self.substeps[broke[0]].largest[broke[1]]
        when = f"in substep {broke[0]} of {len(self.substeps) - 1}" if broke[0] else "before the step"
        then = "" if broke[1] == watched[1] else f", then {watched[1]}"
        return f"{broke[1]} ran away first, {when}: {found.where}{then}; {said}"


def load(path: str) -> Replay:
    """Replay a dump; a `UserError` where it, or the run that it belongs to, cannot be read."""
    file = Path(path)
    if not file.is_file():
        raise UserError(f"there is no {path}; a training keeps the worlds that broke in <run>/broken_worlds/")
    content = checkpoint.read(file)
    try:
        world = BrokenWorld(content["episode"], content["step"], content["first_field"], content["state"])
    except KeyError as error:
        raise UserError(f"{path} is not a world that broke in training: it lacks {error}") from error
    run = file.absolute().parent.parent
    if not (run / "config.yaml").is_file():
        raise UserError(f"{path} must lie in broken_worlds/ of its run: there is no {run / 'config.yaml'}")
    return replay(folders.load_config(run), world)


def replay(config: RunConfig, world: BrokenWorld) -> Replay:
    """Take the last step of a world again."""
    environment = build(on_cpu(config), "train", 1)
    applied = ["ctrl", *environment.task.robot.drives()]
    fields = [*REPLAYED, *applied]
    own = {name: environment.sim.bind(name) for name in fields} | environment.states
    for name, values in own.items():
        if name not in world.state or world.state[name].shape != values[0].shape:
            raise UserError(f"the dump does not fit the task of its run: {name} is missing, or has another size")
    environment.level.copy_(world.state.get("level", environment.level))
    environment.reset(world.episode)  # for its parameters
    for name in fields:
        environment.sim.write(name, world.state[name][None])
    with _silent():
        model, data = environment.sim.world(0)
        substeps = [_look(environment, model, data, 0, [*applied, "qvel", "qpos"])]
        for number in range(1, environment.options.decimation + 1):
            mujoco.mj_step(model, data)
            substeps.append(_look(environment, model, data, number, [*applied, *_MOVING, "qvel", "qpos"]))
    states = {name: world.state[name].numpy() for name in environment.states}
    return Replay(environment, world, substeps, environment.task.shapes(states))


def _look(
    environment: Environment, model: mujoco.MjModel, data: mujoco.MjData, number: int, fields: list[str]
) -> Substep:
    """The world as it is now."""
    largest: dict[str, Largest] = {}
    for name in fields:
        values: np.ndarray = getattr(data, name).reshape(-1)
        index = int(np.argmax(np.where(np.isfinite(values), np.abs(values), np.inf)))
        largest[name] = Largest(float(values[index]), f"{name}[{index}]{_called(model, name, index, environment)}")
    return Substep(number, data.qpos.copy(), largest)


@contextmanager
def _silent() -> Generator[None]:
    """Keep MuJoCo's own warnings from the terminal: the table says it better."""
    before, silent = mujoco.MjLogConfig.get(), mujoco.MjLogConfig.get()
    silent.logto_console = False
    silent.set()
    try:
        yield
    finally:
        before.set()


def _called(model: mujoco.MjModel, field: str, index: int, environment: Environment) -> str:
    """What a number of a field is called in the model, in brackets; nothing where it has no name."""
    name = ""
    if field == "ctrl":
        name = environment.task.robot.action.names[index]
    elif field == "actuator_force":
        name = model.actuator(index).name
    elif field in ("qacc", "qvel", "qfrc_applied"):
        name = model.joint(int(model.dof_jntid[index])).name
    elif field == "qpos":
        name = model.joint(int(np.searchsorted(model.jnt_qposadr, index, side="right")) - 1).name
    return f" ({name})" if name else ""
