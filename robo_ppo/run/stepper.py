"""One control step of every environment with a policy: on a GPU one graph from the observation to the next one.

    stepper = Stepper(environment, act, after=record)
    stepper.place(environment.reset())
    stepper.step()                           # as often as wanted
    stepper.observation, stepper.transition  # what the last step led to

A graph works on tensors in fixed places. What a step hands to the next (`Environment.carried`) is therefore copied back
at its end to where it was read from; `place` does the same after a reset. On a CPU nothing is copied.
"""

import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from robo_ppo.env.environment import Environment
from robo_ppo.env.vector import Observation, Transition, VectorEnvironment
from robo_ppo.learn.replay import Replayed


class Stepper:
    """Steps environments by a policy; `after` is told every transition, as a part of the step."""

    def __init__(
        self,
        environment: VectorEnvironment,
        act: Callable[[Observation], Tensor],
        after: Callable[[Transition], None] = lambda transition: None,
        *,
        restart: bool = True,
        capture: bool = True,
        generators: tuple[torch.Generator, ...] = (),
    ) -> None:
        self._environment, self._act, self._after, self._restart = environment, act, after, restart
        self._fixed: dict[str, Tensor] | None = None
        self.observation: Observation = {}
        self.transition: Transition | None = None
        if isinstance(environment, Environment) and capture and environment.device.type != "cpu":
            self._graph = Replayed(self._step_in_place, environment.device, (*generators, environment.generator))
        else:
            self._graph = None

    @property
    def refused(self) -> str | None:
        """Why the device could not record the step, if so."""
        return None if self._graph is None else self._graph.refused

    def place(self, observation: Observation) -> None:
        """Go on from where the environments are now, and what they observe."""
        if self._graph is None:
            self.observation = observation
            return
        environment = self._environment
        assert isinstance(environment, Environment)
        if self._fixed is None:
            self._fixed = {name: value.clone() for name, value in environment.carried.items()}
            self.observation = {name: value.clone() for name, value in observation.items()}
        settle(self._fixed, environment.carried)
        environment.carry(self._fixed)
        settle(self.observation, observation)

    @torch.no_grad()
    def step(self) -> Transition:
        """One step; on a GPU the tensors of the transition are overwritten by the next one."""
        if self._graph is not None:
            self._graph()
        else:
            self.transition = self._environment.step(self._act(self.observation), restart=self._restart)
            self._after(self.transition)
            self.observation = self.transition.observation
        assert self.transition is not None
        return self.transition

    def _step_in_place(self) -> None:
        environment, fixed = self._environment, self._fixed
        assert isinstance(environment, Environment) and fixed is not None
        environment.carry(fixed)
        transition = environment.step(self._act(self.observation), restart=self._restart)
        self._after(transition)
        # Of what happened in this step, not of what its places hold afterwards.
        self.transition = dataclasses.replace(transition, values=_apart(transition.values, fixed))
        settle(fixed, environment.carried)
        environment.carry(fixed)
        settle(self.observation, self.transition.observation)


def settle(fixed: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy values to their fixed places, also where a value is, or looks into, the fixed place of another."""
    moved = {name: value for name, value in values.items() if value is not fixed[name]}
    for name, value in _apart(moved, fixed).items():
        fixed[name].copy_(value)


def _apart(values: Mapping[str, Tensor], fixed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values, with a copy of each that is, or looks into, a fixed place."""

    def storage(tensor: Tensor) -> int:
        return tensor.untyped_storage().data_ptr()

    places = {storage(tensor) for tensor in fixed.values()}
    return {name: value.clone() if storage(value) in places else value for name, value in values.items()}
