"""A CRTP connection to a Crazyflie, through cflib; the link and the source of one vehicle share it.

    connection = connect("radio://0/80/2M/E7E7E7E7E7")          # the same one for the same address
    connection.log("state", ["stateEstimate.z"], 0.01, on_data)  # on_data(stamp, {"stateEstimate.z": 0.4})
    connection.set("flightmode.stabModeRoll", 0)                 # waits for the vehicle's answer, and returns it
    connection.post("setpoint", lambda cf: cf.commander.send_setpoint(0, 0, 0, 20000))   # never waits
    connection.release()

cflib waits in places: for a radio whose queue is full (up to 2 s), for its own lock. So what is sent in flight goes
through a thread of the connection's own; of what is posted under one key only the newest is sent.

cflib is GPL-3 and an optional extra of its own, `robo-ppo-onboard[crazyflie]`; it is imported when a connection opens.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Sequence

from ..errors import UserError, did_you_mean

URI = "radio://0/80/2M/E7E7E7E7E7"
CLOCK = 1 << 24  # ms: the time stamp of a log packet has three bytes, and begins anew after 4.7 hours
ANSWER = 2.0  # s: that a parameter or a log block may take
LEAVE = 3.0  # s: that a thread may take to end

OnData = Callable[[float, Dict[str, float]], None]

_open: dict[str, Connection] = {}
_opening = threading.Lock()


def connect(uri: str = URI, *, cache: str = "", timeout: float = 30.0) -> Connection:
    """The connection to this address; whoever asks again shares it, and the last to release it closes it.

    `cache` is a folder for the vehicle's tables of contents, by default in the person's own cache; reading them over
    the radio takes several seconds. UserError where nobody answers within `timeout` (s).
    """
    with _opening:
        connection = _open.get(uri)
        if connection is None:
            connection = _open[uri] = Connection(uri)
            try:
                connection.open(cache or default_cache(), timeout)
            except BaseException:
                del _open[uri]
                connection.close()
                raise
        connection.users += 1
        return connection


def default_cache() -> str:
    """Where tables of contents are kept, by the convention of desktops."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return str(Path(base) / "robo_ppo_onboard" / "crazyflie")


class Connection:
    """See the module; made by `connect`."""

    def __init__(self, uri: str) -> None:
        self.uri, self.users = uri, 0
        self.packets = 0  # heard so far
        self.trouble = ""  # what cflib said when the link was lost
        self._cf: Any = None
        self._blocks: list[Any] = []
        self._change = threading.Condition()
        self._parameters: dict[str, float] = {}
        self._answers: dict[str, int] = {}  # how often the vehicle has told a parameter
        self._posted: dict[str, Callable[[Any], object]] = {}
        self._closing = False
        self._stamp, self._clock = 0, 0
        self._sender = threading.Thread(target=self._serve, name="crtp", daemon=True)

    def open(self, cache: str, timeout: float) -> None:
        """Connect, and read every parameter; UserError with cflib's own words where that fails."""
        try:
            import cflib.crtp
            from cflib.crazyflie import Crazyflie
        except ImportError as error:
            raise UserError(
                "link and source crazyflie need cflib (GPL-3, Python 3.10 or newer): "
                f"pip install 'robo-ppo-onboard[crazyflie]' ({error})"
            ) from error
        if not cflib.crtp.CLASSES:
            cflib.crtp.init_drivers()
        Path(cache).mkdir(parents=True, exist_ok=True)
        self._cf = cf = Crazyflie(rw_cache=cache)
        done = threading.Event()
        cf.packet_received.add_callback(self._on_packet)
        cf.param.add_update_callback(cb=self._on_parameter)
        # cflib pings ten times a second to measure its latency: a share of the radio that belongs to the flight.
        cf.connected.add_callback(lambda _uri: cf.link_statistics.stop())
        cf.fully_connected.add_callback(lambda _uri: done.set())
        for failed in (cf.connection_failed, cf.connection_lost):
            failed.add_callback(lambda _uri, message: (self._lost(message), done.set()))
        cf.open_link(self.uri)
        if not done.wait(timeout):
            self.trouble = f"no answer within {timeout:g} s"
        if self.trouble:
            raise UserError(f"no Crazyflie at {self.uri}: {self.trouble}")
        self._sender.start()

    @property
    def protocol(self) -> int:
        """The version of CRTP that the vehicle speaks."""
        return self._cf.platform.get_protocol_version()

    def wait_until(self, happened: Callable[[], bool], timeout: float = ANSWER) -> bool:
        """Whether something happened within a time (s)."""
        end = time.monotonic() + timeout
        while not happened() and time.monotonic() < end:
            time.sleep(0.01)
        return happened()

    def has(self, parameter: str) -> bool:
        """Whether the vehicle's firmware knows this parameter."""
        return self._cf.param.toc.get_element(*parameter.split(".")) is not None

    def get(self, parameter: str) -> float:
        """What the vehicle last told of a parameter."""
        with self._change:
            return self._parameters[parameter]

    def set(self, parameter: str, value: float) -> float:
        """Set a parameter and wait for the vehicle to say what it is now; UserError where it does not."""
        if not self.has(parameter):
            raise UserError(f"the Crazyflie's firmware has no parameter {parameter}: it is too old, or too new")
        with self._change:
            before = self._answers.get(parameter, 0)
            try:
                self._cf.param.set_value(parameter, value)
            except Exception as error:
                raise UserError(f"the Crazyflie does not take {parameter}: {error}") from error
            if not self._change.wait_for(lambda: self._answers.get(parameter, 0) > before, ANSWER):
                raise UserError(f"the Crazyflie did not confirm {parameter}={value:g} within {ANSWER:g} s")
            return self._parameters[parameter]

    def log(self, name: str, variables: Sequence[str], period: float, on_data: OnData) -> None:
        """Have the vehicle tell these variables every `period` (s, tens of ms); `on_data` runs in cflib's thread."""
        from cflib.crazyflie.log import LogConfig

        block = LogConfig(name, round(1000 * period))
        for variable in variables:
            group, short = variable.split(".")
            if self._cf.log.toc.get_element(group, short) is None:
                known = [f"{g}.{n}" for g, names in self._cf.log.toc.toc.items() for n in names]
                raise UserError(f"the Crazyflie's firmware does not tell {variable}; {did_you_mean(variable, known)}")
            block.add_variable(variable)
        started = threading.Event()
        block.data_received_cb.add_callback(lambda stamp, data, _block: on_data(self._seconds(stamp), data))
        block.started_cb.add_callback(lambda _block, begun: started.set() if begun else None)
        self._cf.log.add_config(block)
        block.start()
        if not started.wait(ANSWER):
            raise UserError(f"the Crazyflie does not tell its {name}: no room for another log block, or no answer")
        self._blocks.append(block)

    def post(self, key: str, send: Callable[[Any], object]) -> None:
        """Have `send(cf)` called as soon as possible, in place of what is still waiting under this key."""
        with self._change:
            self._posted.pop(key, None)
            self._posted[key] = send
            self._change.notify_all()

    def release(self) -> None:
        """Let go of it; the last user closes it."""
        with _opening:
            self.users -= 1
            if self.users == 0:
                _open.pop(self.uri, None)
                self.close()

    def close(self) -> None:
        """Send what is still posted, end the log blocks and the link.

        Not as cflib closes: that sends a setpoint without thrust first, which would drop a vehicle out of the air. The
        firmware's own failsafe does better, and one that its own controller flies goes on flying.
        """
        with self._change:
            self._closing = True
            self._change.notify_all()
        if self._sender.is_alive():
            self._sender.join(LEAVE)
        cf = self._cf
        if cf is None:
            return
        if cf.incoming.is_alive():
            cf.incoming.stop()
            cf.incoming.join(LEAVE)
        if cf.link is not None:
            for block in self._blocks:
                block.delete()
        driver, cf.link = cf.link, None
        if driver is not None:
            driver.close()
        cf.close_link()

    def _serve(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._posted or self._closing)
                posted, self._posted = self._posted, {}
                if not posted:
                    return
            for send in posted.values():
                if self.trouble:  # cflib has given the link up
                    continue
                try:
                    send(self._cf)
                except Exception as error:
                    self._lost(str(error))

    def _on_packet(self, _packet: object) -> None:
        self.packets += 1

    def _on_parameter(self, name: str, value: str) -> None:
        with self._change:
            self._parameters[name] = float(value)
            self._answers[name] = self._answers.get(name, 0) + 1
            self._change.notify_all()

    def _lost(self, message: str) -> None:
        """The first reason is what counts; cflib puts a stack trace behind an empty line."""
        if not self.trouble:
            self.trouble = " ".join(message.strip().split("\n\n")[0].split()) or "the link is lost"

    def _seconds(self, stamp: int) -> float:
        """A time stamp of the vehicle in seconds since it was switched on, or since the connection began."""
        ahead = (stamp - self._stamp + CLOCK // 2) % CLOCK - CLOCK // 2
        self._stamp, self._clock = stamp, self._clock + ahead
        return self._clock / 1000.0
