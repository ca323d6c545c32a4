"""Live plots of one episode: the reward's terms as they are paid, and any signals that a person picks."""

import numpy as np
import viser
import viser.uplot

from robo_ppo.env.build import LAST_ACTION
from robo_ppo.env.rewards import PREFIX
from robo_ppo.run.live.session import Session

_COLOURS = "#2176c7 #f2700c #1f9d55 #c8322b #7b4fb5 #d08700 #159a9c #c2478f #5c6b7a #8a5a2b #6f9c1d #3b4cc0".split()
_NAMED = 12  # more lines than that have no legend
_HEIGHT = 170  # pixels
_SUMMED, _PAID = "summed so far", "paid in each step"


class Chart:
    """Some lines over the time of an episode."""

    def __init__(self, gui: viser.GuiApi, title: str, names: list[str], seconds: float) -> None:
        """Put a chart of the named lines over `seconds` where the gui's context is."""
        series: list[viser.uplot.Series] = [{"label": "s"}]
        for number, name in enumerate(names):
            series.append({"label": name, "stroke": _COLOURS[number % len(_COLOURS)], "width": 1.4})
        self._plot = gui.add_uplot(
            tuple(np.zeros(1) for _ in series),
            tuple(series),
            title=title,
            scales={"x": {"time": False, "range": (0.0, seconds)}},
            axes=({"size": 36, "ticks": {"size": 5}}, {"size": 56, "ticks": {"size": 5}}),
            legend={"show": 1 < len(names) <= _NAMED, "live": False},
            cursor={"show": True},
            height=_HEIGHT,
            padding=(4, 12, 0, 0),
        )

    def show(self, times: np.ndarray, lines: np.ndarray) -> None:
        """Draw lines (rows, names) over their times (rows,)."""
        self._plot.data = (times, *np.ascontiguousarray(lines.T))

    def remove(self) -> None:
        """Take it away."""
        self._plot.remove()


class Charts:
    """All plots of a session; `show` brings them up to date."""

    def __init__(self, gui: viser.GuiApi, session: Session) -> None:
        """Put them where the gui's context is."""
        self._gui, self._session = gui, session
        self._seconds = session.environment.max_episode_steps * session.period
        self._terms = [name for name in session.signals if name.startswith(PREFIX)]
        terms = [name.removeprefix(PREFIX).replace("_", " ") for name in self._terms]
        self._sum = gui.add_dropdown("reward", (_SUMMED, _PAID), hint="By term, with its weight")
        self._reward = Chart(gui, "reward terms", terms, self._seconds)
        first = next(iter(session.task.readings().values()), session.task.position_signal())
        self._drawn: tuple[object, ...] = ()
        self._picked = [_Picked(gui, session, name, self._seconds) for name in (first, LAST_ACTION)]

    def show(self) -> None:
        """Draw what there is, where it is not drawn yet."""
        history = self._session.history
        drawn = (self._session.episode, len(history), self._sum.value, *(picked.signal for picked in self._picked))
        if drawn == self._drawn:
            return
        self._drawn = drawn
        paid = np.concatenate([history.of(name) for name in self._terms], 1)
        self._reward.show(history.times, paid.cumsum(0) if self._sum.value == _SUMMED else paid)
        for picked in self._picked:
            picked.show()


class _Picked:
    """A chart of one signal, and the list to pick it from."""

    def __init__(self, gui: viser.GuiApi, session: Session, signal: str, seconds: float) -> None:
        self._gui, self._session, self._seconds = gui, session, seconds
        folder = gui.add_folder(None)
        with folder:
            self._choice = gui.add_dropdown("signal", session.signals, initial_value=signal)
            self._holder = gui.add_folder(None)
        self._shown = ""
        self.show()

    @property
    def signal(self) -> str:
        return self._choice.value

    def show(self) -> None:
        signal = self.signal
        if signal != self._shown:
            self._draw_anew(signal)
        self._chart.show(self._session.history.times, self._session.history.of(signal))

    def _draw_anew(self, signal: str) -> None:
        if self._shown:
            self._chart.remove()
        quantity = self._session.environment.table.quantity(signal)
        unit = "" if quantity.unit == "1" else f" ({quantity.unit})"
        frame = f", {quantity.frame} frame" if quantity.frame else ""
        names = [name.replace("_", " ") or signal for name in self._session.numbers_of(signal)]
        with self._holder:
            self._chart = Chart(self._gui, f"{signal}{unit}{frame}", names, self._seconds)
        self._shown = signal
