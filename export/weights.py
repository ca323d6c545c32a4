"""The way back from a bundle to a learner: the policy's weights, so that a training can start from a `policy.onnx`.

    start_from_bundle(model, "policy.onnx")      # actor, normaliser and exploration; the critic stays as it is

What the graph holds under its own name, as most weights, is read from there. The rest travels in the contract
(`Training.learner`): what a vehicle does not need, and what the exporter has folded into other numbers. All of it
comes back bit for bit; an export that would not is refused (`export_policy`).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from robo_ppo.errors import UserError
from robo_ppo.export.bundle import parse_model
from robo_ppo.learn.actor_critic import ActorCritic
from robo_ppo_onboard.bundle import Bundle, read_bundle

if TYPE_CHECKING:
    import onnx

# Where the exporter puts the parts of `OnboardPolicy`, and what an `ActorCritic` calls them.
_IN_GRAPH = {
    "policy.actor.": "actor.",
    "policy.memory.": "memory.",
    "policy.normalizer.": "normalizers.policy.",
}


def weights_of(bundle: Bundle) -> dict[str, Tensor]:
    """The policy's entries of the `state_dict` of the `ActorCritic` that was exported; nothing of the critic.

    What comes from the contract is flat, (size,).
    """
    beside = bundle.contract.training.learner
    return _in_graph(parse_model(bundle.model)) | {
        name: torch.tensor(values, dtype=torch.float64) for name, values in beside.items()
    }


def beside_the_graph(model: ActorCritic, graph: "onnx.ModelProto") -> dict[str, tuple[float, ...]]:
    """What `Training.learner` must hold of a model besides its graph: float32 and float64 survive JSON exactly."""
    there = _in_graph(graph)
    missing = {name: tensor for name, tensor in policy_state(model).items() if name not in there}
    return {name: tuple(tensor.double().flatten().tolist()) for name, tensor in missing.items()}


def start_from_bundle(model: ActorCritic, path: str | Path) -> None:
    """Put the policy of a bundle into a model, whose critic and its normaliser stay as they are.

    UserError where the file is no bundle, or where its networks are not of the sizes that the model has.
    """
    weights = weights_of(read_bundle(path))
    wanted = policy_state(model)
    reason = difference(weights, wanted)
    if reason is not None:
        raise UserError(
            f"the policy in {path} does not fit this training: {reason}; task.observation.policy and history, "
            "robot.action, policy.hidden and policy.recurrent must be those it was trained with"
        )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(weights[name].reshape(tensor.shape))
        model.bound_std()


def same_policy(bundle: Bundle, model: ActorCritic) -> bool:
    """Whether exactly this model's policy comes back from a bundle."""
    weights, wanted = weights_of(bundle), policy_state(model)
    return difference(weights, wanted) is None and all(
        torch.equal(weights[name].reshape(tensor.shape), tensor.to(weights[name])) for name, tensor in wanted.items()
    )


def policy_state(model: ActorCritic) -> dict[str, Tensor]:
    """The model's own tensors, without those of the critic."""
    own = ("actor.", "memory.", "normalizers.policy.", "log_std")
    return {name: tensor for name, tensor in model.state_dict().items() if name.startswith(own)}


def difference(weights: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """Why weights do not fit a model, in words; None where they do."""
    if "log_std" not in weights:
        return "it was exported without what training needs"
    for name, tensor in wanted.items():
        if name not in weights:
            return f"it has no {name}"
        theirs = weights[name].shape
        if theirs.numel() != tensor.numel() or (len(theirs) > 1 and theirs != tensor.shape):
            return f"{name} has the shape {tuple(theirs)} there and {tuple(tensor.shape)} here"
    unknown = sorted(set(weights) - set(wanted))
    return f"it has {unknown[0]} besides" if unknown else None


def _in_graph(graph: "onnx.ModelProto") -> dict[str, Tensor]:
    from onnx import numpy_helper

    return {
        name + tensor.name.removeprefix(prefix): torch.tensor(numpy_helper.to_array(tensor))
        for tensor in graph.graph.initializer
        for prefix, name in _IN_GRAPH.items()
        if tensor.name.startswith(prefix)
    }
