"""The device to compute on, or a message that says why it cannot be used.

device = open_device("cuda")
"""

import warnings

import torch

from robo_ppo.errors import UserError

_WITHOUT = "; without a GPU: sim=mujoco_cpu device=cpu"


def open_device(name: str) -> torch.device:
    """`cpu`, `cuda` (the one that this process works on), or one of several GPUs: `cuda:1`."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"device={name}; it must be cpu, cuda, or cuda:0, cuda:1, … for one of several GPUs")
    if device.type == "cpu":
        return device
    _check_cuda(name, device.index or 0)
    device = torch.device("cuda", device.index if ":" in name else torch.cuda.current_device())
    # What is recorded, and what asks for "the" GPU, means the one that this process works on.
    torch.cuda.set_device(device)
    return device


def _check_cuda(name: str, index: int) -> None:
    if not torch.backends.cuda.is_built():
        raise UserError(
            f"device={name}: this PyTorch ({torch.__version__}) was built without CUDA; install one with it as "
            f"pytorch.org says{_WITHOUT}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of a driver that is too old; it is told below, once
        is_available = torch.cuda.is_available()
    if not is_available:
        raise UserError(f"device={name} cannot be used: {_why_not()}{_WITHOUT}")
    count = torch.cuda.device_count()
    if index >= count:
        raise UserError(f"device={name}: this machine has {count} GPU{'s' if count > 1 else ''}, cuda:0 is the first")


def _why_not() -> str:
    """What CUDA itself says: no driver, a driver that is too old, no device."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        return str(error).strip().splitlines()[0].rstrip(".")
    return "CUDA finds no GPU"
