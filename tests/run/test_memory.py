"""Out of memory on a GPU ends in one message that says how many worlds fit; the card and what fails are made up."""

import dataclasses
import gc
import sys
import weakref
from pathlib import Path

import pytest
import torch

from robo_ppo import command_line
from robo_ppo.config import RunConfig
from robo_ppo.env import backends
from robo_ppo.errors import UserError
from robo_ppo.run import memory
from robo_ppo.run import train as training
from robo_ppo.run.compose import compose
from robo_ppo.run.memory import Card, Memory, explained, fitting, is_out_of_memory
from tests.run.training import TINY, configure

GIB, KIB = 2**30, 1024
TORCH = "CUDA out of memory. Tried to allocate 8.00 GiB. GPU 0 has a total capacity of 15.77 GiB of which …"
WARP = "Failed to allocate 68719476736 bytes on device 'cuda:0'"


class FakeCard(Card):
    """A card of 16 GiB, and trainings that take from it as many KiB a world as told, and 1 GiB besides."""

    def __init__(self, per_world: int = 100, others: int = 2 * GIB) -> None:
        self.name, self.tried = "Test Card", list[int]()
        self._per_world, self._others = per_world * KIB, others
        self._trainings: weakref.WeakSet[Training] = weakref.WeakSet()

    def tidied(self) -> Memory:
        gc.collect()
        return self.now()

    def now(self) -> Memory:
        return Memory(16 * GIB - self._others - sum(training.bytes for training in self._trainings), 16 * GIB)

    def train(self, config: RunConfig) -> "Training":
        self.tried.append(config.num_envs)
        needed = GIB + config.num_envs * self._per_world
        if needed > self.now().free:
            raise torch.OutOfMemoryError(TORCH)
        made = Training(needed)
        self._trainings.add(made)
        return made


class Training:
    """Holds memory while it lives."""

    def __init__(self, size: int) -> None:
        self.bytes = size
        self.itself = self  # as a trainer, which only the garbage collector frees


@pytest.fixture
def config() -> RunConfig:
    return dataclasses.replace(compose(*TINY), device="cuda")


def raise_it(error: RuntimeError) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (torch.OutOfMemoryError(TORCH), True),
        (RuntimeError(WARP), True),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), False),
    ],
)
def test_what_is_out_of_memory(error: RuntimeError, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


def test_as_many_worlds_fit_as_the_measured_parts_allow(config: RunConfig) -> None:
    card = FakeCard()
    fit = fitting(dataclasses.replace(config, num_envs=1_000_000), card.train, card)
    assert fit is not None
    assert fit.per_world == 100 * KIB and fit.fixed == GIB
    # 0.95 of 14 GiB, without 1 GiB: 12.3 GiB of 100 KiB each.
    assert fit.num_envs == int((0.95 * 14 - 1) * GIB / (100 * KIB))
    assert GIB + fit.num_envs * 100 * KIB < 14 * GIB
    assert card.tried == [125_000, 250_000, 31_250, 62_500]  # the second did not fit either


@pytest.mark.slow
@pytest.mark.parametrize(("recurrent", "least"), [("none", 6), ("gru", 48)])
def test_worlds_come_in_multiples_that_the_minibatches_divide(config: RunConfig, recurrent: str, least: int) -> None:
    config = dataclasses.replace(
        config,
        num_envs=999_999,
        ppo=dataclasses.replace(config.ppo, horizon=8, minibatches=48),
        policy=dataclasses.replace(config.policy, recurrent=recurrent),
    )
    card = FakeCard()
    fit = fitting(config, card.train, card)
    assert fit is not None
    assert all(count % least == 0 for count in (fit.num_envs, *card.tried))


def test_where_even_few_worlds_do_not_fit_no_number_is_made_up(config: RunConfig) -> None:
    card = FakeCard(others=15 * GIB + 1)
    assert fitting(dataclasses.replace(config, num_envs=4096), card.train, card) is None
    assert min(card.tried) >= 64 // 2


def test_other_failures_of_an_attempt_stay_what_they_are(config: RunConfig) -> None:
    with pytest.raises(RuntimeError, match="illegal"):
        fitting(dataclasses.replace(config, num_envs=4096), lambda _: raise_it(RuntimeError("illegal")), FakeCard())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(TORCH), RuntimeError(WARP)], ids=["torch", "warp"])
def test_the_message(config: RunConfig, monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> None:
    card = FakeCard()
    monkeypatch.setattr(memory, "Card", lambda _: card)
    config = dataclasses.replace(config, num_envs=1_000_000)
    with pytest.raises(UserError) as told, explained(config, card.train):
        raise error
    assert str(told.value) == (
        "out of memory: num_envs=1000000 does not fit on cuda, Test Card with 16.0 GiB, of which 14.0 GiB are free; "
        "about 128974 worlds do (100 KiB each, 1.00 GiB besides): num_envs=128974"
    )


def test_what_the_failed_training_held_is_free_before_anything_is_measured(
    config: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = FakeCard()
    monkeypatch.setattr(memory, "Card", lambda _: card)

    def fail() -> None:
        held = card.train(dataclasses.replace(config, num_envs=100_000))
        card.train(dataclasses.replace(config, num_envs=100_000))
        assert held

    with pytest.raises(UserError, match=r"14\.0 GiB are free"), explained(config, card.train):
        fail()


def test_a_card_is_read_before_and_after_it_is_tidied(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Test Card")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: done.append("synchronize"))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: done.append("empty_cache"))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * GIB, 16 * GIB))
    card = Card("cuda:1")
    assert card.name == "Test Card"
    # What torch keeps for later is part of what a training takes.
    assert card.now() == Memory(free=3 * GIB, total=16 * GIB) and not done
    assert card.tidied() == card.now() and done == ["synchronize", "empty_cache"]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_everything_else_passes(config: RunConfig, device: str) -> None:
    config = dataclasses.replace(config, device=device)
    with explained(config, lambda _: None):
        pass
    with pytest.raises(RuntimeError, match="something else"), explained(config, lambda _: None):
        raise RuntimeError("something else")
    with pytest.raises(UserError, match="a mistake"), explained(config, lambda _: None):
        raise UserError("a mistake")


def test_the_command_ends_with_the_message_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    card = FakeCard(per_world=100_000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backends, "open_device", torch.device)
    monkeypatch.setattr(memory, "Card", lambda _: card)
    monkeypatch.setattr(training, "Trainer", lambda config, *_: card.train(config))
    monkeypatch.setattr(training, "_attempt", card.train)
    monkeypatch.setattr(sys, "argv", ["train.py", *TINY, "sim=mujoco_warp", "device=cuda", "num_envs=4096"])
    with pytest.raises(SystemExit) as ended:
        command_line.train()
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert said.startswith("error: out of memory: num_envs=4096 does not fit on cuda, Test Card with 16.0 GiB")
    assert said.count("\n") == 1


def test_an_attempt_is_a_training_that_has_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured in it includes an update and a validation; nothing of it is written."""
    monkeypatch.chdir(tmp_path)
    trainer = training._attempt(configure())
    assert float(trainer.ppo.model.normalizer("policy").count) == 4 * 32 * 8  # pyright: ignore[reportArgumentType]
    assert not list(tmp_path.iterdir())
