"""From a trained model to a bundle: the module that is traced, and the contract that goes with it.

`OnboardPolicy` is everything between the sensors and the actuators: the observation (the very
`robo_ppo.env.observations.Onboard` that trained), the normaliser, the network's mean, and the scaling to commands. Its
inputs are measurements and the packed state; the state holds what the controller remembers from step to step.

    bundle = export_policy(path, "uav_nav", environment.interface, model, samples, versions, training)
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from robo_ppo.env.observations import Onboard
from robo_ppo.env.robot import ActionInterface
from robo_ppo.env.vector import Interface, VectorEnvironment
from robo_ppo.errors import UserError
from robo_ppo.export.bundle import write_bundle
from robo_ppo.export.onnx import to_onnx
from robo_ppo.export.verify import compare_with_torch, record_golden
from robo_ppo.export.weights import beside_the_graph, same_policy
from robo_ppo.learn.actor_critic import ActorCritic
from robo_ppo.learn.normalizer import limited
from robo_ppo_onboard.bundle import Bundle, read_bundle
from robo_ppo_onboard.contract import STATE_IN, STATE_OUT, Array, Contract, Fallback, Port, StateSlice, Training
from robo_ppo_onboard.runtime import Policy
from robo_ppo_onboard.safety.limits import WATCHES
from robo_ppo_onboard.verify import TOLERANCE, verify

GOLDEN_STEPS = 32
ERRORS = 8.0  # standard deviations that a measurement may be beyond what the true quantity can be
STARTED = "started"
"""Part of the state: 0 before the first step, whose `previous_` values are its own."""
HIDDEN = "hidden"
"""Part of the state: what a recurrent policy remembers."""


class OnboardPolicy(nn.Module):
    """Measurements and state in, commands and the next state out; one row for each vehicle."""

    def __init__(self, onboard: Onboard, model: ActorCritic, action: ActionInterface) -> None:
        super().__init__()
        onboard.refuse_to_export()
        self._onboard, self._action = onboard, action
        self.normalizer = model.normalizers["policy"]
        self.memory, self.actor = model.memory, model.actor
        remembered = {STARTED: (), **onboard.remembered} if onboard.remembered else {}
        hidden = {HIDDEN: (model.state_size,)} if model.memory is not None else {}
        self.state_shapes: dict[str, tuple[int, ...]] = {"last_action": (action.size,), **remembered, **hidden}
        self.input_names = (*onboard.measurements, STATE_IN)
        self.output_names = (*action.names, STATE_OUT)

    @property
    def state_sizes(self) -> list[int]:
        """Numbers in each part of the packed state, in order."""
        return [math.prod(shape) for shape in self.state_shapes.values()]

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        """Commands (n,) in the action interface's order, then the packed state (n, S)."""
        state = self._unpack(inputs[STATE_IN])
        known = state | {name: inputs[name] for name in self._onboard.measurements}
        # In the first step the present counts as the step before, as it does when an episode begins.
        if self._onboard.remembered:
            _, present = self._onboard.begin(known)
            started = state[STARTED] > 0.5
            known |= {name: torch.where(_like(started, now), state[name], now) for name, now in present.items()}
        observation, remember = self._onboard.observe(known)
        seen = limited(self.normalizer(observation))
        if self.memory is not None:
            remember[HIDDEN] = self.memory(seen, state[HIDDEN])
            seen = torch.cat((seen, remember[HIDDEN]), 1)
        action = self.actor(seen).clamp(-1.0, 1.0)
        commands = self._action.command(action)
        following = {"last_action": action, STARTED: torch.ones_like(action[:, 0]), **remember}
        pieces = [following[name].reshape(-1, math.prod(shape)) for name, shape in self.state_shapes.items()]
        return (*commands.unbind(1), torch.cat(pieces, 1))

    def _unpack(self, packed: Tensor) -> dict[str, Tensor]:
        pieces = zip(self.state_shapes.items(), packed.split(self.state_sizes, 1), strict=True)
        return {name: piece.reshape(-1, *shape) for (name, shape), piece in pieces}


def _like(mask: Tensor, values: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (values.ndim - 1))


def export_policy(
    path: Path,
    task: str,
    interface: Interface,
    model: ActorCritic,
    samples: Mapping[str, Array],
    versions: Mapping[str, str],
    training: Training,
) -> Bundle:
    """Write the bundle of a trained model and check it against torch.

    `task` is the task's name in the configuration; `samples` are measurements (K, *shape) by name, as the vehicle would
    have them one after another: the first become the golden sequence, all of them the comparison. A difference beyond
    `TOLERANCE`, or weights from which no training could go on, are an error, and no file; an earlier one stays.
    """
    module = OnboardPolicy(interface.onboard, model, interface.action).eval()
    state = torch.zeros(2, sum(module.state_sizes))
    inputs = {name: torch.as_tensor(samples[name][:2]) for name in interface.onboard.measurements} | {STATE_IN: state}
    first = {name: samples[name][:GOLDEN_STEPS] for name in interface.onboard.measurements}
    measured, commanded = ports(interface)
    graph = to_onnx(module, inputs, module.output_names)
    contract = Contract(
        task=task,
        robot=interface.robot,
        control_period=interface.control_period,
        inputs=measured,
        outputs=commanded,
        state=tuple(
            StateSlice(name=name, shape=shape, initial=(0.0,) * math.prod(shape))
            for name, shape in module.state_shapes.items()
        ),
        limits=known_limits(interface),
        fallback=fallback_of(interface),
        versions=versions,
        training=dataclasses.replace(training, learner=beside_the_graph(model, graph)),
        golden=record_golden(module, first, module.output_names[:-1], state[0].numpy()),
    )
    unchecked = path.with_suffix(".unchecked.onnx")
    try:
        write_bundle(unchecked, graph, contract)
        bundle = read_bundle(unchecked)
        error = max(compare_with_torch(Policy(bundle), module, samples), verify(unchecked).max_error)
        if not error <= TOLERANCE:
            raise UserError(
                f"the exported policy differs from the trained one by {error:.2e}, more than {TOLERANCE:.0e}"
            )
        if not same_policy(bundle, model):
            raise RuntimeError("the exported graph does not give the policy's weights back")
        unchecked.replace(path)
    finally:
        unchecked.unlink(missing_ok=True)
    return bundle


def ports(interface: Interface) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """What a policy takes from the vehicle, and what it commands."""
    action = interface.action
    measured = tuple(_input_port(interface, name) for name in interface.onboard.measurements)
    commanded = tuple(
        Port(
            name=name,
            shape=(),
            unit=unit,
            delay=interface.action_delay,
            lower=(low,),
            upper=(high,),
            throttle=action.throttle if unit == "N" else None,
            note=action.note or None,
        )
        for name, unit, low, high in zip(action.names, action.units, action.lower, action.upper, strict=True)
    )
    return measured, commanded


def known_limits(interface: Interface) -> dict[str, float]:
    """Limits that the vehicle can watch: those of what the policy measures anyway."""
    measured = interface.onboard.measurements
    return {n: value for n, value in (interface.limits or {}).items() if n not in WATCHES or WATCHES[n] in measured}


def fallback_of(interface: Interface) -> Fallback:
    """What flies when the policy may not: the robot's law, or commands of 0, or the nearest that is possible."""
    action = interface.action
    nothing = {
        n: min(max(0.0, low), high) for n, low, high in zip(action.names, action.lower, action.upper, strict=True)
    }
    return interface.fallback or Fallback("constant", nothing)


def measured_sequence(environment: VectorEnvironment, actions: Sequence[Tensor]) -> dict[str, Array]:
    """What every vehicle of an environment measures after a reset and along the given actions, flight by flight.

    Of n vehicles and k actions (n, action_size): (n · (k + 1), *shape) by name.
    """
    environment.reset()
    seen = [environment.measured]
    with torch.no_grad():
        for action in actions:
            environment.step(action)
            seen.append(environment.measured)
    # Environment by environment, so that neighbours are steps of one flight.
    return {
        name: torch.stack([step[name] for step in seen], 1).flatten(0, 1).numpy()
        for name in environment.interface.onboard.measurements
    }


def _input_port(interface: Interface, name: str) -> Port:
    measured = next(m for m in interface.sensors if m.name == name)
    errors, rotation = measured.errors, measured.is_rotation
    slack = ERRORS * (errors.noise + errors.bias)
    low, high = measured.quantity.range or (-math.inf, math.inf)
    size = math.prod(measured.shape)
    lower = (low - slack,) * size if math.isfinite(low) else None
    upper = (high + slack,) * size if math.isfinite(high) else None
    return Port(
        name=name,
        shape=measured.shape,
        unit="1" if rotation else measured.quantity.unit,
        frame=measured.quantity.frame or None,
        quaternion_order="wxyz" if rotation else None,
        noise=errors.noise,
        bias=errors.bias,
        dropout=errors.dropout,
        delay=(errors.delay[0], errors.delay[1]),
        lower=lower,
        upper=upper,
        note=(interface.notes or {}).get(name),
    )
