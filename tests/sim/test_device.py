"""Which device is opened, and what is said where it cannot be: torch answers as it does on other machines."""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from robo_ppo import command_line
from robo_ppo.errors import UserError
from robo_ppo.sim.device import open_device

# What torch raises and warns of, word for word.
NO_DRIVER = (
    "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver from "
    "http://www.nvidia.com/Download/index.aspx"
)
OLD_DRIVER = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to: "
    "https://pytorch.org to install a PyTorch version that has been compiled with your version of the CUDA driver."
)
WITHOUT = "without a GPU: sim=mujoco_cpu device=cpu"


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """torch, built with CUDA, on a machine with so many GPUs, or with a reason why none can be used."""

    def machine(count: int, failure: str | None = None) -> None:
        def available() -> bool:
            if failure == OLD_DRIVER:  # as the C++ part of torch does, beside returning no devices
                warnings.warn(f"CUDA initialization: {failure} (Triggered internally at …)", stacklevel=2)
            return count > 0

        def initialise() -> None:
            if failure is not None:
                raise RuntimeError(failure)

        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_available", available)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "init", initialise)

    return machine


def refused(name: str) -> str:
    with pytest.raises(UserError) as told:
        open_device(name)
    message = str(told.value)
    assert "\n" not in message
    return message


def test_the_cpu_is_always_there() -> None:
    assert open_device("cpu") == torch.device("cpu")


def test_a_gpu_that_is_there_becomes_the_one_to_work_on(
    cuda: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    cuda(2)
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)  # as torchrun's second rank finds it
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert open_device("cuda") == torch.device("cuda:1")
    assert open_device("cuda:0") == torch.device("cuda:0")
    assert chosen == [torch.device("cuda:1"), torch.device("cuda:0")]


@pytest.mark.parametrize("name", ["gpu", "cuda:one", "cuda:-1", "mps", "meta", ""])
def test_what_is_no_device(name: str) -> None:
    assert refused(name) == f"device={name}; it must be cpu, cuda, or cuda:0, cuda:1, … for one of several GPUs"


@pytest.mark.parametrize(("count", "said"), [(1, "1 GPU,"), (2, "2 GPUs,")])
def test_a_number_beyond_the_gpus(cuda: Callable[..., None], count: int, said: str) -> None:
    cuda(count)
    assert refused("cuda:2") == f"device=cuda:2: this machine has {said} cuda:0 is the first"


def test_torch_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    message = refused("cuda")
    assert message.startswith(f"device=cuda: this PyTorch ({torch.__version__}) was built without CUDA; install one")
    assert message.endswith(WITHOUT)


@pytest.mark.parametrize("failure", [NO_DRIVER, OLD_DRIVER], ids=["no driver", "too old a driver"])
def test_a_driver_that_is_missing_or_too_old(cuda: Callable[..., None], failure: str) -> None:
    cuda(0, failure)
    # Without the warning that torch adds: tests turn any into an error.
    assert refused("cuda") == f"device=cuda cannot be used: {failure.rstrip('.')}; {WITHOUT}"


def test_a_driver_without_a_gpu(cuda: Callable[..., None]) -> None:
    """As with CUDA_VISIBLE_DEVICES= : torch finds nothing, and nothing is wrong."""
    cuda(0)
    assert refused("cuda") == f"device=cuda cannot be used: CUDA finds no GPU; {WITHOUT}"


@pytest.mark.parametrize("failure", [None, NO_DRIVER, OLD_DRIVER], ids=["not built", "no driver", "too old a driver"])
def test_the_command_says_what_is_missing_and_what_works(
    cuda: Callable[..., None],
    failure: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if failure is None:
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
    else:
        cuda(0, failure)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py", "task=uav_nav", "sim=mujoco_warp"])
    with pytest.raises(SystemExit) as ended:
        command_line.train()
    assert ended.value.code == 2
    said = capfd.readouterr().err
    assert said.startswith("error: device=cuda") and said.count("\n") == 1
    assert (failure or "built without CUDA").rstrip(".") in said
    assert said.endswith(f"{WITHOUT}\n")
    assert not list(tmp_path.iterdir())
