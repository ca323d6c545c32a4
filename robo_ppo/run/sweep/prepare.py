"""A trial's folder before it is trained: with its configuration, and in it what the cores leave to be filled in."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robo_ppo.config import RunConfig
from robo_ppo.errors import UserError
from robo_ppo.run import folder as folders
from robo_ppo.run.resolve import resolved

CONFIG = "config.yaml"


def refuse_another(config: RunConfig, folder: Path) -> None:
    """A `UserError` where a trial's folder was made with another configuration than this."""
    if not (folder / CONFIG).is_file():
        return
    stored = folders.load_config(folder)
    pairs = _pairs(dataclasses.asdict(stored), _filled_in_as(stored, config))
    differing = [key for key, before, now in pairs if before != now]
    if differing:
        raise UserError(f"{folder} was made with another {differing[0]}; take a new folder")


def prepare(config: RunConfig, folder: Path, cores: int) -> None:
    """Make a trial's folder if it is new, to train on so many cores; a `UserError` for numbers that do not fit."""
    if (folder / CONFIG).is_file():
        return
    config = resolved(config, available=cores)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the trial's folder {folder}: {error.strerror}") from error
    folders.save_config(config, folder)


def _filled_in_as(stored: RunConfig, config: RunConfig) -> Mapping[str, Any]:
    """The configuration with what the machine or the moment decided taken as it was decided then."""
    sim = dataclasses.replace(config.sim, threads=config.sim.threads or stored.sim.threads)
    ranks, threads = config.ranks or stored.ranks, config.threads or stored.threads
    init = stored.init if config.init is not None and stored.init is not None else config.init
    decided = {"ranks": ranks, "threads": threads, "sim": sim, "init": init}
    decided |= {key: getattr(stored, key) for key in ("device", "precision") if getattr(config, key) == "auto"}
    return dataclasses.asdict(dataclasses.replace(config, **decided))


def _pairs(one: Any, other: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The values of two configurations side by side, by their full key."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for part in dict.fromkeys([*one, *other]):
            yield from _pairs(one.get(part), other.get(part), f"{key}.{part}".lstrip("."))
    else:
        yield key, one, other
