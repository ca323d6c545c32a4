"""Real time on a clock that the test holds: pace, pauses, a machine that is too slow, and orders from other threads."""

import threading
from dataclasses import dataclass

import pytest

from robo_ppo.run.live.clock import PATIENCE, RealTime
from robo_ppo.run.live.pilots import ZeroPilot
from robo_ppo.run.live.player import LINGER, Player
from robo_ppo.run.live.session import Session
from tests.run.live.steered import steered

TURN = 1 / 60  # s between two turns of a page


@dataclass
class Clock:
    """A wall clock that goes when told to."""

    time: float = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture(scope="module")
def session() -> Session:
    return Session(steered(), "test", ZeroPilot)  # 50 steps of 0.03 s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def player(session: Session, clock: Clock) -> Player:
    session.begin(0)
    return Player(session, clock)


def go(player: Player, clock: Clock, seconds: float) -> int:
    """Let the time pass; how many steps were taken meanwhile."""
    before = player.session.steps
    for _ in range(round(seconds / TURN)):
        clock.time += TURN
        player.turn()
    return player.session.steps - before


@pytest.mark.parametrize("speed", [0.1, 0.5, 1.0, 2.0])
def test_a_second_of_flight_takes_a_second(player: Player, clock: Clock, speed: float) -> None:
    player.set_speed(speed)
    assert go(player, clock, 0.6) == pytest.approx(0.6 * speed / 0.03, abs=1.5)


def test_pause_play_and_single_steps(player: Player, clock: Clock) -> None:
    go(player, clock, 0.3)
    player.pause()
    assert go(player, clock, 5.0) == 0
    player.step_once()
    player.step_once()
    assert player.session.steps == pytest.approx(12, abs=1)
    assert not player.is_playing
    player.play()
    assert go(player, clock, 0.3) == pytest.approx(10, abs=1)  # what was paused is not made up for


def test_the_next_episode_begins_by_itself_after_a_moment(player: Player, clock: Clock) -> None:
    go(player, clock, 1.6)
    assert player.session.outcome is not None
    go(player, clock, LINGER - 0.3)
    assert player.session.episode == 0
    go(player, clock, 0.5)
    assert (player.session.episode, player.session.outcome) == (1, None)
    player.goes_on = False
    go(player, clock, 8.0)
    assert player.session.episode == 1 and player.session.outcome is not None
    player.play()
    assert (player.session.episode, player.session.outcome) == (2, None)
    player.begin(1000)  # beyond the last
    assert player.session.episode == 0


def test_an_ended_episode_does_not_go_on_while_paused(player: Player, clock: Clock) -> None:
    go(player, clock, 1.6)
    player.pause()
    go(player, clock, 10.0)
    assert player.session.episode == 0
    steps = player.session.steps
    player.step_once()
    assert player.session.steps == steps


def test_orders_come_from_any_thread_and_are_done_in_this_one(player: Player) -> None:
    done: list[int] = []
    threads = [threading.Thread(target=player.ask, args=(lambda: done.append(threading.get_ident()),)) for _ in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not done
    player.turn()
    assert done == [threading.get_ident()] * 3


def test_the_clock_tells_how_fast_it_goes() -> None:
    now = Clock()
    clock = RealTime(0.02, now)
    assert clock.factor is None and clock.keeps_up
    for _ in range(1000):
        now.time += 0.004
        if clock.is_due():
            clock.taken()
    assert clock.factor == pytest.approx(1.0, abs=0.03)
    clock.speed = 3.0
    assert clock.factor is None
    for _ in range(3000):
        now.time += 0.001
        if clock.is_due():
            clock.taken()
    assert clock.factor == pytest.approx(3.0, abs=0.1)
    assert clock.wait() <= 0.02 / 3


def test_a_machine_that_is_too_slow_flies_slowly_and_catches_up_with_nothing() -> None:
    now = Clock()
    clock = RealTime(0.02, now)
    for _ in range(100):  # each step takes five times as long as it lasts
        assert clock.is_due()
        now.time += 0.1
        clock.taken()
    assert clock.factor == pytest.approx(0.2, abs=0.02)
    assert not clock.keeps_up
    burst = 0
    while clock.is_due():  # now steps take no time at all
        clock.taken()
        burst += 1
    assert burst <= PATIENCE / 0.02 + 1


def test_a_slow_step_does_not_keep_the_page_waiting(
    player: Player, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = player.session.step

    def slowly() -> None:
        clock.time += 0.04
        take()

    monkeypatch.setattr(player.session, "step", slowly)
    player.set_speed(4.0)
    clock.time += 10.0
    player.turn()
    assert player.session.steps == 1
