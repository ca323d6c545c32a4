"""Records a task's scripted flights: `python -m robo_ppo.shaping record task=uav_nav [bundle=policy.onnx]`.

All kinds are flown on the same training scenes, so that a flight of one kind can be compared with that of another.
Scenes in which some kind does not end as it should (a crash that happened to find a way) are left out of all. Training
scenes, because neither validation nor test may have a part in what is chosen.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from robo_ppo.config import RunConfig
from robo_ppo.env.build import build, make_task
from robo_ppo.env.environment import Environment
from robo_ppo.env.flights import Flights, Kind, Moment, Script
from robo_ppo.env.task import SUCCESS, Task
from robo_ppo.errors import UserError
from robo_ppo.run import folder as folders
from robo_ppo.run.evaluate import refuse_unless_it_fits
from robo_ppo.shaping.flights import trajectories as stored
from robo_ppo.shaping.flights.trajectories import Trajectories
from robo_ppo_onboard.bundle import Bundle, read_bundle
from robo_ppo_onboard.runtime import Policy

TRIED = 96  # scenes, of which those are kept in which every kind ends as it should


def main(arguments: Sequence[str]) -> int:
    """`record task=uav_nav [bundle=<policy.onnx>]`: whatever else is `key=value` composes the task."""
    from robo_ppo.run.compose import compose

    torch.set_num_threads(1)  # a hundred rows take longer to share among threads than to compute
    bundles = [a.removeprefix("bundle=") for a in arguments if a.startswith("bundle=")]
    path, found = record(compose(*[a for a in arguments if not a.startswith("bundle=")]), *bundles[-1:])
    for kind in found.kinds:
        flights = [flight for flight in found.flights if flight.kind == kind.name]
        seconds = sum(flight.steps for flight in flights) / len(flights) * found.control_period
        ends = ", ".join(sorted({flight.end for flight in flights}))
        print(f"{kind.name:10} {len(flights)} flights of {seconds:4.1f} s on average, {ends:16} {kind.title}")
    print(f"{path}: {len(found.flights)} flights, {path.stat().st_size / 1000:.0f} kB")
    return 0


def record(config: RunConfig, bundle: str = "") -> tuple[Path, Trajectories]:
    """Fly everything that the task describes, and write the file; the policy is the shipped one unless said."""
    path = stored.path_of(config)
    if path is None:
        raise UserError(f"{config.task.entry_point} has no folder for its trajectories")
    found = fly_all(config, read_bundle(folders.find_bundle(bundle or config.task.name)))
    stored.write(found, path)
    return path, found


def fly_all(config: RunConfig, bundle: Bundle, *, flights: Flights | None = None, tried: int = TRIED) -> Trajectories:
    """Flights of every kind that the task describes, in the first scenes in which all end as they should."""
    task = make_task(config)
    flights = flights or task.flights()
    if flights is None:
        raise UserError(f"{type(task).__name__} describes no flights (Task.flights), so there is nothing to record")
    if type(task).advance is not Task.advance:
        raise UserError(f"{type(task).__name__} changes states within an episode (Task.advance); that is not recorded")
    config = dataclasses.replace(config, device="cpu", debug=False)
    environment = build(config, "train", tried, extra_signals=task.robot.fields())
    refuse_unless_it_fits(bundle.contract, environment.interface)
    ended: dict[str, Tensor] = {}
    flown: list[_Flown] = []
    for kind in flights.kinds:
        flown.append(_Flown(environment, kind, flights.seconds, kind.script(ended), _Pilot(environment, bundle).act))
        ended[kind.name] = flown[-1].steps
    wanted = flights.scenes
    good = torch.stack([one.is_as_described() for one in flown]).all(0).nonzero().flatten().tolist()
    if len(good) < wanted:
        counts = ", ".join(f"{one.kind.name} {int(one.is_as_described().sum())}" for one in flown)
        raise UserError(
            f"every kind of flight ends as it should in {len(good)} of {tried} scenes only ({counts}), and {wanted} "
            "are wanted"
        )
    return _joined(config, flights.settle, flights.kinds, flown, good[:wanted], environment.interface.control_period)


def wander(config: RunConfig, *, scenes: int = 16, seconds: float = 1.0) -> Trajectories:
    """A few short flights with random actions, of any task: nothing to rank by, but something to compute on."""
    config = dataclasses.replace(config, device="cpu", debug=False)
    environment = build(config, "train", scenes, episodes=scenes, extra_signals=make_task(config).robot.fields())
    kind = Kind("random", "random actions", Script)
    generator = torch.Generator().manual_seed(0)

    def act(_script: Script, _step: int) -> Tensor:
        return 2.0 * torch.rand((scenes, environment.action_size), generator=generator) - 1.0

    flown = _Flown(environment, kind, seconds, Script({}), act)
    return _joined(config, 1.0, (kind,), [flown], list(range(scenes)), environment.interface.control_period)


class _Flown:
    """One kind in all scenes: leaves (steps + 1, scenes, …), and how each flight ended."""

    def __init__(
        self,
        environment: Environment,
        kind: Kind,
        seconds: float,
        script: Script,
        act: Callable[[Script, int], Tensor],
    ) -> None:
        self.kind, self._environment = kind, environment
        n, period = environment.num_envs, environment.interface.control_period
        steps = min(round(seconds / period), environment.max_episode_steps)
        environment.reset()
        environment.episode.age.zero_()
        self.ids = environment.episode_ids()
        self.rows = [self._leaves(environment.states | environment.signals_now(()))]
        self.steps = torch.full((n,), steps)
        self.success, self.over = torch.zeros(n, dtype=torch.bool), torch.zeros(n, dtype=torch.bool)
        self.cut = torch.zeros(n, dtype=torch.bool)
        for step in range(steps):
            transition = environment.step(act(script, step), restart=False)
            self.rows.append(self._leaves(transition.values))
            ends = (transition.terminated | transition.truncated) & ~self.over
            self.steps[ends] = step + 1
            self.cut |= ends & (transition.truncated | ~transition.valid)
            self.success |= ends & environment.outcomes(transition)[SUCCESS]
            self.over |= ends
            if self.over.all():
                break

    def is_as_described(self) -> Tensor:
        """Mask of scenes (n,)."""
        ends = self.kind.ends
        if ends is None:
            return ~self.success
        return {"success": self.success, "failure": self._failed, "timeout": ~self.over | self.cut}[ends]

    @property
    def _failed(self) -> Tensor:
        return self.over & ~self.success & ~self.cut

    def end(self, scene: int) -> "stored.End":
        """How the flight in a scene ended."""
        return "success" if self.success[scene] else "failure" if self._failed[scene] else "timeout"

    def leaf(self, name: str, scene: int) -> Tensor:
        """A leaf of one flight (steps + 1, …)."""
        return torch.stack([row[name][scene] for row in self.rows[: int(self.steps[scene]) + 1]])

    def _leaves(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: values[name].clone() for name in self._environment.table.leaves}


class _Pilot:
    """A policy that believes what a script tells it."""

    def __init__(self, environment: Environment, bundle: Bundle) -> None:
        self._environment, self._policy = environment, Policy(bundle)
        self._memory = self._policy.initial_state(environment.num_envs)

    def act(self, script: Script, step: int) -> Tensor:
        environment = self._environment
        fields = environment.signals_now(())
        period = environment.interface.control_period
        now = Moment(step, period, dict(environment.measured), dict(environment.states), fields)
        told = {name: values.float().numpy() for name, values in script.tell(now).items()}
        commands, self._memory = self._policy(told, self._memory)
        names = [port.name for port in self._policy.contract.outputs]
        columns = [torch.from_numpy(commands[name]).reshape(environment.num_envs) for name in names]
        return script.act(now, environment.interface.action.action(torch.stack(columns, 1)))


def _joined(
    config: RunConfig, settle: float, kinds: tuple[Kind, ...], flown: list[_Flown], scenes: list[int], period: float
) -> Trajectories:
    found: list[stored.Flight] = []
    first = 0
    for one in flown:
        for scene in scenes:
            rows = int(one.steps[scene]) + 1
            found.append(stored.Flight(one.kind.name, int(one.ids[scene]), one.end(scene), first, rows))
            first += rows
    leaves = {
        name: torch.cat([one.leaf(name, scene) for one in flown for scene in scenes]) for name in flown[0].rows[0]
    }
    described = tuple(stored.Kind(kind.name, kind.title, dict(kind.below)) for kind in kinds)
    return Trajectories(config.task.name, period, settle, described, tuple(found), leaves)
