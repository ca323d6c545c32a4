"""The page of a world that broke: the vehicle in each substep of its last step, and the numbers that ran away."""

import math
import threading
from collections.abc import Callable, Coroutine

import numpy as np
import viser

from robo_ppo.run import palette
from robo_ppo.run.live.replay import Replay, Substep
from robo_ppo.run.live.scene import Scene
from robo_ppo.run.templates import template


class ReplayPage:
    """Shows a replay to whoever opens the page; its person steps through it."""

    def __init__(self, server: viser.ViserServer, replay: Replay) -> None:
        """Build the page."""
        self._replay = replay
        gui, task = server.gui, replay.environment.task
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=palette.rgb(palette.PATH))
        gui.set_panel_label("A world that broke")
        gui.main_panel.dock_right()
        gui.main_panel.set_width(430)
        self._scene = Scene(server, task.robot.spec().compile(), [], lambda _handle, _place: None)
        last = len(replay.substeps) - 1
        self._closed = threading.Event()
        self._table = gui.add_html("")
        self._slider = gui.add_slider("Substep", min=0, max=last, step=1, initial_value=0)
        group = gui.add_button_group("Go", ("Back", "Forward"), hint="Keys: left and right arrow")
        commands = {-1: gui.add_command("Back", hotkey="arrowleft"), 1: gui.add_command("Forward", hotkey="arrowright")}

        # In the server's own loop, one after another: two quick clicks are two substeps.
        async def show(_event: viser.GuiEvent[viser.GuiSliderHandle[int]]) -> None:
            self.show(self.substep)

        async def click(event: viser.GuiEvent[viser.GuiButtonGroupHandle]) -> None:
            self._go(-1 if event.target.value == "Back" else 1)

        def press(by: int) -> Callable[[viser.CommandEvent], Coroutine[None, None, None]]:
            async def go(_event: viser.CommandEvent) -> None:
                self._go(by)

            return go

        self._slider.on_update(show)
        group.on_click(click)
        for by, command in commands.items():
            command.on_trigger(press(by))
        self.show(0)

    def show(self, number: int) -> None:
        """Show the world after so many substeps."""
        substep = self._replay.substeps[number]
        drawn = next(s for s in reversed(self._replay.substeps[: number + 1]) if _can_be_drawn(s) or s.number == 0)
        qpos = drawn.qpos if _can_be_drawn(drawn) else np.zeros_like(drawn.qpos)
        self._scene.show(qpos, np.zeros((0, 3)), self._replay.shapes, math.inf)
        self._scene.say(None if drawn is substep else "cannot be drawn any more")
        self._table.content = template("live/replay.html.jinja").render(replay=self._replay, number=number)

    @property
    def substep(self) -> int:
        """Which one is shown."""
        return int(self._slider.value)

    def run(self) -> None:
        """Serve until `close`, or an interrupt."""
        while not self._closed.wait(0.1):
            pass

    def close(self) -> None:
        """End `run`; from any thread."""
        self._closed.set()

    def _go(self, by: int) -> None:
        self._slider.value = min(max(self._slider.value + by, 0), len(self._replay.substeps) - 1)


def _can_be_drawn(substep: Substep) -> bool:
    """Whether a browser could show it: within a kilometre."""
    return bool((np.abs(substep.qpos) < 1e3).all())
