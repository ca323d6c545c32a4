"""One flight of one multirotor in the physics of its task: what a simulated vehicle knows, and what moves it.

    flight = Flight(bundle, episodes=200)
    flight.begin(3, in_the_air=True)          # test episode 3: its start, its scene, its parameters
    flight.measured["position"]               # what the task's sensors give, by name, with their noise and delay
    flight.state                              # the truth: for the vehicle's own controller and its judge
    flight.step(thrust=0.43, rates=(0.0, 0.0, 0.1))

The physics has no floor: `Flight` lets the vehicle stand on the ground, to begin there and to end there. An episode is
judged as an evaluation judges it, once `judge` was called: `outcome` is None until it is decided.
"""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch

from robo_ppo.config import SimConfig, parse_config
from robo_ppo.env.build import build, make_task
from robo_ppo.env.environment import Environment
from robo_ppo.env.vector import Transition
from robo_ppo.errors import UserError
from robo_ppo_onboard.bundle import Bundle

COMMANDS = ("collective_thrust", "roll_rate", "pitch_rate", "yaw_rate")
STANDING = 0.02  # m: height of the centre of mass on the ground


@dataclass(frozen=True)
class RigidBody:
    """The truth about the vehicle: world frame, body frame for `rates`, quaternion wxyz."""

    position: np.ndarray
    attitude: np.ndarray
    velocity: np.ndarray
    rates: np.ndarray

    @property
    def yaw(self) -> float:
        """Heading (rad)."""
        w, x, y, z = self.attitude
        return math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))


class Flight:
    """One vehicle in test episodes of the task that a bundle was trained for."""

    def __init__(self, bundle: Bundle, *, episodes: int, period: float | None = None) -> None:
        """Build the task; `period` (s) is that of `step`, if it is not to be the task's own."""
        config = parse_config(bundle.contract.training.config, "the bundle")
        config = dataclasses.replace(config, sim=SimConfig(threads=1), device="cpu")
        if period is not None:
            config.task.decimation = round(period / config.task.timestep)
            if not math.isclose(config.task.decimation * config.task.timestep, period, rel_tol=1e-6):
                raise UserError(f"a step of {period:g} s is not a multiple of the physics' {config.task.timestep:g} s")
        extra = make_task(config).recorded()
        self.config, self._environment = config, build(config, "test", 1, episodes=episodes, extra_signals=extra)
        self._action = self._environment.interface.action
        if self._action.names != COMMANDS:
            raise UserError(
                f"a simulated autopilot turns {', '.join(COMMANDS)} into motion; {bundle.contract.robot} takes "
                f"{', '.join(self._action.names)}: choose robot.action=body_rates"
            )
        self.period = self._environment.interface.control_period
        self.thrust_limits = (self._action.lower[0], self._action.upper[0])
        self.rate_limits = self._action.upper[1:]
        self.mass = float(self._environment.sim.model.body_mass.sum())
        self.episodes = episodes
        self.episode, self.steps = 0, 0
        self._stance: torch.Tensor | None = None  # pose on the ground
        self._judged_from: int | None = None
        self.outcome: str | None = None
        self.transition: Transition | None = None

    @property
    def environment(self) -> Environment:
        """The task's environment, to record what happens in it."""
        return self._environment

    @property
    def measured(self) -> dict[str, np.ndarray]:
        """What the task's sensors give now, flattened, by name."""
        return {name: values[0].numpy().reshape(-1) for name, values in self._environment.measured.items()}

    @property
    def goal(self) -> np.ndarray | None:
        """Where the vehicle is told to go, in the world frame, if the task has such a place."""
        return self.measured.get("goal")

    @property
    def state(self) -> RigidBody:
        """The truth."""
        qpos, qvel = (self._environment.sim.bind(name)[0].numpy().astype(np.float64) for name in ("qpos", "qvel"))
        return RigidBody(qpos[:3], qpos[3:7], qvel[:3], qvel[3:6])

    def begin(self, episode: int, *, in_the_air: bool) -> None:
        """Begin an episode at its own start, or on the ground below it."""
        if not 0 <= episode < self.episodes:
            raise UserError(f"episode={episode} is not one of the {self.episodes} that were laid out (episodes=…)")
        self._environment.reset(episode)
        self.episode, self.steps, self.outcome, self.transition = episode, 0, None, None
        self._judged_from, self._stance = 0 if in_the_air else None, None
        if not in_the_air:
            self._environment.sim.write("act", torch.full((1, 1), self.thrust_limits[0]))  # motors at their lowest
            self._stand()

    @property
    def on_ground(self) -> bool:
        """Whether it stands."""
        return self._stance is not None

    @property
    def judged_steps(self) -> int:
        """Steps since the episode is judged."""
        return 0 if self._judged_from is None else self.steps - self._judged_from

    def judge(self) -> None:
        """From now on the vehicle is to do what the task is about, in the time that the task gives."""
        if self._judged_from is None:
            self._judged_from = self.steps

    def step(self, thrust: float, rates: tuple[float, float, float]) -> None:
        """Advance by one period with a collective thrust (N) and body rates (rad/s, forward-left-up)."""
        command = torch.tensor([[thrust, *rates]], dtype=torch.float32)
        with torch.no_grad():
            self.transition = self._environment.step(self._action.action(command), restart=False)
        self.steps += 1
        if float(self.state.position[2]) <= STANDING:
            self._stand()
        else:
            self._stance = None
        if self._judged_from is not None and self.outcome is None:
            self._judge(self.transition)

    def _stand(self) -> None:
        """Upright on the ground, at rest, where it touched down."""
        state, sim = self.state, self._environment.sim
        if self._stance is None:
            half = 0.5 * state.yaw
            pose = [*state.position[:2], STANDING, math.cos(half), 0.0, 0.0, math.sin(half)]
            self._stance = torch.tensor([pose], dtype=torch.float32)
        sim.write("qpos", self._stance)
        sim.write("qvel", torch.zeros(1, 6))
        sim.forward()

    def _judge(self, transition: Transition) -> None:
        if bool(transition.terminated):
            outcomes = self._environment.outcomes(transition)
            self.outcome = next(name for name, mask in outcomes.items() if bool(mask))
        elif self.judged_steps >= self._environment.max_episode_steps:
            self.outcome = "timeout"
