"""One flight: it is that of an evaluation until a person disturbs it, and disturbances do what physics says."""

import mujoco
import numpy as np
import pytest
import torch

from robo_ppo.config import RunConfig
from robo_ppo.env.build import build
from robo_ppo.env.environment import Environment
from robo_ppo.errors import UserError
from robo_ppo.run.compose import compose
from robo_ppo.run.episodes import run_episodes
from robo_ppo.run.live.pilots import RandomPilot, ZeroPilot
from robo_ppo.run.live.push import DIRECTIONS, Direction, root_body, velocity_change
from robo_ppo.run.live.session import EPISODES, Session
from tests.run.live import steered
from tests.run.live.steered import Steered


def chance(environment: Environment) -> RandomPilot:
    return RandomPilot(environment, seed=0)


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return compose("task=uav_nav")


@pytest.fixture(scope="module")
def session(config: RunConfig) -> Session:
    """For all tests of this file: each begins an episode of its own."""
    return Session(config, "test", chance)


def fly(session: Session, episode: int) -> None:
    session.begin(episode)
    while session.outcome is None:
        session.step()


def test_a_flight_is_that_of_an_evaluation(session: Session, config: RunConfig) -> None:
    for episode in (0, 3):
        environment = build(config, "test", 1, episodes=EPISODES)
        pilot = chance(environment)
        environment.reset(episode)
        pilot.begin()
        flown = run_episodes(environment, pilot.act, first_id=episode)
        fly(session, episode)
        assert (session.outcome, session.steps) == (flown.outcome[0], flown.steps[0])
        assert session.total_reward == pytest.approx(flown.returns[0], abs=1e-4)
        assert np.array_equal(session.qpos, environment.sim.bind("qpos")[0].numpy())


def test_an_episode_that_is_flown_again_is_the_same(session: Session) -> None:
    fly(session, 5)
    first = session.history.of("position").copy()
    fly(session, 6)
    assert not np.array_equal(session.history.of("position")[: len(first)], first[: len(session.history)])
    fly(session, 5)
    assert np.array_equal(session.history.of("position"), first)
    before = session.steps
    session.step()  # it has ended
    assert session.steps == before


def test_the_history_has_every_signal_and_what_was_paid(session: Session) -> None:
    fly(session, 1)
    history, table = session.history, session.environment.table
    assert set(session.signals) == set(table.names())
    assert len(history) == session.steps + 1
    assert history.times[-1] == pytest.approx(session.time)
    assert np.array_equal(history.of("qpos")[-1, :3], history.of("position")[-1])
    terms = [history.of(name) for name in session.environment.reward.outputs]
    assert float(np.sum(terms)) == pytest.approx(session.total_reward, abs=1e-4)
    assert session.numbers_of("position") == ["x", "y", "z"]
    assert session.numbers_of("attitude") == ["w", "x", "y", "z"]
    assert session.numbers_of("columns")[:4] == ["0,0", "0,1", "0,2", "1,0"]
    assert session.numbers_of("last_action")[0] == "collective_thrust"


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_push_changes_the_momentum_and_nothing_else(session: Session, direction: Direction) -> None:
    session.begin(2)
    for _ in range(4):
        session.step()
    _, before = session.environment.sim.world(0)
    session.push(direction, 1.5)
    _, after = session.environment.sim.world(0)
    change = after.qvel - before.qvel
    assert np.linalg.norm(change[:3]) == pytest.approx(1.5)
    np.testing.assert_allclose(change[3:], 0.0, atol=1e-9)  # through the centre of mass: it turns nothing
    assert np.array_equal(after.qpos, before.qpos)
    ahead = before.xmat[root_body(session.environment.sim.model)].reshape(3, 3)[:2, 0]
    along = float(change[:2] @ ahead)
    across = float(ahead[0] * change[1] - ahead[1] * change[0])
    found = {"forward": along, "backward": -along, "left": across, "right": -across}
    assert {**found, "up": change[2], "down": -change[2]}[direction] > 1.0


def test_a_push_at_limbs_and_all() -> None:
    """A body with swinging limbs gains the momentum of the push as a whole, wherever its joints give way."""
    xml = """<mujoco><worldbody><body name="ground_station"><geom size=".1" mass="50"/></body>
      <body name="torso" pos="0 0 1"><freejoint/><geom size=".1" mass="3"/>
        <body pos=".2 0 0" euler="0 40 0"><joint axis="0 1 0"/><geom type="capsule" size=".03" fromto="0 0 0 0 0 -.5"
          mass="1"/><body pos="0 0 -.5"><joint axis="1 0 0"/><geom pos=".1 0 -.2" size=".05" mass=".7"/></body></body>
      </body></worldbody></mujoco>"""
    model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(model)
    data.qvel[:] = np.linspace(-1.0, 1.0, model.nv)
    root = root_body(model)
    assert model.body(root).name == "torso"

    def momentum() -> np.ndarray:
        mujoco.mj_forward(model, data)
        mujoco.mj_subtreeVel(model, data)
        return model.body_subtreemass[root] * data.subtree_linvel[root]

    before, impulse = momentum(), np.array([0.3, -2.0, 1.1])
    change = velocity_change(model, data, impulse)
    data.qvel += change
    np.testing.assert_allclose(momentum() - before, impulse, atol=1e-9)
    assert np.abs(change[6:]).min() > 0.01


def test_a_push_of_the_cart() -> None:
    """On a rail along x: what is pushed forward gains the speed, what is pushed sideways nothing."""
    session = Session(steered.steered(), "test", ZeroPilot)
    before = float(session.environment.sim.bind("qvel"))
    session.push("forward", 0.5)
    session.push("left", 2.0)
    assert float(session.environment.sim.bind("qvel")) == pytest.approx(before + 0.5, abs=1e-6)


def test_a_goal_that_is_moved_is_told_with_the_next_step(session: Session) -> None:
    session.begin(4)
    session.step()
    goal = session.states["goal_position"] + np.float32(1.0)
    session.move("goal", goal)
    # It is drawn at once; the vehicle hears of it with the step.
    np.testing.assert_array_equal(session.states["goal_position"], goal)
    shape = next(shape for shape in session.shapes if shape.role == "goal")
    assert shape.position == pytest.approx(tuple(goal))
    session.step()
    np.testing.assert_allclose(session.environment.measured["goal"][0], goal, atol=1e-6)
    session.step()
    distance = float(np.linalg.norm(session.values["position"] - goal))
    assert float(session.values["goal_distance"]) == pytest.approx(distance, abs=1e-5)
    # Nobody is paid for a goal that a person has moved.
    progress = session.history.of("reward.progress")[-3:, 0]
    assert np.abs(progress).max() < 0.5


def test_a_goal_that_is_put_where_it_was_changes_nothing(session: Session) -> None:
    fly(session, 7)
    undisturbed = session.history.of("position").copy()
    session.begin(7)
    while session.outcome is None:
        session.move("goal", session.states["goal_position"])
        session.step()
    assert np.array_equal(session.history.of("position"), undisturbed)


def test_a_command_holds_whatever_the_task_asks_for() -> None:
    session = Session(steered.steered(), "test", ZeroPilot)
    commanded = session.commanded("target (m)")
    assert commanded == pytest.approx(float(session.environment.states["target"]))
    session.command("target (m)", 1.75)
    session.step()
    assert session.commanded("target (m)") == 1.75
    session.command("target (m)", 99.0)  # beyond its range
    session.step()
    assert session.commanded("target (m)") == 2.0
    # The task moves the target to the other side; the person's hand brings it back.
    session.environment.states["target"] = torch.full((1, 1), -2.0)
    session.step()
    assert session.commanded("target (m)") == 2.0
    session.begin(1)
    session.step()
    assert session.commanded("target (m)") == 2.0
    session.command("target (m)", None)
    session.environment.states["target"] = torch.full((1, 1), 0.5)
    session.step()
    assert session.commanded("target (m)") == 0.5


def test_what_is_commanded_is_measured() -> None:
    session = Session(steered.steered(), "test", ZeroPilot)
    session.command("target (m)", -1.25)
    session.step()
    assert float(session.environment.measured["told"]) == -1.25


def test_a_beacon_is_dragged() -> None:
    session = Session(steered.steered(), "test", ZeroPilot)
    session.move("beacon", np.array([1.0, 2.0, 3.0]))
    session.step()
    assert session.environment.states["beacon"].tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (steered.DragsNothing, "'becon', which is no state; did you mean beacon?"),
        (steered.DragsATarget, "'target', which is no position"),
        (steered.CommandsTooMuch, "'target' has no number 1"),
    ],
)
def test_a_task_that_names_the_wrong_states_is_refused(task: type[Steered], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Session(steered.steered(task), "test", ZeroPilot)


def test_a_world_that_breaks_ends_its_episode(session: Session) -> None:
    session.begin(8)
    session.step()
    seen = session.qpos
    session.environment.sim.write("qvel", torch.full((1, 6), torch.inf))
    session.step()
    assert session.outcome == "broken"
    assert np.array_equal(session.qpos, seen)  # the last place that was one
    assert all(np.isfinite(values).all() for values in session.values.values())


def test_outcomes_are_counted_where_an_episode_was_flown_to_its_end(session: Session) -> None:
    counted = len(session.outcomes)
    session.begin(9)
    session.step()
    fly(session, 10)
    assert len(session.outcomes) == counted + 1
    assert session.successes == session.outcomes.count("success")


@pytest.mark.parametrize("episode", [-1, EPISODES])
def test_an_episode_that_there_is_not_is_refused(session: Session, episode: int) -> None:
    with pytest.raises(UserError, match=f"episode={episode}: the test split has the episodes 0 to {EPISODES - 1}"):
        session.begin(episode)


def test_chance_depends_on_the_seed_and_the_episode(config: RunConfig) -> None:
    environment = build(config, "test", 2, episodes=8)
    drawn: list[torch.Tensor] = []
    for seed, episode in ((0, 0), (0, 0), (0, 2), (1, 0)):
        pilot = RandomPilot(environment, seed)
        observation = environment.reset(episode)
        pilot.begin()
        drawn.append(torch.stack([pilot.act(observation) for _ in range(500)]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[3])
    assert drawn[0].min() >= -1.0 and drawn[0].max() <= 1.0
    assert abs(float(drawn[0].mean())) < 0.05 and float(drawn[0].std()) == pytest.approx(1 / np.sqrt(3), abs=0.03)
    assert torch.equal(ZeroPilot(environment).act(observation), torch.zeros(2, 4))
