"""The Markov decision process: many episodes of one task at once.

    environment = build(config, split="train")               # robo_ppo.env.build
    observation = environment.reset()
    transition = environment.step(action)                     # action (num_envs, action_size) in [-1, 1]

One step is always, in this order: action → delay → physics → signals → terminations → reward → metrics → final
observation of all → reset of what ended (unless told otherwise) → what the task advances → observation. A world whose
state is no longer finite is put back into the default state at once, counted and kept for replay
(`take_broken_world`); its transition is marked invalid.

A step asks the device nothing: what ended is selected by `Rows`, everything that changes is a tensor, and `carried`
names all that one step hands to the next. `robo_ppo.run.stepper` makes one CUDA graph of it.

An episode's start, scene, parameters, biases and delays depend on its id alone (`robo_ppo.env.scenes`); the noise of
single samples comes from one generator for all. Ids are handed out in the order in which episodes begin.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from robo_ppo.env.broken import REPLAYED, BrokenWorlds, is_broken
from robo_ppo.env.checks import SignalChecks
from robo_ppo.env.constants import constant
from robo_ppo.env.measurements import DelayLine, Sensors
from robo_ppo.env.observations import Onboard, concatenate
from robo_ppo.env.randomization import Randomization
from robo_ppo.env.rewards import Reward
from robo_ppo.env.scenes import SceneBank, seed_of
from robo_ppo.env.signals import PREVIOUS, Graph, SignalTable, State
from robo_ppo.env.task import SUCCESS, TIMEOUT, Metric, Rewrite, Task
from robo_ppo.env.vector import BrokenWorld, Interface, Observation, Totals, Transition, VectorEnvironment
from robo_ppo.sim.rows import Rows
from robo_ppo.sim.simulation import Simulation


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
    next_id: Tensor


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
        self.outcome_names = (SUCCESS, "broken", *task.failures, TIMEOUT)
        robot = task.robot
        self.interface = Interface(
            robot.name,
            options.control_period,
            onboard,
            sensors.layout,
            robot.action,
            options.action_delay,
            {**robot.limits, **task.limits()},
            robot.fallback,
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
        self.generator = torch.Generator(self.device)
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
            next_id=torch.zeros((), dtype=torch.int64, device=device),
        )
        longest = self.options.action_delay[1] / self.options.control_period
        self._action_line = DelayLine(n, self.action_size, longest, device) if longest > 0 else None
        self._broken = BrokenWorlds(device)
        # What a broken world shows until its next episode begins.
        self.sim.reset()
        self.sim.forward()
        self._default_fields = {name: values[:1].clone() for name, values in self._fields.items()}
        self.totals = Totals.none(self.outcome_names, len(self.term_names), device)

    @property
    @override
    def resting(self) -> Tensor:
        return self.episode.over

    @property
    def computed_signals(self) -> set[str]:
        """Names of all signals that every step computes."""
        return {*self.states, *self._graph.leaves, *(step.name for step in self._graph.steps)}

    @override
    def reset(self, first_id: int = 0) -> Observation:
        self.generator.manual_seed(seed_of("sensors", *self.options.stream, first_id, self.options.rank))
        self.episode.next_id = torch.tensor(first_id, device=self.device)
        everyone = self.sim.rows(torch.ones(self.num_envs, dtype=torch.bool, device=self.device))
        observation = {
            name: torch.zeros(self.num_envs, size, device=self.device) for name, size in self.observation_sizes.items()
        }
        self._begin(everyone, observation)
        if self.options.random_first_ages:
            self.episode.age = torch.randint(
                self.options.max_episode_steps, (self.num_envs,), generator=self.generator, device=self.device
            )
        self.take_totals()
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
        # Copies of the fields: the simulation's own tensors change with its next step or reset.
        fields = {name: values.clone() for name, values in self._fields.items()}
        broken = self._contain_broken_worlds(action, started, fields)
        self.episode.age += 1

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
        self.measured = self.sensors.read(values, self.generator)
        final = self._observe(values, fields)
        self.episode.over |= ended

        rows = self.sim.rows(ended)
        observation = final
        if restart and not rows.is_empty:
            self._account(values, ended, ended_well, broken)
            observation = {name: group.clone() for name, group in final.items()}
            self._begin(rows, observation)
        for rewrite in (self.task.advance(values), by_hand):
            if rewrite is not None:
                observation = self._rewrite(rewrite, ended, before, memory, observation)
        return Transition(observation, final, reward, terminated, truncated, ~broken, values)

    @override
    def take_totals(self) -> Totals:
        self.check()
        taken = copy.deepcopy(self.totals)
        for total in self.totals.tensors():
            total.zero_()
        return taken

    @override
    def check(self) -> None:
        self.sim.check()

    @override
    def take_broken_world(self) -> BrokenWorld | None:
        return self._broken.take()

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

    def _check(self, graph: Graph, values: Mapping[str, Tensor], rows: Rows | None = None) -> None:
        """With `debug`, look at a graph's values in some environments, or in all of them."""
        if self._checks is not None:
            episode = self.episode
            ages, ids, over = (t if rows is None else rows.take(t) for t in (episode.age, episode.id, episode.over))
            self._checks.check(graph, values, ages, ids, over)

    def _begin(self, rows: Rows, observation: Observation) -> None:
        """Begin the next episodes in the given environments and write their first observation."""
        ids = (self.episode.next_id + rows.order()) * self.options.ranks + self.options.rank
        self.episode.next_id = self.episode.next_id + rows.mask.sum()
        columns = self.task.curriculum(self.bank.episodes(ids), self.level)
        rows.write(self.episode.id, ids)
        rows.write(self.episode.age, 0)
        rows.write(self.episode.returns, 0.0)
        rows.write(self.episode.terms, 0.0, dim=1)
        rows.write(self.episode.over, False)

        self.sim.reset(rows)
        for name, initial in self.task.robot.initial().items():
            self.sim.write(name, constant(initial, self.sim.bind(name)).expand(len(rows), -1), rows)
        for name in ("qpos", "qvel"):
            self.sim.write(name, columns[name], rows)
        self.randomization.apply(self.sim, rows, columns)
        self.sim.forward(rows)
        for name, state in self._declared.items():
            if name in columns:
                self.states[name] = rows.put(self.states[name], columns[name])
            else:
                self.states[name] = self.states[name].clone()
                rows.write(self.states[name], state.initial)
        if self._action_line is not None:
            low, high = (limit / self.options.control_period for limit in self.options.action_delay)
            self._action_line.begin(
                rows, rows.take(self.states["last_action"]), low + (high - low) * columns["action_delay"]
            )
        self._refresh(rows, columns, observation)

    def _refresh(self, rows: Rows, columns: Mapping[str, Tensor], observation: Observation) -> None:
        """Signals and first observation of some environments whose episode begins."""
        needed = (*self._graph_to_begin.leaves, *self.onboard.states)
        leaves = {name: rows.take(values) for name, values in (self._fields | self.states).items() if name in needed}
        values = self._graph_to_begin(leaves)
        self._check(self._graph_to_begin, values, rows)
        self._keep(rows, values, self._previous_names)
        rows.put_all(self.measured, self.sensors.begin(rows, values, columns, self.generator))
        known = rows.take_all(self.measured) | leaves
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
        rows = self.sim.rows(rewrite.rows & ~ended)
        if rows.is_empty:
            return observation
        rows.put_all(self.states, rows.take_all(rewrite.values))

        def rewritten(name: str) -> bool:
            leaves = self.table.graph_with_previous([name]).leaves
            return any(leaf.removeprefix(PREVIOUS) in rewrite.values for leaf in leaves)

        leaves = rows.take_all(self._fields | self.states | before)
        without_past = [name for name in self._previous_names if rewritten(name)]
        graph = self._graph_without_past(without_past)
        fresh_values = graph(leaves)
        self._check(graph, fresh_values, rows)
        self._keep(rows, fresh_values, without_past)
        # What the vehicle is told changes at once; what it senses keeps the sample that it has.
        told = {name: fresh_values[name] for name in self.measured if rewritten(name)}
        self.sensors.tell(rows, told)
        rows.put_all(self.measured, told)
        # The controller knows nothing of a rewrite: it goes on from the memory that it had.
        observed = self.onboard.observe(leaves | rows.take_all(self.measured) | rows.take_all(memory))
        observation = {name: group.clone() for name, group in observation.items()}
        self._write_observation(rows, *observed, fresh_values, observation)
        return observation

    def _graph_without_past(self, names: Sequence[str]) -> Graph:
        """Everything that is observed, where the previous value of the named signals is their present one."""
        key = tuple(names)
        if key not in self._graphs_without_past:
            self._graphs_without_past[key] = self.table.graph([*self._refreshed, *names], beginning=names)
        return self._graphs_without_past[key]

    def _keep(self, rows: Rows, values: Mapping[str, Tensor], names: Sequence[str]) -> None:
        """Remember, for the next step of some environments, the forces on them and the named signals."""
        rows.put_all(self._driven, {target: values[name] for target, name in self._drives.items()})
        rows.put_all(self._previous, {PREVIOUS + name: values[name] for name in names})

    def _write_observation(
        self,
        rows: Rows,
        policy: Tensor,
        memory: Mapping[str, Tensor],
        values: Mapping[str, Tensor],
        observation: Observation,
    ) -> None:
        """Write what some environments observe, and what their controllers remember of it."""
        rows.put_all(self._memory, memory)
        for name, group in self._groups(policy, values).items():
            rows.write(observation[name], group)

    def _groups(self, policy: Tensor, values: Mapping[str, Tensor]) -> Observation:
        """Both groups: the critic sees what the policy sees now, and true signals besides."""
        present = self.onboard.present(policy)
        critic = torch.cat((present, concatenate(values, self.critic)), 1) if self.critic else present
        return {"policy": policy, "critic": critic}

    def _contain_broken_worlds(
        self, action: Tensor, started: Mapping[str, Tensor], fields: dict[str, Tensor]
    ) -> Tensor:
        """Mask of worlds with a state or an action that is not finite; they are put back into the default state."""
        broken = self.sim.rows(is_broken(self.sim.bind("qpos"), self.sim.bind("qvel"), action))
        if not broken.is_empty:
            now = {name: self.sim.bind(name) for name in ("ctrl", "qvel", "qpos")}
            which = {"episode": self.episode.id, "step": self.episode.age, "level": self.level}
            self._broken.note(broken, {**started, **self._driven, "ctrl": now["ctrl"], **which}, now)
            self.totals.broken += broken.mask.sum()
            self.sim.reset(broken)
            for name, values in fields.items():
                default = self._default_fields[name]
                broken.write(values, default.expand(len(broken), *default.shape[1:]))
        return broken.mask

    def _account(self, values: Mapping[str, Tensor], ended: Tensor, well: Tensor, broken: Tensor) -> None:
        totals, weight = self.totals, ended.float()
        totals.episodes += weight.sum()
        totals.returns += self.episode.returns @ weight
        totals.steps += self.episode.age.float() @ weight
        totals.terms += self.episode.terms @ weight
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
        masks[TIMEOUT] = rest
        return masks

    def _carried(self) -> dict[str, dict[str, Tensor]]:
        parts = {
            "sensors": self.sensors.carried(),
            "state": self.states,
            "previous": self._previous,
            "memory": self._memory,
            "driven": self._driven,
            "measured": self.measured,
            "episode": vars(self.episode),
        }
        return parts if self._action_line is None else parts | {"action_line": self._action_line.carried()}

    @property
    def carried(self) -> dict[str, Tensor]:
        """All that one step hands to the next besides the simulation and the generator: the tensors themselves."""
        return {f"{part}:{name}": value for part, values in self._carried().items() for name, value in values.items()}

    def carry(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from these tensors, themselves; names as in `carried`."""

        def part(name: str) -> dict[str, Tensor]:
            return {k.removeprefix(name + ":"): v for k, v in tensors.items() if k.startswith(name + ":")}

        self.sensors.carry(part("sensors"))
        self.states, self._previous, self._memory = part("state"), part("previous"), part("memory")
        self._driven, self.measured = part("driven"), part("measured")
        self.episode = _Episode(**part("episode"))
        if self._action_line is not None:
            self._action_line.carry(part("action_line"))

    @override
    def snapshot(self) -> dict[str, Tensor]:
        saved = {f"sim:{name}": value for name, value in self.sim.snapshot().items()}
        saved |= {"other:generator": self.generator.get_state(), "other:level": self.level, **self.carried}
        return {name: value.clone() for name, value in saved.items()}

    @override
    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Continue bit for bit on a CPU."""
        self.sim.restore({k.removeprefix("sim:"): v for k, v in snapshot.items() if k.startswith("sim:")})
        self.carry({name: snapshot[name].to(value.device).clone() for name, value in self.carried.items()})
        self.generator.set_state(snapshot["other:generator"].cpu())
        self.level.copy_(snapshot["other:level"])
