"""A source delivers measurements, whole and never waiting; the controller asks it once in every tick.

    class Tape(Source):
        def __init__(self, *, port: int = 7777) -> None: ...   # settings of the command line: source.port=7777
        provides = ("range",)
        def poll(self) -> list[Sample]: ...

A source neither filters nor invents: what is old, doubled, out of order, not finite or out of range is found out by the
safety net, which must see it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from ..contract import Contract
from ..vehicle import Sample


class Source(ABC):
    """Something that delivers measurements by the names of the contract, in its units and frames."""

    provides: tuple[str, ...] = ()
    """Names of the measurements that it can deliver."""

    def open(self, contract: Contract) -> None:  # noqa: B027, not every source has something to open
        """Connect; UserError with what is wrong where that is impossible. The policy's contract says what is wanted."""

    @abstractmethod
    def poll(self) -> list[Sample]:
        """Everything that arrived since the last call, oldest first; never waits."""

    def close(self) -> None:  # noqa: B027, nor to close
        """Let go of whatever was opened."""
