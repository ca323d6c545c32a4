"""The environment against the toy written out by hand, and everything that must hold around a step."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from robo_ppo.env.environment import Environment, Transition
from tests.env import by_hand
from tests.env.toy import DECIMATION, DRAG, LOWER, NOISY, RANGES, SEEN, TIMESTEP, UPPER, actions, close, environment

N = 16
STEPS = 50  # of an episode


@dataclass
class Moment:
    """One step of the environment beside the same step by hand."""

    number: int
    transition: Transition
    outcomes: list[by_hand.Outcome]
    carts: list[by_hand.Cart]  # after the step: in a new episode where one began

    def rows(self, attribute: str) -> Tensor:
        return torch.tensor([getattr(outcome, attribute) for outcome in self.outcomes])


def run(env: Environment, steps: int = 120, delay: int = 0, **rules: float) -> Iterator[Moment]:
    """Step the environment and its carts side by side; episodes are handed out in the order in which they begin."""
    env.reset()
    carts = [by_hand.begin(env, episode, delay) for episode in range(env.num_envs)]
    following = env.num_envs
    for number in range(steps):
        action = actions(number, env.num_envs)
        transition = env.step(action)
        pairs = zip(carts, action[:, 0].tolist(), strict=True)
        outcomes = [by_hand.step(cart, push, **rules) for cart, push in pairs]  # pyright: ignore[reportArgumentType]
        for row, outcome in enumerate(outcomes):
            if outcome.ended:
                carts[row] = by_hand.begin(env, following, delay)
                following += 1
        yield Moment(number, transition, outcomes, carts)


def whole(moment: Moment, which: str) -> list[list[float]]:
    return [getattr(o, f"final_{which}") for o in moment.outcomes]


def test_steps_without_rewrites_are_those_by_hand() -> None:
    """Physics with masses, wind and drag of their own, rewards, ends, final observations, resets, first ones."""
    env = environment(N, settings={"near": 0.0}, critic=("way", "wind"))
    ends = 0
    for moment in run(env, near=0.0):
        t = moment.transition
        close(t.reward, moment.rows("reward"))
        assert t.terminated.tolist() == (moment.rows("success") | moment.rows("failure")).tolist()
        assert t.truncated.tolist() == moment.rows("truncated").tolist()
        assert t.valid.all()
        close(t.final_observation["policy"], whole(moment, "policy"))
        close(t.final_observation["critic"][:, 4:], [critic[1:] for critic in whole(moment, "critic")])
        close(t.observation["policy"], [cart.policy() for cart in moment.carts])
        close(t.observation["critic"][:, 4:], [cart.critic()[1:] for cart in moment.carts])
        ends += int(moment.rows("ended").sum())
    assert ends >= 2 * N


def test_rewards_and_ends_with_rewrites_are_those_by_hand() -> None:
    """After the target moved, the gap that was is the gap to the new target."""
    env = environment(N, settings={"visits": 1})
    seen = {"success": 0, "failure": 0, "truncated": 0, "rewritten": 0}
    for moment in run(env, 400, visits=1):
        t = moment.transition
        close(t.reward, moment.rows("reward"))
        assert t.terminated.tolist() == (moment.rows("success") | moment.rows("failure")).tolist()
        assert t.truncated.tolist() == moment.rows("truncated").tolist()
        close(env.states["target"][:, 0], torch.tensor([cart.target for cart in moment.carts]))
        assert env.states["visited"].tolist() == [cart.visited for cart in moment.carts]
        assert env.states["near_steps"].tolist() == [cart.near_steps for cart in moment.carts]
        for name in seen:
            seen[name] += int(moment.rows(name).sum())
    assert min(seen.values()) > 0, seen


def test_observations_after_a_rewrite_are_those_by_hand() -> None:
    """The policy sees what the vehicle would compute, the critic sees the new target, both from the present state."""
    env = environment(N)
    rewritten = 0
    for moment in run(env):
        t = moment.transition
        close(t.observation["policy"], [cart.policy() for cart in moment.carts])
        close(t.observation["critic"][:, 5:], [cart.critic()[1:] for cart in moment.carts])
        close(t.final_observation["policy"], whole(moment, "policy"))
        rewritten += int(moment.rows("rewritten").sum())
    assert rewritten > 5


def test_the_critic_sees_states_that_follow_a_signal_as_they_are_now() -> None:
    env = environment(N)
    for moment in run(env, 40):
        assert moment.transition.observation["critic"][:, 4].tolist() == [cart.near_steps for cart in moment.carts]
        assert torch.equal(moment.transition.observation["critic"][:, 4], env.states["near_steps"])


def test_the_policy_observes_what_the_vehicle_would_compute() -> None:
    """A controller that is given `measured` and keeps its own memory: the same observation, bit for bit, also when the
    target moves. A new episode starts with the present as its past."""
    env = environment(N, policy=SEEN, measurements=NOISY)
    observation = env.reset()
    memory: dict[str, Tensor] = {}

    def fly(began: Tensor, memory: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        known = env.measured | {"last_action": env.states["last_action"]}
        _, present = env.onboard.observe(known | {name: torch.zeros(N) for name in env.onboard.remembered})
        memory = {name: torch.where(began, present[name], memory.get(name, present[name])) for name in present}
        return env.onboard.observe(known | memory)

    expected, memory = fly(torch.ones(N, dtype=torch.bool), memory)
    assert torch.equal(observation["policy"], expected)
    for step in range(100):
        t = env.step(actions(step))
        expected, memory = fly(t.terminated | t.truncated, memory)
        assert torch.equal(t.observation["policy"], expected), step


def test_signals_of_a_step_are_true_values_before_any_reset() -> None:
    env = environment(N, settings={"near": 0.0}, measurements=NOISY, policy=SEEN, extra_signals=("drift",))
    for moment in run(env, 60, near=0.0):
        values = moment.transition.values
        ended = moment.rows("ended")
        place = torch.tensor([outcome.final_policy[2] for outcome in moment.outcomes])
        close(values["place"][:, 0], place)
        close(values["qpos"][:, 0], place)
        close(values["drift"], 2.0 * values["qvel"][:, 0])
        if ended.any():
            assert not torch.isclose(values["qpos"][ended], env.sim.bind("qpos")[ended], atol=1e-4).all()
        assert set(values) >= {"gap", "wind", "target", "last_action", "reward.gain", "success", "too_far"}
        assert env.computed_signals >= set(values)


def test_what_was_handed_out_does_not_change_with_the_next_step() -> None:
    env = environment(N)
    env.reset()
    kept: list[tuple[Transition, dict[str, Tensor]]] = []
    for step in range(60):
        t = env.step(actions(step))
        kept.append((t, {name: value.clone() for name, value in t.values.items()}))
    for t, values in kept:
        assert all(torch.equal(t.values[name], values[name]) for name in values)


def test_a_final_observation_stays_when_the_target_moves() -> None:
    """The gap that was reached is below the limit; the observation already tells the new one."""
    env = environment(N)
    for moment in run(env, 80):
        rows = moment.rows("rewritten")
        assert (moment.transition.final_observation["policy"][rows, 0] < 0.15).all()
        assert (moment.transition.observation["policy"][rows, 0] > 0.15).all()
        others = ~(rows | moment.rows("ended"))
        for group in ("policy", "critic"):
            final, present = moment.transition.final_observation[group], moment.transition.observation[group]
            assert torch.equal(final[others], present[others])


# Beginnings of episodes


def test_at_the_beginning_the_past_is_the_present() -> None:
    """For signals of any depth: a difference to the step before is zero, whatever the episode before did."""
    env = environment(N, critic=("way", "more_way"))
    first = env.reset()
    assert torch.equal(first["policy"][:, 1], torch.zeros(N))
    assert torch.equal(first["critic"][:, 4:], torch.zeros(N, 2))
    seen = 0
    for step in range(110):
        t = env.step(actions(step))
        began = t.terminated | t.truncated
        assert torch.equal(t.observation["critic"][began][:, 4:], torch.zeros(int(began.sum()), 2))
        seen += int(began.sum())
    assert seen > N


def test_a_first_reward_knows_nothing_of_the_episode_before() -> None:
    """`quickening` is the way of this step less that of the step before, which at the beginning was none."""
    env = environment(N, settings={"near": 0.0}, reward={"quickening": {"weight": 1.0}}, seconds=0.3)
    env.reset()
    began = torch.ones(N, dtype=torch.bool)
    for step in range(35):
        t = env.step(actions(step))
        close(t.reward[began], t.values["way"][began])
        began = t.terminated | t.truncated


def test_a_signal_that_only_its_own_past_needs_is_computed_too() -> None:
    """`previous_more_way` needs `previous_way`, which nothing else asks for."""
    env = environment(4, policy=("place",), critic=("previous_more_way",), reward={"alive": {"weight": 1.0}})
    env.reset()
    ways: list[Tensor] = []
    place = env.sim.bind("qpos").clone()[:, 0]
    for step in range(4):
        t = env.step(actions(step, 4))
        ways.append((t.values["place"][:, 0] - place).abs())
        place = t.values["place"][:, 0]
        if step >= 2:
            close(t.observation["critic"][:, 1], ways[-2] - ways[-3])


def test_episodes_are_handed_out_in_order() -> None:
    env = environment(5, seconds=0.3)
    env.reset()
    assert env.episode.id.tolist() == [0, 1, 2, 3, 4]
    following = 5
    for step in range(40):
        before = env.episode.id.clone()
        t = env.step(actions(step, 5))
        for row in (t.terminated | t.truncated).nonzero().flatten().tolist():
            before[row] = following
            following += 1
        assert torch.equal(env.episode.id, before)
    env.reset(first_id=100)
    assert env.episode.id.tolist() == [100, 101, 102, 103, 104]


def test_the_same_ids_are_the_same_episodes_in_any_number_of_environments() -> None:
    """With noise off: starts, parameters and whole trajectories; here of ids 0 to 7 in 8 and in 40 environments."""
    few, many = environment(8), environment(40)
    a, b = few.reset(), many.reset()
    assert torch.equal(a["critic"], b["critic"][:8])
    running = torch.ones(8, dtype=torch.bool)
    for step in range(STEPS):
        action = actions(step, 8)
        s = few.step(action)
        t = many.step(torch.cat((action, actions(step + 500, 32))))
        assert torch.equal(s.reward[running], t.reward[:8][running])
        assert torch.equal(s.final_observation["critic"][running], t.final_observation["critic"][:8][running])
        running &= ~(s.terminated | s.truncated)
    assert not running.any()


def test_without_a_restart_every_episode_is_the_same_and_none_follows() -> None:
    """With noise off; what an environment does after its episode has ended means nothing."""
    restarting, once = environment(8, seconds=0.6), environment(8, seconds=0.6)
    restarting.reset(), once.reset()  # pyright: ignore[reportUnusedExpression]
    running = torch.ones(8, dtype=torch.bool)
    for step in range(30):
        s, t = restarting.step(actions(step, 8)), once.step(actions(step, 8), restart=False)
        assert torch.equal(s.reward[running], t.reward[running])
        assert torch.equal((s.terminated | s.truncated)[running], (t.terminated | t.truncated)[running])
        assert torch.equal(t.observation["critic"], t.final_observation["critic"])
        running &= ~(s.terminated | s.truncated)
    assert not running.any()
    assert once.episode.id.tolist() == list(range(8))
    assert once.episode.age.tolist() == [30] * 8
    assert float(once.take_totals().episodes) == 0.0


def test_ranks_share_the_episodes_without_overlap() -> None:
    whole = environment(12, seconds=0.3)
    parts = [environment(4, seconds=0.3, rank=rank, ranks=3) for rank in range(3)]
    ids: list[list[int]] = []
    for env in (whole, *parts):
        env.reset()
        seen = env.episode.id.tolist()
        for step in range(25):
            t = env.step(actions(step, env.num_envs))
            seen += env.episode.id[t.terminated | t.truncated].tolist()
        ids.append(seen)
    for rank, seen in enumerate(ids[1:]):
        assert seen == [rank + 3 * number for number in range(len(seen))]
    assert len({*ids[1], *ids[2], *ids[3]}) == sum(map(len, ids[1:]))
    assert {*ids[1][:4], *ids[2][:4], *ids[3][:4]} == set(ids[0][:12])
    for rank, env in enumerate(parts):
        first = env.reset()["critic"]
        assert torch.equal(first, whole.reset()["critic"][rank::3])


def test_training_begins_at_random_ages_and_evaluation_does_not() -> None:
    training = environment(400, "train")
    training.reset()
    ages = training.episode.age.double()
    assert ages.min() >= 0 and ages.max() < STEPS
    assert float(ages.mean()) == pytest.approx((STEPS - 1) / 2, abs=3)
    still = torch.zeros(400, 1)
    t = training.step(still)
    assert torch.equal(t.truncated, (ages == STEPS - 1) & ~t.terminated)
    assert (training.episode.age[t.truncated] == 0).all(), "only first episodes are shortened"
    validation = environment(8)
    validation.reset()
    assert (validation.episode.age == 0).all()


def test_the_time_limit_truncates_only_what_did_not_end_by_itself() -> None:
    env = environment(N, settings={"near": 0.0}, seconds=0.6)
    for moment in run(env, 60, near=0.0, max_steps=20):
        t = moment.transition
        assert not (t.terminated & t.truncated).any()
        assert t.truncated.tolist() == moment.rows("truncated").tolist()


# Actions


def test_a_delay_of_actions_by_whole_steps() -> None:
    """The controller's memory of its action is not delayed; the first commands are those of action 0."""
    env = environment(N, settings={"near": 0.0}, action_delay=[2 * 0.03, 2 * 0.03], critic=("way", "wind"))
    for moment in run(env, 70, delay=2, near=0.0):
        close(moment.transition.reward, moment.rows("reward"))
        close(moment.transition.observation["policy"], [cart.policy() for cart in moment.carts])


def test_delays_of_actions_between_steps_differ_between_episodes() -> None:
    """With the action stepping from 0 to 1, the share of the new action that is applied tells the delay."""
    env = environment(200, action_delay=[0.0, 0.03], ranges={}, settings={"near": 0.0})
    env.reset()
    env.step(torch.ones(200, 1))
    applied = (env.sim.bind("ctrl")[:, 0] - (LOWER + UPPER) / 2) / ((UPPER - LOWER) / 2)
    delay = 1.0 - applied
    assert float(delay.min()) >= -1e-6 and float(delay.max()) <= 1.0 + 1e-6
    assert float(delay.mean()) == pytest.approx(0.5, abs=0.1)
    close(delay, env.bank.episodes(torch.arange(200))["action_delay"])
    env.step(torch.ones(200, 1))
    close(env.sim.bind("ctrl")[:, 0], torch.full((200,), UPPER))


def test_actions_beyond_the_limits_are_clipped() -> None:
    one, other = environment(4), environment(4)
    one.reset(), other.reset()  # pyright: ignore[reportUnusedExpression]
    wild = torch.tensor([[-7.0], [1e9], [0.5], [1.0]])
    s, t = one.step(wild), other.step(wild.clamp(-1, 1))
    assert torch.equal(s.reward, t.reward)
    assert torch.equal(s.observation["critic"], t.observation["critic"])
    assert one.sim.bind("ctrl")[:, 0].tolist() == [LOWER, UPPER, LOWER + 0.75 * (UPPER - LOWER), UPPER]


def test_an_external_force_is_held_through_a_step() -> None:
    env = environment(N, settings={"near": 0.0})
    env.reset()
    for step in range(10):
        qvel = env.sim.bind("qvel").clone()
        force = DRAG * (env.states["wind"].unsqueeze(1) - qvel)
        env.step(actions(step))
        close(env.sim.bind("qfrc_applied"), force)
    assert env.options.control_period == pytest.approx(TIMESTEP * DECIMATION)


# Sums


def test_totals_are_the_sums_of_what_the_steps_returned() -> None:
    env = environment(N, settings={"visits": 1})
    env.reset()
    returns, ages = torch.zeros(N), torch.zeros(N)
    terms = torch.zeros(2, N)
    sums = {"returns": 0.0, "steps": 0.0, "episodes": 0, "success": 0, "too_far": 0, "timeout": 0}
    of_terms = torch.zeros(2)
    for step in range(300):
        t = env.step(actions(step))
        weighted = torch.stack((2.0 * t.values["reward.gain"], 0.1 * t.values["reward.effort"]))
        close(weighted.sum(0), t.reward)
        returns, ages, terms = returns + t.reward, ages + 1, terms + weighted
        ended = t.terminated | t.truncated
        sums["returns"] += float(returns[ended].sum())
        sums["steps"] += float(ages[ended].sum())
        sums["episodes"] += int(ended.sum())
        sums["too_far"] += int(t.values["too_far"].sum())
        sums["success"] += int((t.values["success"] & ~t.values["too_far"]).sum())
        sums["timeout"] += int(t.truncated.sum())
        of_terms += terms[:, ended].sum(1)
        returns[ended], ages[ended], terms[:, ended] = 0.0, 0.0, 0.0
    totals = env.take_totals()
    assert min(sums["success"], sums["too_far"], sums["timeout"]) > 0
    for name in ("success", "too_far", "timeout"):
        assert float(totals.outcomes[name]) == sums[name]
    assert float(totals.episodes) == sums["episodes"]
    assert float(totals.steps) == sums["steps"]
    assert float(totals.returns) == pytest.approx(sums["returns"], rel=1e-4)
    assert totals.terms.tolist() == pytest.approx(of_terms.tolist(), rel=1e-3, abs=1e-3)
    assert totals.broken == 0
    again = env.take_totals()
    assert float(again.episodes) == float(again.returns) == float(again.terms.abs().sum()) == 0.0


# What a policy may observe


def test_the_groups_and_their_sizes() -> None:
    env = environment(4)
    assert env.observation_sizes == {"policy": 4, "critic": 7}
    observation = env.reset()
    assert observation["policy"].shape == (4, 4) and observation["critic"].shape == (4, 7)
    assert torch.equal(observation["critic"][:, :4], observation["policy"])
    alone = environment(4, critic=())
    observation = alone.reset()
    assert torch.equal(observation["critic"], observation["policy"])


def test_the_critic_sees_the_truth_and_the_policy_what_is_measured() -> None:
    env = environment(400, policy=("place",), critic=("place", "way"), measurements={"place": {"noise": 0.2}})
    seen = env.step(torch.zeros(400, 1)).observation if env.reset() else {}
    truth = env.sim.bind("qpos")[:, 0]
    # The critic sees besides only what the policy does not name.
    assert env.observation_sizes == {"policy": 1, "critic": 2}
    assert float((seen["policy"][:, 0] - truth).std()) == pytest.approx(0.2, rel=0.15)


def test_a_policy_may_observe_what_only_the_simulator_knows() -> None:
    """It trains; that it cannot fly is said at the export."""
    env = environment(4, policy=("place", "drift", "wind"))
    first = env.reset()
    close(first["policy"][:, 1], 2.0 * env.sim.bind("qvel")[:, 0])
    seen = env.step(actions(0, 4)).observation["policy"]
    close(seen[:, 1], 2.0 * env.sim.bind("qvel")[:, 0])
    close(seen[:, 2], env.states["wind"])


def test_a_measurement_may_be_a_single_number() -> None:
    errors = {"noise": 0.01, "bias": 0.01, "dropout": 0.1, "delay": [0.0, 0.03]}
    env = environment(
        4, robot="tests.env.toy:CartWithOdometer", policy=("odometer",), measurements={"odometer": errors}
    )
    assert env.reset()["policy"].shape == (4, 1)
    seen = env.step(actions(0, 4)).observation["policy"][:, 0]
    torch.testing.assert_close(seen, env.sim.bind("qpos")[:, 0], atol=0.2, rtol=0)


def test_signals_of_now() -> None:
    env = environment(4)
    env.reset()
    t = env.step(actions(0, 4))
    now = env.signals_now(("gap", "drift"))
    assert torch.equal(now["gap"], t.values["gap"])
    close(now["drift"], 2.0 * env.sim.bind("qvel")[:, 0])
    assert torch.equal(now["wind"], env.states["wind"])


def test_parameters_are_drawn_within_their_ranges() -> None:
    env = environment(400)
    env.reset()
    mass = torch.tensor([float(env.sim.world(row)[0].body_mass[1]) for row in range(0, 400, 20)])
    close(mass, 2.0 * env.bank.episodes(torch.arange(0, 400, 20))["model.mass"])
    for column, name in (("model.mass", "mass"), ("wind", "wind")):
        low, high = RANGES[name]
        drawn = env.bank.columns[column]
        assert float(drawn.min()) >= low and float(drawn.max()) <= high
        assert float(drawn.mean()) == pytest.approx((low + high) / 2, abs=0.15 * (high - low))
    nominal = environment(4, ranges={})
    nominal.reset()
    assert nominal.states["wind"].tolist() == [0.0] * 4
