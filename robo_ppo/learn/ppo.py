"""Proximal policy optimisation (Schulman et al., arXiv:1707.06347).

    ppo = PPO(model, rollout, settings, generator)
    for each iteration:
        ppo.begin()
        for step in range(horizon):
            action = ppo.act(observation)
            transition = environment.step(action)
            ppo.record(transition.reward, …)
        statistics = ppo.update(last_observation_of_the_critic)

One iteration is `horizon` steps of every environment, then `epochs` passes over them in shuffled minibatches. The
learning rate follows the divergence between the old and the new policy, in every minibatch before its step: too far,
and it falls by a third; not far enough, and it rises by half. Without `target_kl` it is constant, as far as its upper
bound allows, which the caller may lower on the way. Nothing here writes a file or prints.

A minibatch of a policy without a memory holds any samples; that of a recurrent one, all steps of some environments, in
their order, and the state before the first.

`act` and `record` keep what they change in fixed places, so that they can be part of a recorded step; all passes of an
update over the minibatches are one recorded graph on a GPU (`robo_ppo.learn.replay`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor

from robo_ppo.errors import UserError, did_you_mean
from robo_ppo.learn.actor_critic import ActorCritic
from robo_ppo.learn.advantage import ESTIMATORS
from robo_ppo.learn.flat import FlatParameters
from robo_ppo.learn.gaussian import DiagonalGaussian
from robo_ppo.learn.replay import Replayed
from robo_ppo.learn.rollout import Rollout
from robo_ppo.learn.surrogate import SURROGATES

Batch = dict[str, Tensor]
Statistics = dict[str, Tensor]


@dataclass(frozen=True)
class PPOSettings:
    """`conf/ppo`: see `robo_ppo.config.PPOConfig` for what each is."""

    horizon: int
    epochs: int
    minibatches: int
    gamma: float
    gae_lambda: float
    clip: float
    value_coefficient: float
    value_clip: float | None
    entropy_coefficient: float
    max_gradient_norm: float
    learning_rate: float
    min_learning_rate: float
    max_learning_rate: float
    final_max_learning_rate: float
    target_kl: float | None
    adam_eps: float
    normalize_advantage: Literal["batch", "minibatch", "none"]
    scale_reward: bool
    advantage: str
    surrogate: str

    def __post_init__(self) -> None:
        for name in ("horizon", "epochs", "minibatches", "learning_rate", "max_gradient_norm", "clip"):
            if not getattr(self, name) > 0:
                raise UserError(f"ppo.{name} must be greater than 0, not {getattr(self, name)}")
        for name in ("gamma", "gae_lambda"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"ppo.{name} must lie in [0, 1], not {getattr(self, name)}")
        if self.target_kl is not None and not (
            0.0 < self.min_learning_rate <= self.learning_rate <= self.max_learning_rate
            and self.min_learning_rate <= self.final_max_learning_rate
        ):
            raise UserError(
                "ppo: 0 < min_learning_rate ≤ learning_rate ≤ max_learning_rate and min_learning_rate ≤ "
                f"final_max_learning_rate must hold, not {self.min_learning_rate}, {self.learning_rate}, "
                f"{self.max_learning_rate} and {self.final_max_learning_rate}"
            )
        if self.normalize_advantage not in ("batch", "minibatch", "none"):
            raise UserError(f"ppo.normalize_advantage={self.normalize_advantage}; it must be batch, minibatch or none")
        for name, known in (("advantage", ESTIMATORS), ("surrogate", SURROGATES)):
            if getattr(self, name) not in known:
                raise UserError(f"ppo.{name}={getattr(self, name)}; {did_you_mean(getattr(self, name), known)}")


@dataclass(frozen=True)
class Execution:
    """How the update is computed; none of it changes what is computed, but for rounding.

    Actions are always computed in float32. With bf16 the divergence of a policy that has not changed is therefore not
    quite 0, which is little beside `target_kl` unless the standard deviation is far smaller than the mean.
    """

    precision: str = "float32"  # of the update's matrix products: float32, tf32 or bf16; parameters stay in float32
    compile: bool = False  # the update's arithmetic through torch.compile
    capture: bool = True  # on a GPU: all passes over the minibatches as one graph


class PPOState(TypedDict):
    """What `PPO.state_dict` holds."""

    model: dict[str, Any]
    optimizer: dict[str, Any]
    learning_rate: Tensor
    generator: Tensor
    policy_state: Tensor
    running_return: Tensor
    return_moments: Tensor


class PPO:
    """Acts, remembers and learns; owns the optimiser, the rollout and a random generator."""

    def __init__(
        self,
        model: ActorCritic,
        rollout: Rollout,
        settings: PPOSettings,
        generator: torch.Generator,
        mean_over_ranks: Callable[[Tensor], Tensor] | None = None,
        execution: Execution | None = None,
    ) -> None:
        if (rollout.horizon * rollout.num_envs) % settings.minibatches:
            raise UserError(
                f"ppo.minibatches={settings.minibatches} does not divide the {rollout.horizon * rollout.num_envs} "
                f"samples of an iteration (ppo.horizon={rollout.horizon} times num_envs={rollout.num_envs})"
            )
        self._is_recurrent = model.memory is not None
        if self._is_recurrent and rollout.num_envs % settings.minibatches:
            raise UserError(
                f"ppo.minibatches={settings.minibatches} does not divide num_envs={rollout.num_envs}, and a recurrent "
                "policy learns from whole environments"
            )
        self.model, self.rollout, self.settings, self.generator = model, rollout, settings, generator
        device = rollout.reward.device
        self.learning_rate = torch.tensor(settings.learning_rate, device=device)
        self.max_learning_rate = torch.tensor(settings.max_learning_rate, device=device)
        # Actor and critic apart, since the scales of their losses, and so of their gradients, have nothing in common.
        self.parameters = FlatParameters([model.policy_parameters(), [*model.critic.parameters()]])
        self.optimizer = torch.optim.Adam(
            [self.parameters.value],
            lr=self.learning_rate,
            eps=settings.adam_eps,
            fused=True,
            capturable=device.type == "cuda",
        )
        self._mean_over_ranks = mean_over_ranks or (lambda tensor: tensor)
        self.execution = execution or Execution()
        self._evaluate = torch.compile(self._losses) if self.execution.compile else self._losses
        self._in_bf16 = self.execution.precision == "bf16"
        self._host_looks = device.type == "cpu"
        self._storage: Batch = {}  # of the shuffled samples, made once
        self._minibatches: list[Batch] = []
        self._sums: Statistics = {}  # over the minibatches of an update
        # Messages between processes cannot be part of the graph.
        alone = self.execution.capture and mean_over_ranks is None
        self._all_passes = Replayed(self._learn_everything, device, record=alone)
        self.policy_state = model.initial_state(rollout.num_envs)
        self._return = torch.zeros(rollout.num_envs, device=device)  # running discounted return, for reward scaling
        self._return_moments = torch.tensor([0.0, 0.0, 1e-4], dtype=torch.float64, device=device)  # mean, M2, count

    @torch.no_grad()
    def begin(self) -> None:
        """Begin a rollout."""
        self.rollout.begin()
        self.rollout.log_std.copy_(self.model.log_std)
        self.rollout.policy_state.copy_(self.policy_state)

    @torch.no_grad()
    def act(self, observation: dict[str, Tensor]) -> Tensor:
        """Draw actions (num_envs, action_size) and remember them."""
        rollout, model = self.rollout, self.model
        normalized = model.normalize(observation)
        for name, values in normalized.items():
            rollout.keep(rollout.observation[name], values)
        distribution, state = model.policy(normalized["policy"], self.policy_state)
        self.policy_state.copy_(state)
        action = distribution.sample(self.generator)
        rollout.keep(rollout.action, action)
        rollout.keep(rollout.mean, distribution.mean)
        rollout.keep(rollout.log_prob, distribution.log_prob(action))
        rollout.keep(rollout.value, model.value(normalized["critic"]))
        return action

    @torch.no_grad()
    def record(
        self, reward: Tensor, terminated: Tensor, truncated: Tensor, valid: Tensor, final_critic: Tensor
    ) -> None:
        """Remember what the last actions led to; `final_critic` (num_envs, size) is what the critic saw of it.

        With `scale_reward`, ranks call this at the same time.
        """
        rollout = self.rollout
        ended = terminated | truncated
        if self.settings.scale_reward:
            reward = reward / self._return_scale(reward, ended)
        rollout.keep(rollout.reward, reward)
        rollout.keep(rollout.terminated, terminated)
        rollout.keep(rollout.ended, ended)
        rollout.keep(rollout.weight, valid.float())
        rollout.keep(rollout.next_value, self._value_where_cut(truncated, final_critic))
        self.policy_state *= (~ended).unsqueeze(1)
        rollout.advance()

    def _value_where_cut(self, truncated: Tensor, final_critic: Tensor) -> Tensor:
        """Value (num_envs,) of what truncated episodes ended with.

        Where an episode goes on, the next step computes its value anyway, and `update` takes it from there. A CPU
        computes only what is asked for; another device, all, rather than wait until the host knows how many there are.
        """
        normalizer = self.model.normalizer("critic")
        if not self._host_looks:
            return torch.where(truncated, self.model.value(normalizer(final_critic)), 0.0)
        values = torch.zeros(len(truncated))
        cut = truncated.nonzero().squeeze(1)
        if len(cut):
            values[cut] = self.model.value(normalizer(final_critic[cut]))
        return values

    def update(self, last_critic: Tensor) -> Statistics:
        """Learn from the rollout; `last_critic` (num_envs, size) is the critic's observation after its last step.

        Ranks learn together: all call this at the same time, and the statistics are those of all.
        """
        rollout, settings = self.rollout, self.settings
        with torch.no_grad():
            last_value = self.model.value(self.model.normalizer("critic")(last_critic))
            following = torch.cat((rollout.value[1:], last_value.unsqueeze(0)))
            rollout.next_value.copy_(torch.where(rollout.ended, rollout.next_value, following))
            advantage = ESTIMATORS[settings.advantage](rollout, settings.gamma, settings.gae_lambda)
            batch = rollout.flat()
            if self._is_recurrent:
                batch |= {"state": rollout.policy_state, "ended": rollout.ended.flatten()}
            batch["advantage"] = advantage.flatten()
            batch["return"] = batch["advantage"] + batch["value"]
            explained = explained_variance(batch["value"], batch["return"], batch["weight"], self._mean_over_ranks)
            if settings.normalize_advantage == "batch":
                batch["advantage"] = standardize(batch["advantage"], batch["weight"], self._mean_over_ranks)
            # Before learning, not after: else all that was learnt for one scale of the inputs would act on another.
            for name in ("policy", "critic"):
                self.model.normalizer(name).update(batch[name], batch["weight"], self._mean_over_ranks)
                if self._in_bf16:  # once, not again in every pass
                    batch[name] = batch[name].bfloat16()

            self._shuffle(batch)
        try:
            self._all_passes()
        except RuntimeError as error:
            if not _is_of_the_compiler(error, self.execution):
                raise
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"compile=true cannot be used here: {reason}; compile=false can") from error
        steps = settings.epochs * settings.minibatches
        statistics = {name: total / steps for name, total in self._sums.items()}
        statistics |= {
            "explained_variance": explained,
            "learning_rate": self.learning_rate,
            "std": self.model.log_std.detach().exp().mean(),
        }
        means = self._mean_over_ranks(torch.stack(list(statistics.values())))
        return dict(zip(statistics, means, strict=True))

    @property
    def refused(self) -> str | None:
        """Why the device could not record the passes over the minibatches, if so."""
        return self._all_passes.refused

    def _shuffle(self, batch: Batch) -> None:
        """Lay out the minibatches, the same for all epochs: to copy all again for each changes nothing visible."""
        count = self.settings.minibatches
        orders = self._orders(count)
        for name, values in batch.items():
            if name not in self._storage:
                self._storage[name] = torch.empty_like(values)
            torch.index_select(values, 0, orders.get(name, orders["samples"]), out=self._storage[name])
        if not self._minibatches:
            self._storage["share"] = torch.empty_like(batch["weight"])
            parts = {name: storage.chunk(count) for name, storage in self._storage.items()}
            self._minibatches = [{name: chunks[number] for name, chunks in parts.items()} for number in range(count)]
        for part in self._minibatches:
            if self.settings.normalize_advantage == "minibatch":
                part["advantage"].copy_(standardize(part["advantage"], part["weight"], self._mean_over_ranks))
            part["share"].copy_(part["weight"] / part["weight"].sum().clamp_min(1.0))

    def _orders(self, minibatches: int) -> dict[str, Tensor]:
        """In which order the samples are laid out and, of a recurrent policy, the environments' states."""
        rollout = self.rollout
        shuffled = rollout.num_envs if self._is_recurrent else rollout.horizon * rollout.num_envs
        order = torch.randperm(shuffled, generator=self.generator, device=rollout.device)
        if not self._is_recurrent:
            return {"samples": order}
        steps = torch.arange(rollout.horizon, device=rollout.device) * rollout.num_envs
        samples = steps.view(1, -1, 1) + order.view(minibatches, 1, -1)  # of all steps, one after another
        return {"samples": samples.flatten(), "state": order}

    def _learn_everything(self) -> None:
        """All passes over the minibatches; their statistics are summed up in fixed places."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.execution.precision == "tf32" else "highest")
        try:
            steps = [self._learn(part) for _ in range(self.settings.epochs) for part in self._minibatches]
        finally:
            torch.set_float32_matmul_precision(before)
        for name in steps[0]:
            total = torch.stack([step[name] for step in steps]).sum()
            self._sums.setdefault(name, torch.empty_like(total)).copy_(total)

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor, Statistics]:
        """Loss, divergence from the policy that acted, and statistics of a minibatch."""
        with torch.autocast(batch["policy"].device.type, torch.bfloat16, enabled=self._in_bf16):
            if self._is_recurrent:
                new = self.model.policy_over_time(batch["policy"], batch["state"], batch["ended"])
            else:
                new, _ = self.model.policy(batch["policy"], self.model.initial_state(0))
            value = self.model.value(batch["critic"])
        new = DiagonalGaussian(new.mean.float(), new.log_std)
        loss, statistics = ppo_loss(new, value.float(), batch, self.settings)
        with torch.no_grad():
            old = DiagonalGaussian(batch["mean"], self.rollout.log_std)
            kl = torch.dot(old.kl(new), batch["share"])
        return loss, kl, statistics

    def _learn(self, batch: Batch) -> Statistics:
        """One step of the optimiser, on one minibatch."""
        loss, kl, statistics = self._evaluate(batch)
        self.parameters.differentiate(loss)
        with torch.no_grad():
            kl = self._average_over_ranks(kl)
            self._adapt_learning_rate(kl)
            actor_norm, critic_norm = self.parameters.clip(self.settings.max_gradient_norm)
        self.optimizer.step()
        self.model.bound_std()
        return statistics | {"kl": kl, "actor_gradient_norm": actor_norm, "critic_gradient_norm": critic_norm}

    def _average_over_ranks(self, kl: Tensor) -> Tensor:
        """Give every rank the mean gradient; returns the mean divergence."""
        mean = self._mean_over_ranks(torch.cat((self.parameters.gradients, kl.reshape(1))))
        self.parameters.gradients.copy_(mean[:-1])
        return mean[-1]

    def _adapt_learning_rate(self, kl: Tensor) -> None:
        settings = self.settings
        if settings.target_kl is None:
            self.learning_rate.copy_(self.max_learning_rate.clamp_max(settings.learning_rate))
            return
        rate = torch.where(kl > 2.0 * settings.target_kl, self.learning_rate / 1.5, self.learning_rate)
        rate = torch.where(kl < 0.5 * settings.target_kl, rate * 1.5, rate)
        self.learning_rate.copy_(torch.minimum(rate, self.max_learning_rate).clamp_min(settings.min_learning_rate))

    def _return_scale(self, reward: Tensor, ended: Tensor) -> Tensor:
        """Standard deviation of the discounted return so far, on all ranks together."""
        self._return.mul_(self.settings.gamma).add_(reward)
        mean, m2, count = self._return_moments
        batch = self._return.double()
        total = count + len(batch)  # per rank, as the sum of squares: only their ratio counts
        batch_mean = self._mean_over_ranks(batch.mean())
        squares = self._mean_over_ranks(torch.square(batch - batch_mean).sum())
        delta = batch_mean - mean
        m2 = m2 + squares + torch.square(delta) * count * len(batch) / total
        self._return_moments.copy_(torch.stack((mean + delta * len(batch) / total, m2, total)))
        self._return *= ~ended
        return torch.sqrt(m2 / total + 1e-8).float()

    def state_dict(self) -> PPOState:
        """All that an exact continuation needs, between two iterations."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "learning_rate": self.learning_rate,
            "generator": self.generator.get_state(),
            "policy_state": self.policy_state,
            "running_return": self._return,
            "return_moments": self._return_moments,
        }

    def load_state_dict(self, saved: PPOState) -> None:
        """Continue from `state_dict`."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.learning_rate.copy_(saved["learning_rate"])
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.generator.set_state(saved["generator"].cpu())
        self.policy_state.copy_(saved["policy_state"])
        self._return.copy_(saved["running_return"])
        self._return_moments.copy_(saved["return_moments"])


def _is_of_the_compiler(error: RuntimeError, execution: Execution) -> bool:
    if not execution.compile:
        return False
    from torch._dynamo.exc import TorchDynamoException  # takes a second to import

    return isinstance(error, TorchDynamoException)


def ppo_loss(new: DiagonalGaussian, value: Tensor, batch: Batch, settings: PPOSettings) -> tuple[Tensor, Statistics]:
    """Loss to be minimised over one minibatch, and what is worth knowing about it.

    Means are dot products with `batch["share"]`, each sample's weight over the sum of all.
    """
    share, advantage = batch["share"], batch["advantage"]
    log_ratio = new.log_prob(batch["action"]) - batch["log_prob"]
    ratio = log_ratio.exp()
    policy_loss = -torch.dot(SURROGATES[settings.surrogate](ratio, advantage, settings.clip), share)
    target = batch["return"]
    if settings.value_clip is None:
        value_error = torch.square(value - target)
    else:
        clipped = batch["value"] + (value - batch["value"]).clamp(-settings.value_clip, settings.value_clip)
        value_error = torch.maximum(torch.square(value - target), torch.square(clipped - target))
    value_loss = torch.dot(value_error, share)
    loss = policy_loss + settings.value_coefficient * value_loss
    entropy = new.entropy().mean()
    if settings.entropy_coefficient != 0.0:
        loss = loss - settings.entropy_coefficient * entropy
    with torch.no_grad():
        outside = ((ratio - 1.0).abs() > settings.clip).float()
        statistics = {
            "policy_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy": entropy.detach(),
            "clip_fraction": torch.dot(outside, share),
        }
    return loss, statistics


def standardize(
    values: Tensor, weight: Tensor, mean_over_ranks: Callable[[Tensor], Tensor] = lambda tensor: tensor
) -> Tensor:
    """Zero mean and unit (sample) standard deviation over what has weight, on all ranks together."""
    count, total = mean_over_ranks(torch.stack((weight.sum(), torch.dot(values, weight))))
    centered = values - total / count.clamp_min(1.0)
    squares = mean_over_ranks(torch.dot(torch.square(centered), weight))
    return centered / (torch.sqrt(squares / (count - 1.0).clamp_min(1.0)) + 1e-8)


def explained_variance(
    value: Tensor, target: Tensor, weight: Tensor, mean_over_ranks: Callable[[Tensor], Tensor] = lambda tensor: tensor
) -> Tensor:
    """1 - Var(target - value) / Var(target), of all ranks: 1 is a perfect critic, 0 one that knows only the mean."""
    error, target, weight = (target - value).double(), target.double(), weight.double()
    sums = [weight.sum(), weight @ target, weight @ (target * target), weight @ error, weight @ (error * error)]
    count, *moments = mean_over_ranks(torch.stack(sums))
    first, second, error_first, error_second = (moment / count.clamp_min(1e-12) for moment in moments)
    spread = (second - first * first).clamp_min(1e-12)
    return (1.0 - (error_second - error_first * error_first) / spread).float()
