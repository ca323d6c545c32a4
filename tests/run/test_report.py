"""The report: complete, self-contained, safe, and readable in a real browser at every width and on paper."""

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from robo_ppo.errors import UserError
from robo_ppo.run.report import write_report

CONFIG = """\
seed: 3
runs: /home/someone/secret/runs
robot: {name: crazyflie}
task:
  name: uav_nav
  observation:
    policy: {goal_offset: {}, gravity_direction: {}, a_signal_with_a_really_long_name_that_goes_on_and_on: {}}
    critic: {wind: {}}
    history: 4
  measurements:
    velocity: {noise: 0.05, delay: [0.0, 0.02]}
reward:
  progress: {weight: 4.0}
  clearance_margin: {weight: 1.5, margin: 0.25}
"""
EVALUATION = {
    "task": "uav_nav",
    "policy": "policy.onnx",
    "split": "test",
    "episodes": 1000,
    "success": {"value": 0.963, "low": 0.9494, "high": 0.973, "count": 963},
    "outcomes": {"timeout": 16, "obstacle": 20, "ground": 1, "success": 963},
    "metrics": {
        "time_to_goal": {"mean": 4.31, "p50": 4.2, "p95": 6.3, "unit": "s"},
        "smallest_clearance": {"mean": 0.2121, "p50": None, "unit": "m"},
        "path_length_ratio": {"mean": 1.17, "unit": "1"},
    },
    "randomization": {"parameters": {"mass": [0.9, 1.1]}, "measurement_errors": 1.0},
    "scenes": {"flying_straight_would_succeed": 0.381},
    "training": {"steps": 16000000, "seconds": 190.0, "seed": 0},
}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A finished run."""
    folder = tmp_path / "runs" / "uav_nav" / "2026-11-21_10-30-00"
    (folder / "evaluation").mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "versions.json").write_text(json.dumps({"torch": "2.13.0", "machine": {"cpu": "2 cores"}}))
    (folder / "metrics.jsonl").write_text('{"step": 1000, "seconds": 2.0, "validation/success": 0.5}\n{"step": 20')
    (folder / "evaluation" / "metrics.json").write_text(json.dumps(EVALUATION))
    (folder / "evaluation" / "video.mp4").write_bytes(b"not really a film")
    for name, size in {"trajectories": (1740, 1920), "learning_curves": (1980, 810), "an_extra": (300, 200)}.items():
        Image.new("RGB", size, "#cde").save(folder / "evaluation" / f"{name}.png")
    return folder


class Page(HTMLParser):
    """What matters of a page: its text, its tags, and every address in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "poster", "srcset")]

    def handle_data(self, data: str) -> None:
        self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_report_holds_everything(run_dir: Path) -> None:
    path = write_report(run_dir)
    assert path == run_dir / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    for words in (
        "96.3 % success",
        "963 of 1,000 test episodes, 95 % interval 94.9 % to 97.3 %",
        "16,000,000",
        "3 min 10 s",
        "Obstacle 20 2.0 % 1.3 % – 3.1 %",
        "Time to goal 4.31 4.2 6.3 s",
        "Smallest clearance 0.212 – – m",
        "Path length ratio 1.17 – – Learning curves",
        "progress 4",
        "clearance_margin 1.5 margin 0.25",
        "goal_offset gravity_direction",
        "of the last 4 control steps",
        "velocity noise 0.05, delay 0 – 0.02 s",
        "mass 0.9 – 1.1",
        "Flying straight would succeed: 38.1 % of the scenes.",
        "python train.py task=uav_nav seed=3",
        "python evaluate.py run=runs/uav_nav/2026-11-21_10-30-00 episodes=1000",
        "torch 2.13.0 machine.cpu 2 cores",
        "An extra",
    ):
        assert words in page.text
    assert page.tags.count("img") == 3 and page.tags.count("video") == 1
    assert "Not in this report" not in page.text
    assert page.text.index("Success 963") < page.text.index("Obstacle 20") < page.text.index("Timeout 16")


def test_an_evaluation_of_a_file_is_found_again_too(run_dir: Path) -> None:
    folder = run_dir.parents[1] / "uav_nav_evaluation" / run_dir.name
    shutil.copytree(run_dir, folder)
    text = Page(write_report(folder).read_text(encoding="utf-8")).text
    assert f"evaluate.py run=runs/uav_nav_evaluation/{run_dir.name} " in text


def test_report_needs_nothing_from_outside(run_dir: Path) -> None:
    page = Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert len(page.addresses) == 4
    assert all(re.match(r"data:(image/png|video/mp4);base64,", address) for address in page.addresses)
    assert "script" not in page.tags and "link" not in page.tags


def test_text_is_escaped(run_dir: Path) -> None:
    attack = "</style><script>alert(1)</script>"
    config = CONFIG.replace("progress", f"'{attack}'").replace("crazyflie", f"'{attack}'")
    (run_dir / "config.yaml").write_text(config)
    (run_dir / "versions.json").write_text(json.dumps({attack: attack}))
    text = write_report(run_dir).read_text(encoding="utf-8")
    assert "<script" not in text
    assert html.escape(attack) in text


def test_folder_of_runs_is_not_given_away_in_the_commands(run_dir: Path) -> None:
    (run_dir / "config.yaml").write_text(CONFIG.replace("reward:", "other:"))
    text = write_report(run_dir).read_text(encoding="utf-8")
    assert "run=/home" not in text and str(run_dir) not in text


@pytest.mark.parametrize(
    "name",
    [
        "config.yaml",
        "versions.json",
        "metrics.jsonl",
        "evaluation/metrics.json",
        "evaluation/video.mp4",
        "evaluation/trajectories.png",
        "evaluation/learning_curves.png",
    ],
)
def test_a_missing_file_is_named(run_dir: Path, name: str) -> None:
    (run_dir / name).unlink()
    page = Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert f"Not in this report: {name} is missing." in page.text


@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"\xff\xfe\x00", b""])
@pytest.mark.parametrize("name", ["config.yaml", "versions.json", "evaluation/metrics.json"])
def test_a_damaged_file_is_named(run_dir: Path, name: str, content: bytes) -> None:
    (run_dir / name).write_bytes(content)
    page = Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert f"{name} could not be read" in page.text


def test_without_an_evaluation_the_last_validation_counts(run_dir: Path) -> None:
    shutil.rmtree(run_dir / "evaluation")
    page = Page(write_report(run_dir).read_text(encoding="utf-8"))
    assert "50.0 % validation success Not evaluated on test episodes yet." in page.text


def test_an_empty_folder_gives_a_page(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "Not evaluated yet." in page.text
    assert "evaluation/video.mp4 is missing" in page.text


def test_no_folder_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run at"):
        write_report(tmp_path / "nowhere")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that starts a headless Chromium which talks to nobody."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    profile = tmp_path_factory.mktemp("chromium")
    return [
        found,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        *quiet,
        f"--user-data-dir={profile}",
    ]


def browse(browser: list[str], *arguments: str) -> str:
    """Run the browser once and return what it prints."""
    run = subprocess.run([*browser, *arguments], capture_output=True, text=True, timeout=120, check=True)
    return run.stdout


def test_browser_shows_it(run_dir: Path, tmp_path: Path, browser: list[str]) -> None:
    picture = tmp_path / "desktop.png"
    browse(browser, "--window-size=1200,1600", f"--screenshot={picture}", write_report(run_dir).as_uri())
    with Image.open(picture) as shot:
        assert shot.size == (1200, 1600)
        colours = shot.convert("RGB").getcolors(1 << 20)
    assert colours is not None and len(colours) > 50
    assert any(colour == (0x1F, 0x9D, 0x55) for _, colour in colours)  # the bar of successes


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_no_width_scrolls_sideways(run_dir: Path, tmp_path: Path, browser: list[str], width: int) -> None:
    """The page within a frame of this width; the frame's owner measures it."""
    page = write_report(run_dir).read_text(encoding="utf-8")
    page = re.sub(r"<meta http-equiv=.*?>", "", page).replace("<details>", "<details open>")
    script = "onload = () => { const f = document.querySelector('iframe').contentDocument.documentElement;"
    script += "document.title = `width ${f.scrollWidth} height ${f.scrollHeight}`; }"
    frame = f'<iframe style="width:{width}px;height:800px;border:0" srcdoc="{html.escape(page)}"></iframe>'
    (tmp_path / "frame.html").write_text(f"<!DOCTYPE html>{frame}<script>{script}</script>", encoding="utf-8")
    shown = browse(browser, "--window-size=1400,900", "--dump-dom", (tmp_path / "frame.html").as_uri())
    measured = re.search(r"<title>width (\d+) height (\d+)</title>", shown)
    assert measured is not None
    assert int(measured[1]) == width
    assert int(measured[2]) > 1500


def test_it_prints(run_dir: Path, tmp_path: Path, browser: list[str]) -> None:
    paper = tmp_path / "report.pdf"
    browse(browser, f"--print-to-pdf={paper}", write_report(run_dir).as_uri())
    content = paper.read_bytes()
    assert content.startswith(b"%PDF-")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 8
