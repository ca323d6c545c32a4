"""How an update is computed changes it by rounding alone; where it cannot be computed so, a message says it."""

import dataclasses
from typing import Any

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from robo_ppo.errors import UserError
from robo_ppo.learn.ppo import PPO, Execution
from tests.learn.making import Experience, collect, experience, gradients_of_steps, learner


def computed(execution: Execution, seen: Experience, **settings: object) -> tuple[PPO, dict[str, torch.Tensor], float]:
    """A learner, its first gradients, and the first divergence, of a policy that has not changed yet."""
    given: dict[str, Any] = {"horizon": 8, "minibatches": 1, "epochs": 1, "target_kl": None} | settings
    usual = learner(64, **given)
    ppo = PPO(usual.model, usual.rollout, usual.settings, usual.generator, None, execution)
    gradients = gradients_of_steps(ppo)
    collect(ppo, seen)
    statistics = ppo.update(seen.last_critic)
    return ppo, gradients[0], float(statistics["kl"])


def test_bfloat16_rounds_the_update() -> None:
    seen = experience(8, 64)
    (_, exact, _), (ppo, rounded, kl) = (computed(Execution(precision), seen) for precision in ("float32", "bf16"))
    for name, gradient in exact.items():
        error = (rounded[name] - gradient).norm() / gradient.norm().clamp_min(1e-6)
        assert error < 0.05, f"{name}: {error}"
    assert any(not torch.equal(rounded[name], exact[name]) for name in exact), "it was used"
    assert kl < 1e-3
    assert all(parameter.dtype == torch.float32 for parameter in ppo.model.parameters())
    assert ppo.rollout.action.dtype == torch.float32


def test_tf32_holds_for_the_update_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    computed(Execution("tf32"), experience(8, 64))
    assert asked == ["high", torch.get_float32_matmul_precision()]


def test_a_compiler_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = learner(8, horizon=4, minibatches=2)

    def fails(_: object) -> tuple[torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        raise TorchDynamoException("No working C++ compiler found")

    usual.execution = dataclasses.replace(usual.execution, compile=True)
    monkeypatch.setattr(usual, "_evaluate", fails)
    seen = experience(4, 8)
    collect(usual, seen)
    with pytest.raises(UserError, match=r"compile=true cannot be used here: No working C\+\+ .*; compile=false can"):
        usual.update(seen.last_critic)
