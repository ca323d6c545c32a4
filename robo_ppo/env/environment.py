"""The Markov decision process: many episodes of one task at once.

    environment = build(config, split="train")               # robo_ppo.env.build
    observation = environment.reset()
    transition = environment.step(action)                     # action (num_envs, action_size) in [-1, 1]

One step is always, in this order: action → delay → physics → signals → terminations → reward → metrics → final
observation of all → reset of what ended (unless told otherwise) → what the task advances → observation. A world whose
state is no longer finite is put back into the default state at once, counted and kept for replay (`broken_worlds`); its
transition is marked invalid.

An episode's start, scene, parameters, biases and delays depend on its id alone (`robo_ppo.env.scenes`); the noise of
single samples comes from one generator for all. Ids are handed out in the order in which episodes begin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from typing_extensions import override

from robo_ppo.env.checks import SignalChecks
from robo_ppo.env.measurements import DelayLine, Sensors
from robo_ppo.env.observations import Onboard, concatenate
from robo_ppo.env.randomization import Randomization
from robo_ppo.env.rewards import Reward
from robo_ppo.env.scenes import SceneBank, seed_of
from robo_ppo.env.signals import PREVIOUS, Graph, SignalTable, State
from robo_ppo.env.task import SUCCESS, Metric, Rewrite, Task
from robo_ppo.env.vector import BrokenWorld, Interface, Observation, Totals, Transition, VectorEnvironment
from robo_ppo.sim.simulation import Simulation

REPLAYED = ("qpos", "qvel", "act")  # fields that, with the command and the forces, determine the next step
LARGEST = 1e10  # a state beyond it is as good as infinite, as in MuJoCo (mjMAXVAL)


@dataclass(frozen=True)
class EnvironmentOptions:
    """Numbers that are not the task's own."""

    num_envs: int
    control_period: float  # s
    decimation: int
    max_episode_steps: int
    stream: tuple[int, int]  # of the sensors' noise: `robo_ppo.env.scenes.stream_of`
    random_first_ages: bool
    action_delay: tuple[float, float] = (0.0, 0.0)  # s
    debug: bool = False  # check every signal of every step
    rank: int = 0  # of `ranks` processes that share the episodes: this one runs rank, rank + ranks, rank + 2·ranks, …
    ranks: int = 1


@dataclass
class _Episode:
    """Bookkeeping of the episode that every environment is in."""

    id: Tensor
    age: Tensor  # control steps
    returns: Tensor
    terms: Tensor
    over: Tensor  # bool: it ended, and no other began
    next_id: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))


class Environment(VectorEnvironment):
    """Environments of one task on our own physics; all arguments are made by `robo_ppo.env.build`."""

    def __init__(
        self,
        sim: Simulation,
        task: Task,
        table: SignalTable,
        states: Mapping[str, State],
        onboard: Onboard,
        critic: tuple[str, ...],
        sensors: Sensors,
        reward: Reward,
        randomization: Randomization,
        bank: SceneBank,
        options: EnvironmentOptions,
        extra_signals: tuple[str, ...] = (),
    ) -> None:
        self.sim, self.task, self.table, self.onboard, self.reward = sim, task, table, onboard, reward
        self.sensors, self.randomization, self.bank, self.options = sensors, randomization, bank, options
        self.num_envs, self.device = options.num_envs, sim.device
        self.max_episode_steps = options.max_episode_steps
        self.term_names = reward.names
        self.outcome_names = (SUCCESS, "broken", *task.failures, "timeout")
        robot = task.robot
        self.interface = Interface(
            robot.name,
            options.control_period,
            onboard,
            sensors.layout,
            robot.action,
            options.action_delay,
            robot.limits,
        )
        self.critic = critic
        self._declared = dict(states)
        self._drives = task.robot.drives()
        self._fields = {name: sim.bind(name) for name, leaf in table.leaves.items() if leaf.kind == "field"}

        refreshed = [*onboard.measurements, *critic, *self._drives.values()]
        ends = [SUCCESS, *task.failures]
        followed = [s.follows for s in states.values() if s.follows is not None]
        everything = [*refreshed, *ends, *reward.outputs, *followed, *task.advance_signals(), *extra_signals]
        self._graph = table.graph_with_previous(everything)
        self._checks = SignalChecks(table) if options.debug else None
        self._previous_names = self._graph.previous
        self._refreshed = tuple(refreshed)
        self._graphs_without_past: dict[tuple[str, ...], Graph] = {}
        shapes = onboard.sizes | table.shapes(table.graph(critic))
        self.observed = tuple(n for n in (*onboard.signals, *critic) for _ in range(torch.Size(shapes[n]).numel()))
        self.observation_sizes = {"policy": onboard.size, "critic": len(self.observed)}
        randomization.prepare(sim)
        self._generator = torch.Generator(self.device)
        self._allocate()

    def _allocate(self) -> None:
        n, device = self.num_envs, self.device
        shapes = self.table.shapes(self._graph)
        self._graph_to_begin = self._graph_without_past(self._previous_names)
        self.level = torch.ones((), device=device)
        self.states = {
            name: torch.full((n, *s.shape), s.initial, dtype=s.dtype, device=device)
            for name, s in self._declared.items()
        }
        self._previous = {
            PREVIOUS + name: torch.zeros(n, *shapes[name], device=device) for name in self._previous_names
        }
        self._memory = {name: torch.zeros(n, *shape, device=device) for name, shape in self.onboard.remembered.items()}
        self._driven = {target: torch.zeros(n, *shapes[name], device=device) for target, name in self._drives.items()}
        self.measured = {name: torch.zeros(n, *shapes[name], device=device) for name in self.onboard.measurements}
        zeros = torch.zeros(n, device=device)
        count = torch.zeros(n, dtype=torch.int64, device=device)
        self.episode = _Episode(
            id=count.clone(),
            age=count.clone(),
            returns=zeros.clone(),
            terms=torch.zeros(len(self.reward.names), n, device=device),
            over=torch.zeros(n, dtype=torch.bool, device=device),
        )
        longest = self.options.action_delay[1] / self.options.control_period
        self._action_line = DelayLine(n, self.action_size, longest, device) if longest > 0 else None
        self.broken_worlds: list[BrokenWorld] = []
        self.totals = self._no_totals()

    @property
    def computed_signals(self) -> set[str]:
        """Names of all signals that every step computes."""
        return {*self.states, *self._graph.leaves, *(step.name for step in self._graph.steps)}

    @override
    def reset(self, first_id: int = 0) -> Observation:
        self._generator.manual_seed(seed_of("sensors", *self.options.stream, first_id, self.options.rank))
        self.episode.next_id = torch.tensor(first_id, device=self.device)
        everyone = torch.arange(self.num_envs, device=self.device)
        observation = {
            name: torch.zeros(self.num_envs, size, device=self.device) for name, size in self.observation_sizes.items()
        }
        self._begin(everyone, observation)
        if self.options.random_first_ages:
            self.episode.age = torch.randint(
                self.options.max_episode_steps, (self.num_envs,), generator=self._generator, device=self.device
            )
        self.totals = self._no_totals()
        return observation

    @override
    def step(self, action: Tensor, *, restart: bool = True, by_hand: Rewrite | None = None) -> Transition:
        """As in every environment; `by_hand` are states that a person changes, after what the task advances."""
        action = action.clamp(-1.0, 1.0)
        # Where every world stood before, to replay one that breaks in this step.
        started = self.states | {name: self.sim.bind(name).clone() for name in REPLAYED}
        self.states["last_action"] = torch.where(torch.isfinite(action), action, 0.0)
        applied = action if self._action_line is None else self._action_line.push(action)
        self.sim.write("ctrl", self.task.robot.action.command(applied))
        for name, values in self._driven.items():
            self.sim.write(name, values)
        self.sim.step(self.options.decimation)
        broken = self._contain_broken_worlds(action, started)
        self.episode.age += 1

        # Copies of the fields: the simulation's own tensors change with its next step or reset.
        fields = {name: values.clone() for name, values in self._fields.items()}
        values = self.states | self._graph(fields | self.states | self._previous)
        self._check(self._graph, values)
        ended_well = values[SUCCESS] & ~broken
        failed = broken.clone()
        for name in self.task.failures:
            failed |= values[name]
        ended_well &= ~failed
        terminated = ended_well | failed
        truncated = (self.episode.age >= self.options.max_episode_steps) & ~terminated
        ended = terminated | truncated

        terms = self.reward.terms(values)
        terms = torch.where(broken, 0.0, terms)
        reward = terms.sum(0)
        self.episode.returns += reward
        self.episode.terms += terms

        for name, state in self._declared.items():
            if state.follows is not None:
                self.states[name] = values[state.follows].to(state.dtype)
        before, memory = self._previous, self._memory
        self._previous = {PREVIOUS + name: values[name] for name in self._previous_names}
        self._driven = {target: values[name] for target, name in self._drives.items()}
        self.measured = self.sensors.read(values, self._generator)
        final = self._observe(values, fields)
        self.episode.over |= ended

        rows = ended.nonzero().squeeze(1)
        observation = final
        if restart and len(rows):
            self._account(values, ended, ended_well, broken, rows)
            observation = {name: group.clone() for name, group in final.items()}
            self._begin(rows, observation)
        for rewrite in (self.task.advance(values), by_hand):
            if rewrite is not None:
                observation = self._rewrite(rewrite, ended, before, memory, observation)
        return Transition(observation, final, reward, terminated, truncated, ~broken, values)

    @override
    def take_totals(self) -> Totals:
        totals, self.totals = self.totals, self._no_totals()
        return totals

    @override
    def unfinished_terms(self) -> Tensor:
        return self.episode.terms.sum(1)

    @override
    def episode_ids(self) -> Tensor:
        return self.episode.id.clone()

    @override
    def metrics(self) -> dict[str, Metric]:
        return self.task.metrics()

    @override
    def scene_statistics(self) -> dict[str, float]:
        return self.task.scene_statistics(self.bank.columns)

    def signals_now(self, names: Sequence[str]) -> dict[str, Tensor]:
        """Signals of the present state, with the fields and states behind them, (num_envs, …) by name."""
        fields = {name: values.clone() for name, values in self._fields.items()}
        return fields | self.states | self.table.graph(names)(fields | self.states | self._previous)

    def _observe(self, values: dict[str, Tensor], fields: dict[str, Tensor]) -> Observation:
        """Observation of all, after `measured` was read; pushes the memory of the policy's own signals."""
        known = fields | self.measured | self.states | self._memory
        if self._checks is not None:
            self._check(self.onboard.graph, self.onboard.graph(known))
        policy, self._memory = self.onboard.observe(known)
        return self._groups(policy, values | self.states)

    def _check(self, graph: Graph, values: Mapping[str, Tensor], rows: Tensor | None = None) -> None:
        """With `debug`, look at a graph's values in some environments (k,), or in all of them."""
        if self._checks is not None:
            every = slice(None) if rows is None else rows
            ages, ids, over = self.episode.age[every], self.episode.id[every], self.episode.over[every]
            self._checks.check(graph, values, ages, ids, over)

    def _begin(self, rows: Tensor, observation: Observation) -> None:
        """Begin the next episodes in the given environments (k,) and write their first observation."""
        own = self.episode.next_id + torch.arange(len(rows), device=self.device)
        ids = own * self.options.ranks + self.options.rank
        self.episode.next_id = self.episode.next_id + len(rows)
        columns = self.task.curriculum(self.bank.episodes(ids), self.level)
        self.episode.id[rows] = ids
        self.episode.age[rows] = 0
        self.episode.returns[rows] = 0.0
        self.episode.terms[:, rows] = 0.0
        self.episode.over[rows] = False

        self.sim.reset(rows)
        for name, initial in self.task.robot.initial().items():
            self.sim.write(name, torch.tensor(initial, device=self.device).expand(len(rows), -1), rows)
        for name in ("qpos", "qvel"):
            self.sim.write(name, columns[name], rows)
        self.randomization.apply(self.sim, rows, columns)
        self.sim.forward(rows)
        for name, state in self._declared.items():
            if name in columns:
                _put(self.states, rows, {name: columns[name]})
            else:
                self.states[name] = self.states[name].index_fill(0, rows, state.initial)
        if self._action_line is not None:
            low, high = (limit / self.options.control_period for limit in self.options.action_delay)
            self._action_line.begin(
                rows, self.states["last_action"][rows], low + (high - low) * columns["action_delay"]
            )
        self._refresh(rows, columns, observation)

    def _refresh(self, rows: Tensor, columns: Mapping[str, Tensor], observation: Observation) -> None:
        """Signals and first observation of some environments (k,) whose episode begins."""
        needed = (*self._graph_to_begin.leaves, *self.onboard.states)
        leaves = {name: values[rows] for name, values in (self._fields | self.states).items() if name in needed}
        values = self._graph_to_begin(leaves)
        self._check(self._graph_to_begin, values, rows)
        self._keep(rows, values, self._previous_names)
        _put(self.measured, rows, self.sensors.begin(rows, values, columns, self._generator))
        known = {name: measured[rows] for name, measured in self.measured.items()} | leaves
        self._write_observation(rows, *self.onboard.begin(known), values, observation)

    def _rewrite(
        self,
        rewrite: Rewrite,
        ended: Tensor,
        before: dict[str, Tensor],
        memory: Mapping[str, Tensor],
        observation: Observation,
    ) -> Observation:
        """Change states; compute what depends on them again, with a past one step old."""
        rows = (rewrite.rows & ~ended).nonzero().squeeze(1)
        if not len(rows):
            return observation
        _put(self.states, rows, {name: fresh[rows] for name, fresh in rewrite.values.items()})

        def rewritten(name: str) -> bool:
            leaves = self.table.graph_with_previous([name]).leaves
            return any(leaf.removeprefix(PREVIOUS) in rewrite.values for leaf in leaves)

        leaves = {name: values[rows] for name, values in (self._fields | self.states | before).items()}
        without_past = [name for name in self._previous_names if rewritten(name)]
        graph = self._graph_without_past(without_past)
        fresh_values = graph(leaves)
        self._check(graph, fresh_values, rows)
        self._keep(rows, fresh_values, without_past)
        # What the vehicle is told changes at once; what it senses keeps the sample that it has.
        told = {name: fresh_values[name] for name in self.measured if rewritten(name)}
        self.sensors.tell(rows, told)
        _put(self.measured, rows, told)
        # The controller knows nothing of a rewrite: it goes on from the memory that it had.
        known = leaves | {name: measured[rows] for name, measured in self.measured.items()}
        observed = self.onboard.observe(known | {name: values[rows] for name, values in memory.items()})
        observation = {name: group.clone() for name, group in observation.items()}
        self._write_observation(rows, *observed, fresh_values, observation)
        return observation

    def _graph_without_past(self, names: Sequence[str]) -> Graph:
        """Everything that is observed, where the previous value of the named signals is their present one."""
        key = tuple(names)
        if key not in self._graphs_without_past:
            self._graphs_without_past[key] = self.table.graph([*self._refreshed, *names], beginning=names)
        return self._graphs_without_past[key]

    def _keep(self, rows: Tensor, values: Mapping[str, Tensor], names: Sequence[str]) -> None:
        """Remember, for the next step of some environments, the forces on them and the named signals."""
        _put(self._driven, rows, {target: values[name] for target, name in self._drives.items()})
        _put(self._previous, rows, {PREVIOUS + name: values[name] for name in names})

    def _write_observation(
        self,
        rows: Tensor,
        policy: Tensor,
        memory: Mapping[str, Tensor],
        values: Mapping[str, Tensor],
        observation: Observation,
    ) -> None:
        """Write what some environments observe, and what their controllers remember of it."""
        _put(self._memory, rows, memory)
        for name, group in self._groups(policy, values).items():
            observation[name][rows] = group

    def _groups(self, policy: Tensor, values: Mapping[str, Tensor]) -> Observation:
        """Both groups: the critic sees what the policy sees, and true signals besides."""
        critic = torch.cat((policy, concatenate(values, self.critic)), 1) if self.critic else policy
        return {"policy": policy, "critic": critic}

    def _contain_broken_worlds(self, action: Tensor, started: Mapping[str, Tensor]) -> Tensor:
        """Mask of worlds with a state or an action that is not finite; they are put back into the default state."""
        state = torch.cat((self.sim.bind("qpos"), self.sim.bind("qvel"), action), 1)
        broken = ~(state.abs().amax(1) < LARGEST)
        if bool(broken.any()):
            rows = broken.nonzero().squeeze(1)
            for row in rows.tolist()[: max(0, 8 - len(self.broken_worlds))]:
                self.broken_worlds.append(self._dump(row, started))
            self.totals.broken += len(rows)
            self.sim.reset(rows)
            self.sim.forward(rows)
        return broken

    def _dump(self, row: int, started: Mapping[str, Tensor]) -> BrokenWorld:
        # An action that is not finite breaks the world, not the other way round; and velocities move the positions.
        now = {name: self.sim.bind(name)[row] for name in ("ctrl", "qvel", "qpos")}
        first = next((name for name, value in now.items() if not bool((value.abs() < LARGEST).all())), "ctrl")
        applied = {"ctrl": now["ctrl"], **{name: values[row] for name, values in self._driven.items()}}
        state = {name: values[row] for name, values in started.items()} | applied | {"level": self.level}
        kept = {name: values.clone() for name, values in state.items()}
        return BrokenWorld(int(self.episode.id[row]), int(self.episode.age[row]), first, kept)

    def _account(self, values: Mapping[str, Tensor], ended: Tensor, well: Tensor, broken: Tensor, rows: Tensor) -> None:
        totals = self.totals
        totals.episodes += len(rows)
        totals.returns += self.episode.returns[rows].sum()
        totals.steps += self.episode.age[rows].sum()
        totals.terms += self.episode.terms[:, rows].sum(1)
        for name, mask in self._ended_how(values, ended, well, broken).items():
            totals.outcomes[name] += mask.sum()

    @override
    def outcomes(self, transition: Transition) -> dict[str, Tensor]:
        ended = transition.terminated | transition.truncated
        well = ended & transition.valid & transition.values[SUCCESS]
        for failure in self.task.failures:
            well &= ~transition.values[failure]
        return self._ended_how(transition.values, ended, well, ~transition.valid)

    def _ended_how(
        self, values: Mapping[str, Tensor], ended: Tensor, well: Tensor, broken: Tensor
    ) -> dict[str, Tensor]:
        masks = {SUCCESS: well}
        rest = ended & ~well
        masks["broken"] = rest & broken
        rest = rest & ~broken
        for name in self.task.failures:
            masks[name] = rest & values[name]
            rest = rest & ~values[name]
        masks["timeout"] = rest
        return masks

    def _no_totals(self) -> Totals:
        def zero() -> Tensor:
            return torch.zeros((), device=self.device)

        outcomes = {name: zero() for name in self.outcome_names}
        return Totals(zero(), zero(), zero(), outcomes, torch.zeros(len(self.term_names), device=self.device))

    @override
    def snapshot(self) -> dict[str, Tensor]:
        parts: dict[str, Mapping[str, Tensor]] = {
            "sim": self.sim.snapshot(),
            "sensors": self.sensors.snapshot(),
            "state": self.states,
            "previous": self._previous,
            "memory": self._memory,
            "driven": self._driven,
            "measured": self.measured,
            "episode": vars(self.episode),
            "other": {"generator": self._generator.get_state(), "level": self.level},
        }
        if self._action_line is not None:
            parts["action_line"] = {"samples": self._action_line.samples, "delay": self._action_line.delay}
        return {f"{part}:{name}": value.clone() for part, values in parts.items() for name, value in values.items()}

    @override
    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Continue bit for bit on a CPU."""

        def part(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(name + ":"): v.clone() for k, v in snapshot.items() if k.startswith(name + ":")}

        self.sim.restore(part("sim"))
        self.sensors.restore(part("sensors"))
        self.states, self._previous, self._memory = part("state"), part("previous"), part("memory")
        self._driven, self.measured = part("driven"), part("measured")
        self.episode = _Episode(**part("episode"))
        other = part("other")
        self._generator.set_state(other["generator"])
        self.level = other["level"]
        if self._action_line is not None:
            line = part("action_line")
            self._action_line.samples, self._action_line.delay = line["samples"], line["delay"]


def _put(tensors: dict[str, Tensor], rows: Tensor, values: Mapping[str, Tensor]) -> None:
    """Replace some rows; in new tensors, since the old ones may belong to a transition that was handed out."""
    for name, fresh in values.items():
        tensors[name] = tensors[name].index_copy(0, rows, fresh.to(tensors[name].dtype))
