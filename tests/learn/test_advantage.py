"""Advantages against the definition: sums over the future, step by step; and the statistics around them."""

import numpy as np
import pytest
import torch

from robo_ppo.learn.advantage import gae
from robo_ppo.learn.ppo import explained_variance, standardize
from robo_ppo.learn.rollout import Rollout

HORIZON, ENVS = 12, 40


def rollout(seed: int) -> Rollout:
    generator = torch.Generator().manual_seed(seed)
    made = Rollout(HORIZON, ENVS, {"policy": 1, "critic": 1}, 1, torch.device("cpu"))
    for tensor in (made.reward, made.value, made.next_value):
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    ends = torch.rand(HORIZON, ENVS, generator=generator)
    made.weight.fill_(1.0)
    made.terminated.copy_(ends < 0.1)
    made.ended.copy_(ends < 0.25)
    continues = ~made.ended[:-1]
    made.next_value[:-1][continues] = made.value[1:][continues]
    return made


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (0.9, 0.0), (0.97, 1.0), (1.0, 1.0), (0.0, 0.5)])
def test_gae_is_the_discounted_sum_of_later_errors(gamma: float, lam: float) -> None:
    made = rollout(3)
    reward, value, following = (t.double().numpy() for t in (made.reward, made.value, made.next_value))
    terminated, ended = made.terminated.numpy(), made.ended.numpy()
    expected = np.zeros((HORIZON, ENVS))
    for env in range(ENVS):
        for start in range(HORIZON):
            for step in range(start, HORIZON):
                future = 0.0 if terminated[step, env] else following[step, env]
                error = reward[step, env] + gamma * future - value[step, env]
                expected[start, env] += (gamma * lam) ** (step - start) * error
                if ended[step, env]:
                    break
    np.testing.assert_allclose(gae(made, gamma, lam), expected, rtol=1e-4, atol=1e-5)


def test_with_lambda_one_the_target_is_the_return() -> None:
    made, gamma = rollout(4), 0.95
    target = gae(made, gamma, 1.0) + made.value
    for env in range(ENVS):
        for start in range(HORIZON):
            total, discount = 0.0, 1.0
            for step in range(start, HORIZON):
                total += discount * float(made.reward[step, env])
                discount *= gamma
                if made.ended[step, env] or step == HORIZON - 1:
                    total += 0.0 if made.terminated[step, env] else discount * float(made.next_value[step, env])
                    break
            assert float(target[start, env]) == pytest.approx(total, rel=1e-4, abs=1e-5)


def test_before_a_broken_step_the_future_is_its_value() -> None:
    made = rollout(5)
    for tensor in (made.terminated, made.ended):
        tensor.fill_(False)
    made.next_value[:-1] = made.value[1:]
    made.terminated[6], made.ended[6], made.weight[6] = True, True, 0.0
    advantage = gae(made, 0.9, 1.0)
    discount = 0.9 ** torch.arange(6).unsqueeze(1)
    expected = (discount * made.reward[:6]).sum(0) + 0.9**6 * made.value[6]
    torch.testing.assert_close(advantage[0] + made.value[0], expected)
    assert not bool(advantage[6].any())


def test_explained_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    target, weight = torch.randn(500, generator=generator), (torch.arange(500) % 5 != 0).float()
    value = 0.7 * target + 0.3 * torch.randn(500, generator=generator)
    kept = weight.numpy() > 0
    expected = 1.0 - np.var((target - value).numpy()[kept]) / np.var(target.numpy()[kept])
    assert float(explained_variance(value, target, weight)) == pytest.approx(float(expected), abs=1e-5)
    ones = torch.ones(500)
    assert float(explained_variance(target + 3.0, target, ones)) == pytest.approx(1.0)  # blind to a constant
    assert float(explained_variance(torch.zeros(500), target, ones)) == pytest.approx(0.0, abs=1e-5)


def test_standardize() -> None:
    generator = torch.Generator().manual_seed(0)
    values, weight = 5.0 + 3.0 * torch.randn(300, generator=generator), (torch.arange(300) % 4 != 0).float()
    kept = values[weight > 0].double().numpy()
    expected = (values.double().numpy() - kept.mean()) / kept.std(ddof=1)
    np.testing.assert_allclose(standardize(values, weight), expected, rtol=1e-4, atol=1e-5)
