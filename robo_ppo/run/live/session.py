"""One vehicle that flies episode after episode and can be disturbed: the live view without its page.

    session = Session(config, "test", ZeroPilot)
    session.begin(7)
    while session.outcome is None:
        session.step()

Between two steps a person may push the vehicle, move what the task lets them move (`Task.handles`), and give commands
(`Task.commands`). Without any of that an episode goes as in an evaluation.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from robo_ppo.config import RunConfig
from robo_ppo.env.build import LAST_ACTION, build, make_reward, make_task, signal_table
from robo_ppo.env.environment import Environment
from robo_ppo.env.randomization import Randomization
from robo_ppo.env.scenes import Split
from robo_ppo.env.shapes import Shape
from robo_ppo.env.signals import SignalTable
from robo_ppo.env.task import SUCCESS, Rewrite
from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.run.live.history import History, components
from robo_ppo.run.live.pilots import Pilot
from robo_ppo.run.live.push import Direction, push
from robo_ppo.run.resolve import on_cpu

EPISODES = 1000  # as many as evaluate.py flies


class Session:
    """A flight: the environment, its pilot, and what a person does to it."""

    def __init__(self, config: RunConfig, split: Split, make_pilot: Callable[[Environment], Pilot]) -> None:
        """Prepare the task; nothing flies before `begin`."""
        config = dataclasses.replace(config, sim=dataclasses.replace(config.sim, threads=1))
        table = _table(config)
        self.signals = _computable(table)
        self.environment = build(on_cpu(config), split, 1, episodes=EPISODES, extra_signals=self.signals)
        self.task = self.environment.task
        self.split = split
        self._refuse_wrong_handles()
        self._pilot = make_pilot(self.environment)
        shapes = table.shapes(table.graph_with_previous(self.signals))
        self.shape_of = {name: shapes[name] for name in self.signals}
        self.period = self.environment.options.control_period
        sizes = {name: int(np.prod(shape)) for name, shape in self.shape_of.items()}
        self.history = History(sizes, self.environment.max_episode_steps + 1, self.period)
        self._weights = dict(zip(self.environment.reward.outputs, self.environment.reward.weights, strict=True))
        self.outcomes: list[str] = []  # of the episodes that were flown to their end
        self._wanted: dict[str, np.ndarray] = {}  # states that a person has changed since the last step
        self._commanded: dict[str, dict[int, float]] = {}  # what a person commands: state → index → value
        self.begin(0)

    def begin(self, episode: int) -> None:
        """Begin an episode of the split anew; the same number is the same start, scene, parameters and noise."""
        if not 0 <= episode < EPISODES:
            raise UserError(f"episode={episode}: the {self.split} split has the episodes 0 to {EPISODES - 1}")
        self.episode, self.steps, self.total_reward = episode, 0, 0.0
        self.outcome: str | None = None
        self._wanted.clear()
        self.history.clear()
        self._observation = self.environment.reset(episode)
        self._pilot.begin()
        self._take(self.environment.signals_now(self.signals), paid=False)

    @torch.no_grad()
    def step(self) -> None:
        """Fly one control step; nothing happens any more once the episode has ended."""
        if self.outcome is not None:
            return
        action = self._pilot.act(self._observation)
        transition = self.environment.step(action, restart=False, by_hand=self._by_hand())
        self._observation = transition.observation
        self.steps += 1
        self.total_reward += float(transition.reward[0])
        # What a broken world left is no flight: the last sound values stay.
        if bool(transition.valid[0]):
            self._take(transition.values, paid=True)
        if bool(transition.terminated[0] | transition.truncated[0]):
            masks = self.environment.outcomes(transition)
            self.outcome = next(name for name, mask in masks.items() if bool(mask[0]))
            self.outcomes.append(self.outcome)

    def numbers_of(self, signal: str) -> list[str]:
        """A name for each number of a signal."""
        action = self.environment.interface.action
        if signal == LAST_ACTION:
            return list(action.names)
        unit = self.environment.table.quantity(signal).unit
        return components(self.shape_of[signal], unit)

    @property
    def intervention(self) -> str:
        """Why the safety net flies instead of the policy; empty where it does not."""
        return self._pilot.intervention()

    @property
    def time(self) -> float:
        """Seconds since the episode began."""
        return self.steps * self.period

    @property
    def successes(self) -> int:
        """How many of the episodes that were flown to their end ended well."""
        return self.outcomes.count(SUCCESS)

    @property
    def states(self) -> dict[str, np.ndarray]:
        """What the task remembers, with what a person has changed since the last step."""
        states = {name: values[0].numpy() for name, values in self.environment.states.items()} | self._wanted
        for name, held in self._commanded.items():
            numbers = states[name].flatten()
            for index, value in held.items():
                numbers[index] = value
            states[name] = numbers.reshape(states[name].shape)
        return states

    @property
    def shapes(self) -> list[Shape]:
        """What the scene holds now."""
        return self.task.shapes(self.states)

    @property
    def path(self) -> np.ndarray:
        """Where the vehicle has been in this episode, (steps + 1, 3) in m in the world frame."""
        return self.history.of(self.task.position_signal())

    def push(self, direction: Direction, speed: float) -> None:
        """Push the vehicle so that its momentum grows as if all of it gained `speed` (m/s)."""
        push(self.environment.sim, direction, speed)

    def move(self, handle: str, position: np.ndarray) -> None:
        """Put what a handle holds to another place (3,) in m; the vehicle is told with its next step."""
        self._wanted[self.task.handles()[handle]] = np.asarray(position, np.float32)

    def command(self, label: str, value: float | None) -> None:
        """Hold one number of a command at a value from now on, whatever the task asks for; None lets go of it."""
        given = self.task.commands()[label]
        held = self._commanded.setdefault(given.state, {})
        if value is None:
            held.pop(given.index, None)
        else:
            held[given.index] = min(max(value, given.low), given.high)

    def commanded(self, label: str) -> float:
        """The present value of a command."""
        given = self.task.commands()[label]
        return float(self.states[given.state].flat[given.index])

    def _by_hand(self) -> Rewrite | None:
        """What a person wants of the task's states and does not have yet."""
        now, wanted = self.environment.states, self.states
        touched = (*self._wanted, *self._commanded)
        self._wanted.clear()
        fresh = {name: torch.from_numpy(wanted[name])[None].to(now[name].dtype) for name in touched}
        changed = {name: values for name, values in fresh.items() if not torch.equal(values, now[name])}
        return Rewrite(torch.ones(1, dtype=torch.bool), changed) if changed else None

    def _take(self, values: Mapping[str, Tensor], *, paid: bool) -> None:
        """Keep the present values; reward terms with their weights, as they are paid."""
        self.values = {name: values[name][0].numpy().copy() for name in self.signals}
        for name, weight in self._weights.items():
            self.values[name] = self.values[name] * float(weight) * paid
        self.qpos = self.environment.sim.bind("qpos")[0].numpy().copy()
        self.history.add(self.values)

    def _refuse_wrong_handles(self) -> None:
        states, shapes = self.environment.states, {n: s.shape[1:] for n, s in self.environment.states.items()}
        for what, name in (
            *(("handles", state) for state in self.task.handles().values()),
            *(("commands", given.state) for given in self.task.commands().values()),
        ):
            if name not in states:
                raise UserError(f"{what}() of the task names '{name}', which is no state; {did_you_mean(name, states)}")
        for state in self.task.handles().values():
            if shapes[state] != (3,):
                raise UserError(f"handles() of the task names '{state}', which is no position: it is {shapes[state]}")
        for given in self.task.commands().values():
            if not 0 <= given.index < shapes[given.state].numel():
                raise UserError(f"commands() of the task: '{given.state}' has no number {given.index}")


def _table(config: RunConfig) -> SignalTable:
    """All signals of the configured task, before an environment is built that computes them."""
    task = make_task(config)
    randomization = Randomization(config.randomization, task.robot.parameters())
    return signal_table(task, randomization, make_reward(config, task, torch.device("cpu")))[0]


def _computable(table: SignalTable) -> tuple[str, ...]:
    """Every signal that can be computed: one that is defined but fails is nobody's concern until it is used."""

    def works(*names: str) -> bool:
        try:
            table.shapes(table.graph_with_previous(names))
        except UserError:
            return False
        return True

    names = table.names()
    return tuple(names) if works(*names) else tuple(name for name in names if works(name))
