"""A flight controller that behaves as PX4 does, as far as a companion computer can tell: modes, arming, failsafes.

    autopilot = Autopilot(cascade)
    autopilot.set_mode("takeoff", now)            # → a MAV_RESULT, as arm(), disarm()
    autopilot.take(setpoint, now)                 # whatever an offboard controller sends
    thrust, rates = autopilot.tick(state, on_ground, now)

Offboard is refused while no setpoints arrive, and left, after COM_OF_LOSS_T, for what COM_OBL_RC_ACT says; losing every
ground station's heartbeat for COM_DL_LOSS_T leads to what NAV_DLL_ACT says.
"""

from dataclasses import dataclass, field

import numpy as np

from robo_ppo.export.vehicles.cascade import Cascade, Command
from robo_ppo.export.vehicles.flight import RigidBody

ACCEPTED, NOT_NOW, DENIED, UNSUPPORTED = 0, 1, 2, 3  # MAV_RESULT

DEFAULTS: dict[str, tuple[float, bool]] = {
    "COM_OF_LOSS_T": (1.0, False),
    "COM_OBL_RC_ACT": (0, True),
    "COM_DL_LOSS_T": (10, True),
    "COM_DISARM_LAND": (2.0, False),
    "COM_RC_IN_MODE": (4, True),
    "MIS_TAKEOFF_ALT": (1.2, False),
    "MPC_LAND_SPEED": (0.4, False),
    "NAV_DLL_ACT": (0, True),
    "NAV_RCL_ACT": (2, True),
}
"""Parameters: the value, and whether it is a whole number."""

ON_OFFBOARD_LOSS = {0: "hold", 1: "hold", 2: "hold", 3: "land", 4: "land", 5: "hold"}
ON_LINK_LOSS = {1: "hold", 2: "land", 3: "land"}
PROOF_OF_LIFE = 0.5  # s between setpoints, at most


@dataclass(frozen=True)
class Rates:
    """Setpoint of body rates (rad/s) and collective thrust (N)."""

    thrust: float
    rates: tuple[float, float, float]


@dataclass(frozen=True)
class Velocity:
    """Setpoint of a velocity (m/s, world) and a yaw rate (rad/s)."""

    velocity: np.ndarray
    yaw_rate: float


@dataclass(frozen=True)
class Position:
    """Setpoint of a position (m, world) and a yaw (rad)."""

    position: np.ndarray
    yaw: float


@dataclass
class Autopilot:
    """Who flies, and how; times are the vehicle's own (s)."""

    cascade: Cascade
    idle: Command  # what the motors get when they are off
    mode: str = "hold"
    armed: bool = False
    parameters: dict[str, float] = field(default_factory=lambda: {name: value for name, (value, _) in DEFAULTS.items()})
    ground_station: float | None = None  # when its heartbeat was last heard
    _setpoint: "Rates | Velocity | Position | None" = None
    _setpoint_at: float = -np.inf
    _place: np.ndarray | None = None  # that hold, takeoff and land keep
    _yaw: float = 0.0
    _landed_at: float | None = None

    def begin(self, now: float, *, in_the_air: bool) -> None:
        """A new episode: on the ground and disarmed, or in the air and obeying."""
        self.cascade.reset()
        self.mode, self.armed = ("offboard", True) if in_the_air else ("hold", False)
        self._setpoint, self._setpoint_at = None, now
        self._place = self._landed_at = None

    def arm(self) -> int:
        """Motors on."""
        if self.mode == "land":
            return DENIED
        self.armed, self._landed_at = True, None
        return ACCEPTED

    def disarm(self, on_ground: bool, *, by_force: bool = False) -> int:
        """Motors off; in the air only by force."""
        if not (on_ground or by_force):
            return DENIED
        self.armed = False
        return ACCEPTED

    def set_mode(self, mode: str, now: float) -> int:
        """Another mode; offboard only while setpoints arrive."""
        if mode not in ("hold", "takeoff", "land", "offboard", "position"):
            return DENIED
        if mode == "offboard" and now - self._setpoint_at > PROOF_OF_LIFE:
            return NOT_NOW
        if mode != self.mode:
            self.mode, self._place, self._landed_at = mode, None, None
        return ACCEPTED

    def take(self, setpoint: Rates | Velocity | Position, now: float) -> None:
        """A setpoint arrived."""
        self._setpoint, self._setpoint_at = setpoint, now

    def tick(self, state: RigidBody, on_ground: bool, now: float) -> Command:
        """Thrust (N) and body rates (rad/s) for the next step."""
        self._look_after(on_ground, now)
        if not self.armed:
            return self.idle
        if self._place is None:
            self._place, self._yaw = state.position.copy(), state.yaw
        if self.mode == "offboard":
            return self._obey(state)
        if self.mode == "land":
            down = np.array([*np.clip(1.5 * (self._place - state.position)[:2], -0.7, 0.7), 0.0])
            return self.cascade.fly(state, down - [0.0, 0.0, self.parameters["MPC_LAND_SPEED"]], 0.0)
        if self.mode == "takeoff":
            top = self.parameters["MIS_TAKEOFF_ALT"]
            if state.position[2] > top - 0.05:
                self.set_mode("hold", now)
                self._place = np.array([*state.position[:2], top])
            return self.cascade.hold(state, np.array([*self._place[:2], top]), self._yaw)
        return self.idle if on_ground else self.cascade.hold(state, self._place, self._yaw)

    def _obey(self, state: RigidBody) -> Command:
        setpoint = self._setpoint
        if isinstance(setpoint, Rates):
            return setpoint.thrust, setpoint.rates
        if isinstance(setpoint, Velocity):
            return self.cascade.fly(state, setpoint.velocity, setpoint.yaw_rate)
        if isinstance(setpoint, Position):
            return self.cascade.hold(state, setpoint.position, setpoint.yaw)
        return self.cascade.hold(state, state.position, state.yaw)

    def _look_after(self, on_ground: bool, now: float) -> None:
        """Failsafes, and the motors after a landing."""
        if not self.armed:
            return
        if self.mode == "offboard" and now - self._setpoint_at > self.parameters["COM_OF_LOSS_T"]:
            self.set_mode(ON_OFFBOARD_LOSS.get(int(self.parameters["COM_OBL_RC_ACT"]), "land"), now)
        silence = None if self.ground_station is None else now - self.ground_station
        on_loss = ON_LINK_LOSS.get(int(self.parameters["NAV_DLL_ACT"]))
        if silence is not None and on_loss and silence > self.parameters["COM_DL_LOSS_T"] and self.mode != "land":
            self.set_mode(on_loss, now)
        if self.mode == "land" and on_ground:
            self._landed_at = now if self._landed_at is None else self._landed_at
            if now - self._landed_at >= self.parameters["COM_DISARM_LAND"]:
                self.disarm(on_ground)
