"""Out of memory on a GPU, told so that it can be mended: what the card has, what is free, and how many worlds fit.

    with explained(config, attempt):
        Trainer(config, folder, ranks).run()

`attempt(smaller)` builds the same training with fewer worlds, lets it learn a little and returns it. How many fit is
measured: what two smaller trainings took from the card gives a fixed part and a part for each world.
"""

import contextlib
import dataclasses
import gc
import math
import traceback
from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch

from robo_ppo.config import RunConfig
from robo_ppo.errors import UserError

_SIGNS = ("out of memory", "failed to allocate", "alloc_failed")  # of CUDA, of Warp, of cuBLAS
_USABLE = 0.95  # of what is free: allocators take whole blocks
_FEWEST = 64  # worlds that are still tried
_FEWER = 4  # what does not fit is tried with so many times fewer worlds
_GIB = 2**30

Attempt = Callable[[RunConfig], object]


@dataclass(frozen=True)
class Memory:
    """Bytes of a card."""

    free: int
    total: int


class Card:
    """A GPU's memory, of all programs together."""

    def __init__(self, name: str) -> None:
        self._device = torch.device(name)
        self.name = torch.cuda.get_device_name(self._device)

    def tidied(self) -> Memory:
        """Once what nobody needs any more has been given back."""
        gc.collect()
        torch.cuda.synchronize(self._device)
        torch.cuda.empty_cache()
        return self.now()

    def now(self) -> Memory:
        """What is taken by everything that was needed at some time, as a training keeps it."""
        return Memory(*torch.cuda.mem_get_info(self._device))


@dataclass(frozen=True)
class Fit:
    """How many worlds fit, given the bytes that each of them takes, and those that any number takes besides."""

    num_envs: int
    per_world: float
    fixed: float


@contextlib.contextmanager
def explained(config: RunConfig, attempt: Attempt) -> Generator[None]:
    """Turn what a GPU raises when its memory is full into a `UserError` that says how many worlds fit."""
    try:
        yield
        return
    except RuntimeError as error:
        if not config.device.startswith("cuda") or not is_out_of_memory(error):
            raise
        _let_go(error)
    # Outside of `except`, which would keep alive what the error was raised in.
    if config.ranks == 1:
        print("\nout of memory; finding out how many worlds fit …", flush=True)
    card = Card(config.device)
    memory = card.tidied()
    raise UserError(message(config, memory, card.name, fitting(config, attempt, card))) from None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch, CUDA or Warp says so."""
    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error).lower() for sign in _SIGNS)


def fitting(config: RunConfig, attempt: Attempt, card: Card) -> Fit | None:
    """How many worlds fit; None where it cannot be told: with several ranks, or where hardly any fit."""
    unit = _unit(config)
    many = _multiple(config.num_envs // _FEWER, unit)
    while config.ranks == 1 and many // 2 >= max(_FEWEST, unit):
        few = _multiple(many // 2, unit)
        try:
            less, more = (_taken(config, count, attempt, card) for count in (few, many))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            _let_go(error)
            many = _multiple(many // _FEWER, unit)
            continue
        per_world = max(1.0, (more - less) / (many - few))
        fixed = less - per_world * few
        affordable = int((_USABLE * card.tidied().free - fixed) / per_world)
        affordable = _multiple(min(affordable, config.num_envs - unit), unit)
        return Fit(max(affordable, many), per_world, fixed)  # so many did fit
    return None


def message(config: RunConfig, memory: Memory, card: str, fit: Fit | None) -> str:
    """What a person reads."""
    said = (
        f"out of memory: num_envs={config.num_envs} does not fit on {config.device}, {card} with "
        f"{memory.total / _GIB:.1f} GiB, of which {memory.free / _GIB:.1f} GiB are free; "
    )
    if fit is None:
        return said + "choose a smaller num_envs; nvidia-smi shows whether other programs hold the rest"
    need = f"{fit.per_world / 1024:.0f} KiB each, {max(0.0, fit.fixed) / _GIB:.2f} GiB besides"
    return said + f"about {fit.num_envs} worlds do ({need}): num_envs={fit.num_envs}"


def _unit(config: RunConfig) -> int:
    """Worlds come in multiples of this, so that the minibatches of a rollout are of one size."""
    if config.policy.recurrent != "none":  # of whole worlds
        return config.ppo.minibatches
    return config.ppo.minibatches // math.gcd(config.ppo.minibatches, config.ppo.horizon)


def _multiple(number: int, unit: int) -> int:
    return number // unit * unit


def _taken(config: RunConfig, num_envs: int, attempt: Attempt, card: Card) -> int:
    """Bytes that a training of so many worlds takes from the card."""
    before = card.tidied().free
    training = attempt(dataclasses.replace(config, num_envs=num_envs, init=None))
    taken = before - card.now().free
    del training
    return taken


def _let_go(error: BaseException | None) -> None:
    """Forget the variables of all that an error was raised in: they hold the memory that is missing."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
