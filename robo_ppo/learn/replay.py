"""Work on tensors in fixed places, recorded once as a CUDA graph and replayed: thousands of launches become one.

    step = Replayed(work, generators=[generator])
    step()                                  # as it is written; the third call records, every later one replays

The work must read and write tensors that stay where they are, and ask the device nothing. What Python does in it
happens in the first calls alone. Where the device cannot record it, it goes on being run as it is written, and
`refused` says why; on a CPU it is never recorded.
"""

from collections.abc import Callable, Sequence

import torch

_WARM_UP = 2  # calls that make what is made once: libraries' handles, the optimiser's state, compiled kernels


class Replayed:
    """A piece of work and, from its third call on, its graph."""

    def __init__(
        self,
        work: Callable[[], None],
        device: torch.device,
        generators: Sequence[torch.Generator] = (),
        *,
        record: bool = True,
    ) -> None:
        self._work, self._device, self._generators = work, device, tuple(generators)
        self._is_recordable = record and device.type == "cuda"
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._graph_refused: torch.cuda.CUDAGraph | None = None
        self.refused: str | None = None

    def __call__(self) -> None:
        """Do the work once."""
        if self._graph is not None:
            self._graph.replay()
        elif not self._is_recordable:
            self._work()
        elif self._calls < _WARM_UP:
            self._calls += 1
            self._on_another_stream()
        else:
            self._record()
            self()

    def _on_another_stream(self) -> None:
        """As recording will: what is made now must not belong to the main stream."""
        stream, main = torch.cuda.Stream(self._device), torch.cuda.current_stream(self._device)
        stream.wait_stream(main)
        with torch.cuda.stream(stream):
            self._work()
        main.wait_stream(stream)

    def _record(self) -> None:
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        torch.cuda.synchronize(self._device)
        try:
            with torch.cuda.device(self._device), torch.cuda.graph(graph, stream=torch.cuda.Stream(self._device)):
                self._work()
        except torch.OutOfMemoryError:
            raise  # going on without the graph would need as much
        except RuntimeError as error:
            self._is_recordable = False
            self._graph_refused = graph  # torch's allocator may still ask for it
            self.refused = " ".join(str(_cause(error)).split())[:200]
        else:
            self._graph = graph


def _cause(error: BaseException) -> BaseException:
    """What went wrong first: ending a recording that has failed fails too, and says nothing."""
    while (before := error.__cause__ or error.__context__) is not None:
        error = before
    return error
