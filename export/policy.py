"""From a trained model to a bundle: the module that is traced, and the contract that goes with it.

`OnboardPolicy` is everything between the sensors and the actuators: the observation (`robo_ppo.env.observations.Onboard`, the
very object that trained), the normaliser, the network's mean, and the scaling to commands. Its inputs are measurements and the
packed state; the state holds what the controller remembers from step to step.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from robo_ppo.env.environment import Environment
from robo_ppo.env.observations import Onboard
from robo_ppo.env.robot import ActionInterface
from robo_ppo.errors import UserError
from robo_ppo.export.bundle import Bundle, read_bundle, write_bundle
from robo_ppo.export.contract import STATE_IN, STATE_OUT, Array, Contract, Port, StateSlice, Training
from robo_ppo.export.onnx import to_onnx
from robo_ppo.export.runtime import Policy
from robo_ppo.export.verify import TOLERANCE, compare_with_torch, record_golden
from robo_ppo.learn.actor_critic import ActorCritic

STARTED = "started"
"""Part of the state: 0 before the first step, whose `previous_` values are its own."""


@dataclass(frozen=True)
class _Part:
    """A named piece of the packed state."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        return torch.Size(self.shape).numel()


class OnboardPolicy(nn.Module):
    """Measurements and state in, commands and the next state out; one row for each vehicle."""

    def __init__(self, onboard: Onboard, model: ActorCritic, action: ActionInterface) -> None:
        super().__init__()
        onboard.refuse_to_export()
        self._onboard, self._action = onboard, action
        self.normalizer = model.normalizers["policy"]
        self.actor = model.actor
        remembered = [_Part(name, shape) for name, shape in onboard.remembered.items()]
        self.parts = [_Part("last_action", (action.size,)), *([_Part(STARTED, ()), *remembered] if remembered else [])]
        self.input_names = (*onboard.measurements, STATE_IN)
        self.output_names = (*action.names, STATE_OUT)

    def forward(self, **inputs: Tensor) -> tuple[Tensor, ...]:
        """Commands (n,) in the action interface's order, then the packed state (n, S)."""
        state = self._unpack(inputs[STATE_IN])
        known = {name: inputs[name] for name in self._onboard.measurements} | state
        observation, remember = self._onboard.observe(known)
        if remember:
            # In the first step the present counts as the step before, as it does when an episode begins.
            started = state[STARTED] > 0.5
            earlier = {n: torch.where(_like(started, state[n]), state[n], v) for n, v in remember.items()}
            observation, remember = self._onboard.observe(known | earlier)
        action = self.actor(self.normalizer(observation)).clamp(-1.0, 1.0)
        commands = self._action.command(action)
        following = {"last_action": action, STARTED: torch.ones_like(action[:, 0]), **remember}
        packed = torch.cat([following[part.name].reshape(-1, part.size) for part in self.parts], 1)
        return (*commands.unbind(1), packed)

    def _unpack(self, packed: Tensor) -> dict[str, Tensor]:
        pieces = packed.split([part.size for part in self.parts], 1)
        return {part.name: piece.reshape(-1, *part.shape) for part, piece in zip(self.parts, pieces, strict=True)}


def _like(mask: Tensor, values: Tensor) -> Tensor:
    return mask.reshape(-1, *[1] * (values.ndim - 1))


def export_policy(
    path: Path,
    environment: Environment,
    model: ActorCritic,
    samples: Mapping[str, Array],
    versions: Mapping[str, str],
    training: Training,
) -> Bundle:
    """Write the bundle of a trained model and check it against torch.

    `samples` are measurements (K, *shape) by name, as the vehicle would have them one after another; the first of them
    become the golden sequence, all of them the comparison. A difference beyond `TOLERANCE` is an error, and no file.
    """
    module = OnboardPolicy(environment.onboard, model, environment.task.robot.action).eval()
    state = torch.zeros(2, sum(part.size for part in module.parts))
    inputs = {name: torch.as_tensor(samples[name][:2]) for name in environment.onboard.measurements} | {STATE_IN: state}
    golden = record_golden(
        module,
        {n: samples[n][:32] for n in environment.onboard.measurements},
        module.output_names[:-1],
        state[0].numpy(),
    )
    action = environment.task.robot.action
    contract = Contract(
        task=type(environment.task).__name__,
        robot=environment.task.robot.name,
        control_period=environment.options.control_period,
        inputs=tuple(_input_port(environment, name) for name in environment.onboard.measurements),
        outputs=tuple(
            Port(name=name, shape=(), unit=unit, lower=(low,), upper=(high,), note=action.note or None)
            for name, unit, low, high in zip(action.names, action.units, action.lower, action.upper, strict=True)
        ),
        state=tuple(StateSlice(name=p.name, shape=p.shape, initial=(0.0,) * p.size) for p in module.parts),
        limits=dict(environment.task.robot.limits),
        versions=versions,
        training=training,
        golden=golden,
    )
    unchecked = path.with_suffix(".unchecked.onnx")
    try:
        write_bundle(unchecked, to_onnx(module, inputs, module.output_names), contract)
        bundle = read_bundle(unchecked)
        difference = compare_with_torch(Policy(bundle), module, samples)
        if not difference <= TOLERANCE:
            raise UserError(
                f"the exported policy differs from the trained one by {difference:.2e}, more than {TOLERANCE:.0e}"
            )
        unchecked.replace(path)
    finally:
        unchecked.unlink(missing_ok=True)
    return bundle


def measured_sequence(environment: Environment, actions: Sequence[Tensor]) -> dict[str, Array]:
    """What every vehicle of an environment measures, after a reset and along the given actions: (steps · num_envs, *shape)."""
    environment.reset()
    seen = [environment.measured]
    with torch.no_grad():
        for action in actions:
            environment.step(action)
            seen.append(environment.measured)
    # Environment by environment, so that neighbours are steps of one flight.
    return {
        name: torch.stack([step[name] for step in seen], 1).flatten(0, 1).numpy()
        for name in environment.onboard.measurements
    }


def _input_port(environment: Environment, name: str) -> Port:
    measured = next(m for m in environment.sensors.layout if m.name == name)
    errors, rotation = measured.errors, measured.is_rotation
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
    )
