"""Flights of known quality on disk: the leaves of the signal table at every control step, in one .npz for each task.

    trajectories = read(path_of(config))
    trajectories.flights[0]          # Flight(kind="success", episode=3, end="success", first=0, rows=214)
    trajectories.leaves["qpos"]      # (rows, 7): the rows of all flights, one after the other

Leaves are all that signals start from, so any reward over any signals can be evaluated on a flight later
(`robo_ppo.shaping.flights.stored_signals`). The first row of a flight is its beginning, right after the reset: it is
paid nothing, but it is where the first step's `previous_` values come from.

What never changes in an episode is stored once for it. Numbers are stored byte by byte, the first bytes of all of them,
then the second, and so on: the signs and exponents of motion repeat themselves, and so are compressed; nothing is lost.
"""

import importlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from robo_ppo.config import RunConfig
from robo_ppo.env.flights import End
from robo_ppo.errors import UserError

VERSION = 1
LARGEST = 1_000_000  # bytes of a file: it goes into the repository and into every installation
MOST_ROWS = 1_000_000  # a file that claims more is not read
_STEP, _EPISODE, _ABOUT = "step/", "episode/", "about"


@dataclass(frozen=True)
class Kind:
    """One way to fly, as the task described it (`robo_ppo.env.flights.Kind`)."""

    name: str
    title: str
    below: dict[str, str]  # kinds that a right reward pays more → why


@dataclass(frozen=True)
class Flight:
    """One episode."""

    kind: str
    episode: int
    end: End
    first: int  # row of its beginning
    rows: int  # its beginning and every control step

    @property
    def steps(self) -> int:
        """Control steps, each of which is paid."""
        return self.rows - 1


@dataclass(frozen=True)
class Trajectories:
    """All flights of a task."""

    task: str
    control_period: float  # s
    settle: float  # s at the end of a flight that was cut, whose mean stands for what goes on
    kinds: tuple[Kind, ...]
    flights: tuple[Flight, ...]
    leaves: dict[str, Tensor]  # name → (rows, *shape)

    @property
    def rows(self) -> int:
        """Of all flights together."""
        return sum(flight.rows for flight in self.flights)

    def kind(self, name: str) -> Kind:
        """A kind by its name."""
        return next(kind for kind in self.kinds if kind.name == name)


def path_of(config: RunConfig) -> Path | None:
    """Where a task's trajectories are, if it has any: `trajectories/<name>.npz` beside the module of its class."""
    module = importlib.import_module(config.task.entry_point.partition(":")[0])
    if module.__file__ is None:
        return None
    return Path(module.__file__).parent / "trajectories" / f"{config.task.name}.npz"


def write(trajectories: Trajectories, path: Path) -> int:
    """Write a file and return its size; UserError where it would be too large."""
    about = {
        "version": VERSION,
        "task": trajectories.task,
        "control_period": trajectories.control_period,
        "settle": trajectories.settle,
        "kinds": [asdict(kind) for kind in trajectories.kinds],
        "flights": [asdict(flight) for flight in trajectories.flights],
        "leaves": {name: [str(_numpy(v).dtype), list(v.shape[1:])] for name, v in trajectories.leaves.items()},
    }
    arrays = {_ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}
    firsts = [flight.first for flight in trajectories.flights]
    for name, tensor in trajectories.leaves.items():
        values = _numpy(tensor)
        lasting = all((values[f.first : f.first + f.rows] == values[f.first]).all() for f in trajectories.flights)
        arrays[(_EPISODE if lasting else _STEP) + name] = _planes(values[firsts] if lasting else values)
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)  # pyright: ignore[reportArgumentType]
    size = data.getbuffer().nbytes
    if size > LARGEST:
        raise UserError(
            f"the flights take {size / 1e6:.1f} MB, more than {LARGEST / 1e6:g}: record fewer scenes or seconds"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.getvalue())
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return size


def read(path: Path) -> Trajectories:
    """A file's flights; UserError where it is damaged, or something else."""
    try:
        return _parsed(path.read_bytes(), path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:  # zipfile, zlib, json and numpy have no end of words for damaged bytes
        raise UserError(
            f"{path} is damaged, or no file of trajectories ({type(error).__name__}: {_in_a_line(error)}); "
            "make it again: python -m robo_ppo.shaping record task=<name>"
        ) from error


def _parsed(data: bytes, path: Path) -> Trajectories:
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        about: dict[str, Any] = json.loads(archive[_ABOUT].tobytes())
        if about["version"] != VERSION:
            raise UserError(
                f"{path} is of version {about['version']}, where this robo_ppo reads version {VERSION}; make it "
                "again: python -m robo_ppo.shaping record task=<name>"
            )
        flights = tuple(Flight(**flight) for flight in about["flights"])
        kinds = tuple(Kind(**kind) for kind in about["kinds"])
        _check(about, kinds, flights)
        rows = sum(flight.rows for flight in flights)
        leaves = {name: _leaf(archive, name, form, flights, rows) for name, form in about["leaves"].items()}
    return Trajectories(about["task"], about["control_period"], about["settle"], kinds, flights, leaves)


def _check(about: Mapping[str, Any], kinds: tuple[Kind, ...], flights: tuple[Flight, ...]) -> None:
    names = {kind.name for kind in kinds}
    if len(names) != len(kinds) or not flights:
        raise ValueError("its kinds are not told apart, or it has no flights")
    if not (about["control_period"] > 0.0 and about["settle"] > 0.0):
        raise ValueError("its times are not above 0")
    for kind in kinds:
        if not set(kind.below) <= names - {kind.name}:
            raise ValueError(f"'{kind.name}' is below a kind that is not there")
    first = 0
    for flight in flights:
        if flight.kind not in names or flight.end not in get_args(End):
            raise ValueError(f"it has no kind '{flight.kind}', or an episode cannot end in '{flight.end}'")
        if flight.first != first or not 2 <= flight.rows <= MOST_ROWS:
            raise ValueError("its flights do not follow each other")
        first += flight.rows
    if first > MOST_ROWS:
        raise ValueError(f"it has {first} rows")


def _leaf(
    archive: Mapping[str, np.ndarray],
    name: str,
    form: tuple[str, list[int]],
    flights: tuple[Flight, ...],
    rows: int,
) -> Tensor:
    """One leaf (rows, *shape), of a dtype and a shape."""
    dtype, shape = form
    kind = np.dtype(dtype)
    if kind.kind not in "bif":
        raise ValueError(f"{name} is not made of numbers")
    lasting = _EPISODE + name in archive
    planes = archive[(_EPISODE if lasting else _STEP) + name]
    count = len(flights) if lasting else rows
    expected = (kind.itemsize, count * int(np.prod(shape, dtype=int)))
    if planes.dtype != np.uint8 or planes.shape != expected:
        raise ValueError(f"{name} is {planes.dtype} {planes.shape}, not uint8 {expected}")
    values = np.ascontiguousarray(planes.T).view(kind).reshape(count, *shape)
    if lasting:
        values = np.repeat(values, [flight.rows for flight in flights], axis=0)
    tensor = torch.from_numpy(values.copy())
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        raise ValueError(f"{name} is not finite")
    return tensor


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _planes(values: np.ndarray) -> np.ndarray:
    """Bytes (bytes of a number, numbers) uint8."""
    flat = np.ascontiguousarray(values).reshape(-1)
    return np.ascontiguousarray(flat.view(np.uint8).reshape(len(flat), flat.itemsize).T)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
