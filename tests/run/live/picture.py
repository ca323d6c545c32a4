"""Takes the picture of docs/play.md: the page while a trained policy flies between columns.

python -m tests.run.live.picture bundle=uav_nav docs/play.png
"""

import sys
import tempfile
import threading
import time
from pathlib import Path

from robo_ppo.config import parse_config
from robo_ppo.run import folder as folders
from robo_ppo.run.evaluate import OnnxPilot
from robo_ppo.run.live.page import Page
from robo_ppo.run.live.player import Player
from robo_ppo.run.live.server import serve
from robo_ppo.run.live.session import Session
from robo_ppo_onboard.bundle import read_bundle
from tests.run.live.browsing import Browser, find_chromium, wait_for

SIZE = (1440, 900)
EPISODE, SECONDS = 0, 1.7  # a flight around columns, and when


def take(bundle: str, picture: Path) -> None:
    """Fly until the moment, and write the page as a picture."""
    policy = read_bundle(folders.find_bundle(bundle))
    config = parse_config(policy.contract.training.config, bundle)
    session = Session(config, "test", lambda environment: OnnxPilot(environment, policy))
    player = Player(session)
    player.pause()
    program = find_chromium()
    assert program is not None, "there is no Chromium on this machine"
    with (
        tempfile.TemporaryDirectory() as profile,
        serve("127.0.0.1", 0, show=False, title="") as server,
        Browser(program, Path(profile), SIZE) as browser,
    ):
        page = Page(server, player, f"{config.task.name}, exported policy")
        threading.Thread(target=page.run, daemon=True).start()
        tab = browser.open(f"http://127.0.0.1:{server.get_port()}")
        tab.wait_for_text("Episode 0")
        for _ in range(3):  # some outcomes to show
            fly(player, player.session.episode, 1e9)
            player.ask(lambda: player.begin(session.episode + 1))
        fly(player, EPISODE, SECONDS - 0.2)
        tab.evaluate("document.querySelectorAll('.mantine-Notification-closeButton').forEach(b => b.click())")
        time.sleep(4.0)  # the camera comes to rest, the notifications fade
        player.ask(lambda: player.set_speed(0.1))
        player.ask(player.play)
        wait_for(lambda: session.time > SECONDS, "it flies")
        tab.picture().save(picture, optimize=True)
        page.close()


def fly(player: Player, episode: int, seconds: float) -> None:
    """Fly an episode for some seconds, or to its end."""
    done = threading.Event()

    def order() -> None:
        player.begin(episode)
        while player.session.time < seconds and player.session.outcome is None:
            player.step_once()
        done.set()

    player.ask(order)
    wait_for(done.is_set, "it flies")


if __name__ == "__main__":
    take(sys.argv[1].removeprefix("bundle="), Path(sys.argv[2]))
