"""The page as a person sees it, in a real browser: it shows the flight, and its buttons do what they say."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from robo_ppo.run import palette
from robo_ppo.run.evaluate import OnnxPilot
from robo_ppo.run.live.page import Page
from robo_ppo.run.live.player import Player
from robo_ppo.run.live.replay import replay
from robo_ppo.run.live.replay_page import ReplayPage
from robo_ppo.run.live.server import serve
from robo_ppo.run.live.session import Session
from robo_ppo_onboard.bundle import read_bundle
from tests.run.by_hand import hover_config, make_run
from tests.run.live.browsing import Browser, Tab, find_chromium, wait_for
from tests.run.live.steered import SteeredHover
from tests.run.live.test_replay import break_world, started

SIZE = (1000, 560)
CANVAS = (375, 40, 670, 520)  # what no panel covers: left, top, right, bottom
FRONT_ROTOR, DRAWN_GOAL, DRAWN_PATH = "#e4a87e", "#7bc4a0", "#2176c7"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine")
    with Browser(program, tmp_path_factory.mktemp("chromium"), SIZE) as found:
        yield found


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Player:
    """A hovering flight of an exported policy."""
    runs = tmp_path_factory.mktemp("runs")
    config = hover_config(runs, f"task.entry_point={SteeredHover.__module__}:{SteeredHover.__name__}")
    bundle = read_bundle(make_run(runs / "run", config) / "policy.onnx")
    return Player(Session(config, "test", lambda environment: OnnxPilot(environment, bundle)))


@contextmanager
def shown(player: Player, title: str) -> Generator[str]:
    """The address of a player's page, for as long as the block lasts."""
    with serve("127.0.0.1", 0, show=False, title="") as server:
        page = Page(server, player, title)
        thread = threading.Thread(target=page.run, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.get_port()}"
        finally:
            page.close()
            thread.join(10.0)


@pytest.fixture(scope="module")
def address(player: Player) -> Generator[str]:
    with shown(player, "uav_hover, exported policy") as address:
        yield address


@pytest.fixture(scope="module")
def tab(browser: Browser, address: str) -> Tab:
    """The page, some steps into the flight."""
    tab = browser.open(address)
    tab.wait_for_text("Episode 0")
    return tab


def canvas(tab: Tab) -> Image.Image:
    """The picture in the middle of the page."""
    tab.evaluate("document.querySelectorAll('.mantine-Notification-closeButton').forEach(b => b.click())")
    return tab.picture().crop(CANVAS)


def near(picture: Image.Image, colour: str, tolerance: int) -> np.ndarray:
    """Which pixels (rows, columns) are about of a colour."""
    return np.abs(np.asarray(picture, np.int32) - palette.rgb(colour)).max(-1) < tolerance


def share(picture: Image.Image, colour: str) -> float:
    """The part of a picture that is about of a colour."""
    return float(near(picture, colour, 30).mean())


def stands_still(tab: Tab) -> bool:
    """Whether two pictures in succession are one and the same."""
    return canvas(tab).tobytes() == canvas(tab).tobytes()


def place(player: Player, episode: int, steps: int) -> None:
    """Pause some steps into an episode."""
    player.ask(player.pause)
    player.ask(lambda: player.begin(episode))
    for _ in range(steps):
        player.ask(player.step_once)
    wait_for(lambda: (player.session.episode, player.session.steps) == (episode, steps), "it is there")


def test_nobody_flies_while_nobody_looks(player: Player, address: str) -> None:
    assert address
    threading.Event().wait(0.5)
    assert player.session.steps == 0


def test_vehicle_and_goal_are_seen(player: Player, tab: Tab) -> None:
    wait_for(lambda: player.session.steps > 0, "it flies, now that someone looks")
    place(player, episode=2, steps=1)
    wait_for(lambda: share(canvas(tab), FRONT_ROTOR) > 0.0005, "the vehicle is drawn")
    picture = canvas(tab)
    assert len(picture.getcolors(1 << 20) or []) > 200  # no blank canvas
    assert share(picture, DRAWN_GOAL) > 0.01
    place(player, episode=2, steps=25)
    wait_for(lambda: share(canvas(tab), DRAWN_PATH) > 0.001, "the path is drawn")
    shown = tab.text()
    assert all(text in shown for text in ("uav_hover, exported policy", "to goal", "clearance", "reward terms"))
    assert not tab.errors


def test_the_goal_is_dragged(player: Player, tab: Tab) -> None:
    place(player, episode=2, steps=1)
    before = player.session.states["goal_position"]
    wait_for(lambda: stands_still(tab), "the picture stands still")
    # Along the arrow that points upwards.
    rows, columns = np.nonzero(near(canvas(tab), "#579ee2", 12))
    x, y = float(np.median(columns)) + CANVAS[0], float(np.median(rows)) + CANVAS[1]
    tab.drag([(x, y), (x, y - 20), (x, y - 40), (x, y - 60)])
    wait_for(lambda: player.session.states["goal_position"][2] > before[2] + 0.05, "the goal is moved")
    wait_for(lambda: stands_still(tab), "the picture stands still")
    after = player.session.states["goal_position"]
    assert after[:2] == pytest.approx(before[:2], abs=1e-4)
    player.ask(player.step_once)
    wait_for(lambda: player.session.steps == 2, "a step is taken")
    np.testing.assert_allclose(player.session.environment.measured["goal"][0], after, atol=1e-5)


def test_the_flight_can_be_paused_stepped_and_resumed(player: Player, tab: Tab) -> None:
    player.ask(lambda: player.begin(1))
    player.ask(lambda: player.set_speed(0.1))  # so that it has not ended by the time a busy machine clicks
    player.ask(player.play)
    wait_for(lambda: player.session.episode == 1 and player.session.steps > 10, "it flies")
    wait_for(lambda: not stands_still(tab), "the picture moves")
    tab.click("button", "Pause")
    wait_for(lambda: not player.is_playing, "it pauses")
    tab.wait_for_text("Paused")
    steps = player.session.steps
    wait_for(lambda: stands_still(tab), "the picture stands still")
    assert player.session.steps == steps
    tab.click("button", "Step")
    wait_for(lambda: player.session.steps == steps + 1, "it takes a step")
    tab.press(" ", "Space")
    wait_for(lambda: player.is_playing and player.session.steps > steps + 1, "it goes on")
    tab.wait_for_text("Pause")
    player.ask(lambda: player.set_speed(1.0))


def test_keys_choose_the_episode(player: Player, tab: Tab) -> None:
    player.ask(lambda: player.begin(4))
    wait_for(lambda: player.session.episode == 4, "episode 4")
    tab.press("n", "KeyN")
    wait_for(lambda: player.session.episode == 5, "the next episode")
    tab.wait_for_text("Episode 5")


def test_an_episode_is_chosen_by_its_number(player: Player, tab: Tab) -> None:
    tab.write("Episode", "17")
    wait_for(lambda: player.session.episode == 17, "episode 17")
    player.ask(lambda: player.begin(18))  # as it does by itself
    tab.wait_for_text("Episode 18")
    assert player.session.episode == 18


def test_a_command_is_steered_and_let_go(player: Player, tab: Tab) -> None:
    place(player, episode=2, steps=1)
    before = player.session.commanded("goal height (m)")
    tab.press("k", "KeyK")
    wait_for(lambda: player.session.commanded("goal height (m)") < before - 0.15, "it is commanded")
    player.ask(player.step_once)
    told = player.session.environment
    wait_for(lambda: float(told.measured["goal"][0, 2]) == pytest.approx(before - 0.2), "the vehicle is told")
    tab.click("label", "by hand")
    player.ask(lambda: player.begin(2))
    wait_for(lambda: player.session.commanded("goal height (m)") == pytest.approx(before), "the task commands again")


def test_a_push_is_felt(player: Player, tab: Tab) -> None:
    place(player, episode=2, steps=3)
    before = player.session.environment.sim.bind("qvel").clone()
    tab.click("button", "Push")
    speed = lambda: float((player.session.environment.sim.bind("qvel") - before)[0, :3].norm())  # noqa: E731
    wait_for(lambda: speed() > 0.9, "it is pushed")
    assert speed() == pytest.approx(1.0, abs=1e-4)


def test_two_tabs_show_one_flight(player: Player, browser: Browser, address: str, tab: Tab) -> None:
    player.ask(player.pause)
    other = browser.open(address)
    other.wait_for_text("Paused")
    other.click("button", "Play")
    tab.wait_for_text("Running")
    assert player.is_playing
    other.close()


def test_the_end_of_an_episode_is_shown(player: Player, tab: Tab) -> None:
    player.ask(lambda: player.begin(3))
    player.ask(lambda: player.set_speed(4.0))
    player.ask(player.play)
    wait_for(lambda: player.session.episode == 3 and player.session.outcome is not None, "it ends")
    tab.wait_for_text("Episode 3, after")  # in the corner, for a moment
    tab.wait_for_text(f"of {len(player.session.outcomes)}")
    wait_for(lambda: player.session.episode == 4, "the next episode begins by itself")
    player.ask(player.pause)  # a page that stands still costs nothing


def test_a_broken_world_is_shown_substep_by_substep(browser: Browser, tmp_path: Path) -> None:
    config = hover_config(tmp_path)
    world = break_world(started(config, 4), "qvel", 4e5)
    with serve("127.0.0.1", 0, show=False, title="") as server:
        page = ReplayPage(server, replay(config, world))
        tab = browser.open(f"http://127.0.0.1:{server.get_port()}")
        tab.wait_for_text("training said qvel")
        wait_for(lambda: share(tab.picture(), DRAWN_GOAL) > 0.003, "the scene is drawn")
        for number in (1, 2, 3, 4):
            tab.click("button", "Forward")
            wait_for(lambda number=number: page.substep == number, f"substep {number}")
        tab.press("ArrowLeft", "ArrowLeft")
        wait_for(lambda: page.substep == 3, "a step back")
        assert "qacc" in tab.text()
