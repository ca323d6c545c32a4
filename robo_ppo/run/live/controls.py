"""What a person does to a flight: pause, step, choose the episode and the speed, push, command.

A callback of viser runs in a thread of its own; it only leaves an order with the player.
"""

from collections.abc import Callable
from typing import Literal

import viser

from robo_ppo.run.live.commands import Command
from robo_ppo.run.live.inputs import Shown, on_change
from robo_ppo.run.live.player import SPEEDS, Player
from robo_ppo.run.live.push import DIRECTIONS
from robo_ppo.run.live.scene import Scene
from robo_ppo.run.live.session import EPISODES
from robo_ppo.run.live.view import MODES

Key = Literal["space", "arrowright", "R", "N", "C", "P", "I", "K", "J", "L", "U", "O"]

_KEYS = """<div class="readout"><p class="keys">Keys: <b>space</b> pause, <b>→</b> step, <b>R</b> restart,
<b>N</b> next, <b>P</b> push, <b>C</b> camera</p></div>"""
_STRENGTH = (0.1, 5.0, 1.0)  # m/s of a push: weakest, strongest, at first
# Keys (more, less) for the first commands, as ROS's teleop_twist_keyboard has them: forward, turn, and one more.
_STICKS: tuple[tuple[Key, Key], ...] = (("I", "K"), ("J", "L"), ("U", "O"))


class Controls:
    """The buttons and sliders of a player."""

    def __init__(self, gui: viser.GuiApi, player: Player, scene: Scene) -> None:
        """Put them where the gui's context is."""
        self._gui, self._player, self._scene = gui, player, scene
        self._add_playing()
        self._shown = self._add_choices()
        self._add_push()
        self._commands = self._add_commands()
        gui.add_html(_KEYS)

    def show(self) -> None:
        """Show what has changed by itself, or in another browser."""
        playing = self._player.is_playing
        self._play.label = "Pause" if playing else "Play"
        self._play.icon = viser.Icon.PLAYER_PAUSE if playing else viser.Icon.PLAYER_PLAY
        for shown in (*self._shown, *self._commands):
            shown.show()

    def _add_playing(self) -> None:
        gui, player = self._gui, self._player

        def toggle() -> None:
            player.pause() if player.is_playing else player.play()

        self._play = gui.add_button("Pause", icon=viser.Icon.PLAYER_PAUSE, hint="Key: space")
        self._play.on_click(lambda _event: player.ask(toggle))
        self._add_key("space", "Pause or play", toggle)
        actions: dict[str, tuple[Key, Callable[[], None]]] = {
            "Step": ("arrowright", player.step_once),
            "Restart": ("R", lambda: player.begin(player.session.episode)),
            "Next": ("N", lambda: player.begin(player.session.episode + 1)),
        }
        group = gui.add_button_group("Go", tuple(actions), hint="Keys: right arrow, R, N")
        group.on_click(lambda event: player.ask(actions[event.target.value][1]))
        for name, (key, order) in actions.items():
            self._add_key(key, name, order)

    def _add_choices(self) -> tuple[Shown[float], Shown[int]]:
        gui, player, view = self._gui, self._player, self._scene.view
        low, high = SPEEDS
        marks = tuple((value, f"{value:g}×") for value in (low, 1.0, 2.0, high))
        speed = gui.add_slider("Speed", min=low, max=high, step=0.1, initial_value=player.clock.speed, marks=marks)
        episode = gui.add_number("Episode", player.session.episode, min=0, max=EPISODES - 1, step=1)
        goes_on = gui.add_checkbox("Next by itself", player.goes_on, hint="When an episode has ended, the next begins")
        camera = gui.add_dropdown("Camera", MODES, initial_value=view.mode, hint="Key C puts it behind the vehicle")
        on_change(player, speed, player.set_speed)
        on_change(player, episode, lambda number: player.begin(int(number)))
        on_change(player, goes_on, lambda value: setattr(player, "goes_on", value))
        on_change(player, camera, lambda mode: setattr(view, "mode", mode))
        self._add_key("C", "Camera behind the vehicle", view.go_home)
        return Shown(speed, lambda: player.clock.speed), Shown(episode, lambda: player.session.episode)

    def _add_push(self) -> None:
        gui, player = self._gui, self._player
        low, high, first = _STRENGTH
        with gui.add_folder("Push"):
            direction = gui.add_dropdown("To the", DIRECTIONS, initial_value="left", hint="Seen from the vehicle")
            strength = gui.add_slider("By (m/s)", min=low, max=high, step=0.1, initial_value=first)
            button = gui.add_button("Push", icon=viser.Icon.WIND, color="orange", hint="Key: P")

        def push() -> None:
            player.session.push(direction.value, float(strength.value))

        button.on_click(lambda _event: player.ask(push))
        self._add_key("P", "Push the vehicle", push)

    def _add_commands(self) -> list[Command]:
        commands = self._player.session.task.commands()
        if not commands:
            return []
        with self._gui.add_folder("Command"):
            added = [Command(self._gui, self._player, label, given) for label, given in commands.items()]
        for (more, less), command in zip(_STICKS, added, strict=False):
            self._add_key(more, f"More {command.label}", command.increase)
            self._add_key(less, f"Less {command.label}", command.decrease)
        return added

    def _add_key(self, key: Key, what: str, order: Callable[[], None]) -> None:
        self._gui.add_command(what, hotkey=key).on_trigger(lambda _event: self._player.ask(order))
