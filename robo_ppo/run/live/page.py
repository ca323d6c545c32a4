"""The page of a flight: a scene in the middle, plots on the left, controls on the right; any number of browsers."""

import math
import threading
import time

import numpy as np
import viser

from robo_ppo.run import palette
from robo_ppo.run.live.charts import Charts
from robo_ppo.run.live.controls import Controls
from robo_ppo.run.live.player import LINGER, Player
from robo_ppo.run.live.readout import readout
from robo_ppo.run.live.scene import Scene

_SCENE, _TEXT, _CHARTS = 1 / 30, 1 / 8, 1 / 4  # s between two pictures
_IDLE = 0.1  # s between two looks whether someone has opened the page


class Page:
    """Shows a player to whoever opens the page."""

    def __init__(self, server: viser.ViserServer, player: Player, title: str) -> None:
        """Build the page; `title` says what flies."""
        self._server, self._player = server, player
        session = player.session
        gui = server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, brand_color=palette.rgb(palette.PATH))
        gui.set_panel_label(title)
        gui.main_panel.dock_right()
        gui.main_panel.set_width(320)
        model = session.task.robot.spec().compile()
        self._scene = Scene(server, model, list(session.task.handles()), self._move)
        self._readout = gui.add_html("")
        self._controls = Controls(gui, player, self._scene)
        plots = gui.add_panel()
        plots.dock_left()
        plots.set_width(360)
        with plots.add_tab("Signals"):
            self._charts = Charts(gui, session)
        self._shown: tuple[int, int, str | None] | None = None  # episode, steps and outcome of the last picture
        self._due = {"scene": 0.0, "text": 0.0, "charts": 0.0}
        self._last = time.monotonic()
        self._closed = threading.Event()

    def run(self) -> None:
        """Play until `close`, or an interrupt; while nobody has the page open, the flight waits."""
        while not self._closed.is_set():
            if self._server.get_clients():
                self._player.turn()
                self.show()
                time.sleep(min(self._player.clock.wait(), _SCENE / 2) if self._player.is_playing else _SCENE / 2)
            else:  # nobody looks: the flight waits
                self._closed.wait(_IDLE)
                self._player.clock.start()

    def close(self) -> None:
        """End `run`; from any thread."""
        self._closed.set()

    def show(self) -> None:
        """Bring up to date what is due."""
        now = time.monotonic()
        if self._is_due("scene", now, _SCENE):
            self._show_scene(now - self._last)
            self._last = now
        if self._is_due("text", now, _TEXT):
            self._readout.content = readout(self._player)
            self._controls.show()
            self._scene.clear_sight()
        if self._is_due("charts", now, _CHARTS):
            self._charts.show()

    def _is_due(self, what: str, now: float, period: float) -> bool:
        if now < self._due[what]:
            return False
        self._due[what] = now + period
        return True

    def _show_scene(self, seconds: float) -> None:
        session = self._player.session
        shown, self._shown = self._shown, (session.episode, session.steps, session.outcome)
        began = shown is None or shown[0] != session.episode or shown[1] > session.steps
        states = session.states
        with self._server.atomic():
            self._scene.show(session.qpos, session.path, session.shapes, math.inf if began else seconds)
            self._scene.show_handles({label: states[name] for label, name in session.task.handles().items()})
            if shown is None or shown[2] != session.outcome:
                self._announce(session.outcome)

    def _announce(self, outcome: str | None) -> None:
        """Say how an episode ended, above the vehicle and in the corner of every browser."""
        self._scene.say(None if outcome is None else palette.outcome_label(outcome))
        if outcome is not None:
            session = self._player.session
            for client in self._server.get_clients().values():
                client.add_notification(
                    palette.outcome_label(outcome),
                    f"Episode {session.episode}, after {session.time:.2f} s",
                    auto_close_seconds=LINGER,
                    color=palette.rgb(palette.outcome_colour(outcome)),
                )

    def _move(self, handle: str, position: np.ndarray) -> None:
        self._player.ask(lambda: self._player.session.move(handle, position))
