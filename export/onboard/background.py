"""Work that must not hold a tick, done in a thread: writing to a disk or a terminal may take as long as it likes.

lines = Background(print)
lines.put("taking off")       # never waits
lines.close()                 # does what is left
"""

from __future__ import annotations

import queue
import threading
from typing import Callable, Generic, TypeVar

Item = TypeVar("Item")


class Background(Generic[Item]):
    """Hands items to a function, one after another, in a thread."""

    def __init__(self, consume: Callable[[Item], object]) -> None:
        self._consume = consume
        self._queue: queue.SimpleQueue[tuple[Item] | None] = queue.SimpleQueue()
        self.error: Exception | None = None
        """What the function raised, if it did: then all later items are dropped."""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over an item."""
        if self.error is None:
            self._queue.put((item,))

    def close(self, patience: float = 5.0) -> None:
        """Wait until everything is done, at most so many seconds."""
        self._queue.put(None)
        self._thread.join(patience)

    def _serve(self) -> None:
        while True:
            item = self._queue.get()
            if item is None:
                return
            try:
                self._consume(item[0])
            except Exception as error:
                self.error = error
                return
