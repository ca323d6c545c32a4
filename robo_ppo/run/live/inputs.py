"""Inputs of a page that a person changes, and that also show what changes by itself."""

from collections.abc import Callable
from typing import Generic, TypeVar

import viser

from robo_ppo.run.live.player import Player

T = TypeVar("T")


def on_change(player: Player, handle: viser.GuiInputHandle[T], order: Callable[[T], None]) -> None:
    """Have the player do something with what a person sets; not with what the program itself shows there."""

    # In the server's own loop, which keeps the order of events.
    async def listen(event: viser.GuiEvent[viser.GuiInputHandle[T]]) -> None:
        if event.client is not None:
            value = event.target.value
            player.ask(lambda: order(value))

    handle.on_update(listen)


class Shown(Generic[T]):
    """Keeps an input up to date, but only where something has changed: it is never taken out of a person's hand."""

    def __init__(self, handle: viser.GuiInputHandle[T], now: Callable[[], T]) -> None:
        """`now` says what is the case."""
        self._handle, self._now = handle, now
        self._last = handle.value

    def show(self) -> None:
        """Show what is the case now."""
        value = self._now()
        if value != self._last:
            self._last = self._handle.value = value
