"""A command that a person steers as with a stick: a slider, two keys, and whether it is held."""

import viser

from robo_ppo.env.task import CommandRange
from robo_ppo.run.live.inputs import Shown, on_change
from robo_ppo.run.live.player import Player

_PART = 0.1  # of its range that one key press is worth


class Command:
    """One number of a command (`Task.commands`): it shows what the task commands until a person takes it over."""

    def __init__(self, gui: viser.GuiApi, player: Player, label: str, given: CommandRange) -> None:
        """Put it where the gui's context is."""
        self.label, self._session, self._given = label, player.session, given
        step = (given.high - given.low) / 200
        slider = gui.add_slider(label, min=given.low, max=given.high, step=step, initial_value=round(self._now(), 3))
        self._shown = Shown(slider, lambda: round(self._now(), 3))
        self._held = gui.add_checkbox("by hand", False, hint="Off: what the task commands")
        on_change(player, slider, self._hold)
        on_change(player, self._held, lambda by_hand: self._hold(self._now() if by_hand else None))

    def show(self) -> None:
        """Show what is commanded now."""
        self._shown.show()

    def increase(self) -> None:
        """Command a little more."""
        self._hold(self._now() + _PART * (self._given.high - self._given.low))

    def decrease(self) -> None:
        """Command a little less."""
        self._hold(self._now() - _PART * (self._given.high - self._given.low))

    def _now(self) -> float:
        return min(max(self._session.commanded(self.label), self._given.low), self._given.high)

    def _hold(self, value: float | None) -> None:
        self._held.value = value is not None
        self._session.command(self.label, value)
