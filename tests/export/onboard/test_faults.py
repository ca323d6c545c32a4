"""Faults in the closed loop, on the physics of the tasks: the fallback takes over in time and brings them down."""

import random
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
import torch

from robo_ppo.env.build import build
from robo_ppo.run.compose import compose
from robo_ppo.run.folder import find_bundle
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.clock import Clock
from robo_ppo_onboard.controller import Controller, Tick
from robo_ppo_onboard.links.simulated import SimulatedLink
from robo_ppo_onboard.operator import Plan
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.safety.table import State
from robo_ppo_onboard.vehicle import Order, Sample, Setpoint, Status

PERIOD = 0.02
FAULT_AT = 0.5  # s after the beginning
TASKS = {"uav_hover": 3, "uav_nav": 5}  # and an episode of each


class Flown(SimulatedLink, Clock):
    """An episode of a task as a vehicle in lockstep: it moves on when it is told what to do."""

    waits_for_the_policy = True

    def __init__(self, task: str, spoil: Callable[[float, list[Sample]], Iterable[Sample]]) -> None:
        super().__init__()
        self.environment = build(compose(f"task={task}"), "test", 1, episodes=8)
        self.environment.reset(TASKS[task])
        self._spoil = spoil
        self.time = 0.0
        self.told: list[Setpoint] = []

    def now(self) -> float:
        return self.time

    def sleep_until(self, moment: float) -> None:
        self.time = max(self.time, moment)

    def poll(self) -> list[Sample]:
        # A state estimate comes more often than the policy is asked: four times a control period.
        seen = {name: values[0].flatten().tolist() for name, values in self.environment.measured.items()}
        times = [self.time - part * PERIOD / 4 for part in (3, 2, 1, 0)]
        fresh = [Sample(name, tuple(values), stamp) for stamp in times for name, values in seen.items()]
        return list(self._spoil(self.time, fresh))

    def status(self, now: float) -> Status:
        return Status(heard=now, armed=Order.STOP not in {told.order for told in self.told[-1:]})

    def send(self, setpoint: Setpoint, now: float) -> None:
        self.told.append(setpoint)
        action = self.environment.interface.action
        commands = torch.tensor([[setpoint.commands[name] for name in action.names]])
        if setpoint.order is Order.STOP:
            commands = torch.tensor([action.lower])
        self.environment.step(action.action(commands), restart=False)

    def height(self) -> float:
        return float(self.environment.signals_now(("height",))["height"][0])

    def upright(self) -> float:
        return float(self.environment.signals_now(("upright",))["upright"][0])


def untouched(now: float, samples: list[Sample]) -> list[Sample]:
    return samples


def fly(task: str, spoil: Any = untouched, spoil_policy: Any = None, seconds: float = 13.0) -> tuple[Flown, list[Tick]]:
    """Fly until the vehicle has landed; height, tilt and what it was told are in the vehicle and the ticks."""
    policy = Policy(read_bundle(find_bundle(task)))
    vehicle = Flown(task, spoil)
    vehicle.open(policy.contract)
    ticks: list[Tick] = []
    infer = None if spoil_policy is None else spoil_policy(policy, vehicle)
    controller = Controller(
        policy,
        vehicle,
        [vehicle],
        operator=Plan(launch=False),
        clock=vehicle,
        watchers=[ticks.append],
        start=State.POLICY,
        infer=infer,
    )
    controller.run(lambda tick: tick.state is State.LANDED or tick.time > seconds)
    return vehicle, ticks


def nan_in(name: str) -> Callable[[float, list[Sample]], list[Sample]]:
    def spoil(now: float, samples: list[Sample]) -> list[Sample]:
        if now < FAULT_AT:
            return samples
        return [s._replace(values=(float("nan"), *s.values[1:])) if s.name == name else s for s in samples]

    return spoil


def silence(*names: str, seconds: float = 99.0) -> Callable[[float, list[Sample]], list[Sample]]:
    def spoil(now: float, samples: list[Sample]) -> list[Sample]:
        if not FAULT_AT <= now < FAULT_AT + seconds:
            return samples
        return [s for s in samples if names and s.name not in names]

    return spoil


def policy_says(value: float) -> Callable[[Policy, Flown], Any]:
    def make(policy: Policy, vehicle: Flown) -> Any:
        def infer(measured: Any, state: Any) -> Any:
            commands, following = policy(measured, state)
            if vehicle.time >= FAULT_AT:
                highest = {port.name: (port.upper or (0.0,))[0] for port in policy.contract.outputs}
                commands = {n: np.full((1,), highest[n] if value > 1 else value, np.float32) for n in commands}
            return commands, following

        return infer

    return make


FAULTS: dict[str, dict[str, Any]] = {
    "NaN in the gyro": {"spoil": nan_in("gyro")},
    "NaN in the attitude": {"spoil": nan_in("attitude")},
    "NaN in the position": {"spoil": nan_in("position")},
    "everything stalls for 200 ms": {"spoil": silence(seconds=0.2)},
    "the goal is lost": {"spoil": silence("goal")},
    "the position is lost": {"spoil": silence("position", "velocity")},
    "the policy says NaN": {"spoil_policy": policy_says(float("nan"))},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("task", [pytest.param("uav_hover", marks=pytest.mark.slow), "uav_nav"])
def test_the_fallback_takes_over_within_two_control_periods_and_lands(task: str, fault: str) -> None:
    vehicle, ticks = fly(task, **FAULTS[fault])
    taken = next(tick for tick in ticks if tick.state is not State.POLICY)
    assert taken.state is State.HOVER
    assert FAULT_AT <= taken.time <= FAULT_AT + 2 * PERIOD + 1e-6, taken.fault
    assert ticks[-1].state is State.LANDED, ticks[-1]
    # On the ground (which the physics of these tasks does not have: who sinks blindly goes on), and on its feet.
    assert vehicle.upright() > 0.95
    assert vehicle.height() < 0.12


def test_a_policy_that_runs_away_is_caught_by_the_envelope() -> None:
    """Everything at its highest: no single answer is wrong, but the vehicle turns over and flies off."""
    vehicle, ticks = fly("uav_hover", spoil_policy=policy_says(2.0))
    taken = next(tick for tick in ticks if tick.state is not State.POLICY)
    assert taken.fault is not None and taken.fault.code in ("tilt", "rate", "geofence", "saturated")
    assert taken.time - FAULT_AT < 1.0
    # Turned over by the fastest rates that it has, half a second from the ground: level again, or down.
    assert vehicle.upright() > 0.95 or ticks[-1].state is State.LANDED


def test_a_fifth_of_all_messages_may_be_lost() -> None:
    rng = random.Random(3)
    _, ticks = fly("uav_nav", lambda now, samples: [s for s in samples if rng.random() > 0.2], seconds=4.0)
    assert {tick.state for tick in ticks} == {State.POLICY}


def test_half_of_them_and_more_not() -> None:
    rng = random.Random(3)
    vehicle, ticks = fly("uav_nav", lambda now, samples: [s for s in samples if rng.random() > 0.9])
    assert ticks[-1].state is State.LANDED
    assert vehicle.upright() > 0.95
