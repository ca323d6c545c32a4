"""What a CUDA graph does and forbids, on a CPU: for tests on machines without a GPU.

`forbid_waiting()` refuses what would make a GPU wait for the host or the host for a GPU, or copy from one to the other.
`RecordedOnCpu` records the operations of one call and replays them in the same memory, without the Python around them,
as a CUDA graph does.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from typing_extensions import override

from robo_ppo.learn.replay import Replayed
from robo_ppo.sim.mujoco_warp import MujocoWarp

_WAITING = (
    "_local_scalar_dense item is_nonzero equal nonzero nonzero_static masked_select unique unique_dim unique2 _unique2 "
    "unique_consecutive bincount lift_fresh argwhere"
).split()
_ON_HOST = ("numpy tolist cpu item tensor as_tensor new_tensor from_numpy __bool__ __float__ __int__ __index__").split()


class WouldWait(AssertionError):
    """An operation that a recorded step must not contain."""


class _Operations(TorchDispatchMode):
    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1]
        )
        if name in _WAITING or by_mask:
            raise WouldWait(f"aten::{name}{' by a mask' if by_mask else ''} makes the device and the host wait")
        return func(*args, **(kwargs or {}))


class _Functions(TorchFunctionMode):
    @override
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _ON_HOST:
            raise WouldWait(f"{name} moves numbers between the device and the host")
        return func(*args, **(kwargs or {}))


@contextmanager
def forbid_waiting() -> Generator[None]:
    """Raise `WouldWait` where a step would not be allowed in a CUDA graph."""
    with _Functions(), _Operations():
        yield


class RecordedOnCpu(Replayed):
    """`Replayed` that records on a CPU."""

    def __init__(self, work: Callable[[], None], *_: object) -> None:
        super().__init__(work, torch.device("cpu"))
        self._recorder: _Recorder | None = None
        self.replays = 0

    @override
    def __call__(self) -> None:
        if self._recorder is not None:
            self.replays += 1
            self._recorder.replay()
        elif self._calls < 2:
            self._calls += 1
            self._work()
        else:
            recorder = _Recorder()
            with recorder, _physics_recorded_by(recorder):
                self._work()
            self._recorder = recorder


class _Recorder(TorchDispatchMode):
    """Keeps every operation with its tensors while it is done."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], object]] = []

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        given = {tensor.untyped_storage().data_ptr() for tensor in _tensors((args, kwargs))}
        own = [tensor for tensor in _tensors(made) if tensor.untyped_storage().data_ptr() not in given]

        def again() -> None:
            fresh = [t for t in _tensors(func(*args, **kwargs)) if t.untyped_storage().data_ptr() not in given]
            for tensor, value in zip(own, fresh, strict=True):
                tensor.detach().copy_(value)

        self.calls.append(again)
        return made

    @torch.no_grad()
    def replay(self) -> None:
        for call in self.calls:
            call()


@contextmanager
def _physics_recorded_by(recorder: _Recorder) -> Generator[None]:
    """Warp's kernels are no operations of torch's: what launches them is recorded as one."""
    launch = MujocoWarp._run

    def recorded(sim: MujocoWarp, key: object, work: Callable[[], None]) -> None:
        launch(sim, key, work)
        recorder.calls.append(lambda: launch(sim, key, work))

    setattr(MujocoWarp, "_run", recorded)  # noqa: B010
    try:
        yield
    finally:
        setattr(MujocoWarp, "_run", launch)  # noqa: B010


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
