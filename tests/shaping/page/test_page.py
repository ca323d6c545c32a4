"""The page of a refinement: complete, safe whatever a model wrote, and never in the way of the loop."""

import base64
import dataclasses
import html
import json
import re
from collections.abc import Generator
from pathlib import Path

import pytest
from PIL import Image

from robo_ppo import atomic
from robo_ppo.errors import UserError
from robo_ppo.shaping import record
from robo_ppo.shaping.llm.model import Usage
from robo_ppo.shaping.packets.packet import Behaviour, Packet, PictureFile, Term, write_packet
from robo_ppo.shaping.page.report import try_to_write, write_refine_report
from robo_ppo.shaping.page.text import difference, visible
from robo_ppo.shaping.page.timeline import APART, Entry, Turn, timeline
from robo_ppo.shaping.record import Candidate, Comparison, Refinement, Round, Rung, Share, Verdict
from tests.run.live.browsing import Browser, Tab, find_chromium, wait_for
from tests.run.test_report import Page

GIVEN = '"""Given."""\nversion = 1\nweights = {"progress": 1.0, "failure": 30.0}\n'
BETTER = '"""Better."""\nversion = 1\nweights = {"progress": 4.0, "failure": 30.0}\n'
HOSTILE = (
    "</pre></details><script>document.title = 'ran'; alert(1)</script>\n"
    "<img src=x onerror=\"document.title='ran'\"><svg onload=alert(2)>\n"
    "]]> --> </style></title></textarea> {{ 7 * 7 }} {% raw %} &lt;b&gt;\n"
    '"><a href="javascript:document.title=\'ran\'" onclick=alert(3)>click</a>\n'
    "<iframe src='http://127.0.0.1:9/'></iframe><meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>\n"
    "<link rel=stylesheet href=http://127.0.0.1:9/x><base href=http://127.0.0.1:9/><form action=http://127.0.0.1:9/>\n"
    "safe\u202e)(tnemngised \u2066x\u2069 zero\u200bwidth \x1b[2J \x00 bell\x07\n"
)


def share(value: float, episodes: int = 512) -> Share:
    return Share(value, value - 0.03, value + 0.03, episodes)


def rungs(*values: float) -> list[Rung]:
    return [Rung((number + 1) * 1_000_000, 60.0 * (number + 1), share(value)) for number, value in enumerate(values)]


def candidate(name: str, *values: float, program: str = BETTER, parent: str = "given", **more: object) -> Candidate:
    verdicts = [Verdict("language", True), Verdict("ranking", True, "margin 0.14")]
    one = Candidate(name, parent, "model", "pays more for progress", program, f"candidates/{name}", verdicts)
    return dataclasses.replace(one, rungs=rungs(*values), **more)


def packet(text: str = "episode 3: timeout after 10.0 s") -> Packet:
    return Packet(
        version=1,
        task="uav_nav",
        policy_steps=1e6,
        training_steps=2e6,
        success=share(0.6, 200),
        outcomes={"timeout": 80, "success": 120},
        return_correlation=0.5,
        metrics={},
        terms=[Term("progress", 4.0, None, 0.75, 0.0, 0.9, 1.0, 0.1), Term("failure", 30.0, None, 0.25, 1, 0, 0, -1)],
        behaviour=Behaviour({}, 0.01, 0.02, 4.5, 4.0, None, None),
        curves={},
        failures=[],
        files=[PictureFile("flights", "flights.png", text)],
        notes=[text],
    )


def refinement() -> Refinement:
    """Two rounds, of which the second brought the winner."""
    given = dataclasses.replace(candidate("given", 0.1, 0.14, program=GIVEN, parent=""), origin="given")
    first = [
        candidate("r01_c01", 0.2, 0.4),
        candidate("r01_c02", 0.21, verdicts=[Verdict("language", True)]),
        candidate("r01_c03", verdicts=[Verdict("language", False, "line 3: 'torch' is not known here")]),
        candidate("r01_c04", 0.3, 0.5, verdicts=[Verdict("rules", False, "stalling: 31 % of all episodes")]),
    ]
    second = [candidate("r02_c01", 0.4, 0.8, parent="r01_c01", program=BETTER.replace("4.0", "6.0"))]
    rounds = [Round(1, first, "r01_c01", Usage(1, 14210, 900, 0.04), 600.0), Round(2, second, "r02_c01", seconds=60.0)]
    return Refinement(
        "uav_nav",
        "reward",
        "openai",
        given,
        rounds,
        winner="r02_c01",
        comparison=Comparison([0, 1, 2], [0.31, 0.28, 0.35], [0.95, 0.93, 0.96], 0.633, 0.552, 0.714),
        test_before=share(0.312, 3000),
        test_after=share(0.957, 3000),
        usage=Usage(1, 14210, 900, 0.04),
        seconds=1500.0,
        stopped_by="rounds",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole refinement."""
    place = tmp_path / "runs" / "refine_uav_nav" / "2026-11-22_06-36-51"
    place.mkdir(parents=True)
    (place / "config.yaml").write_text("runs: /home/someone/runs\ntask: {name: uav_nav}\nrefine: {rounds: 3}\n")
    (place / "best_reward.py").write_text(BETTER)
    (place / "policy.onnx").write_text("a policy")
    fill(place, refinement())
    return place


def fill(place: Path, whole: Refinement) -> None:
    """Write a record, and what lies in its candidates' folders."""
    record.save(whole, place)
    for one in whole.everyone:
        own = place / "candidates" / one.name
        own.mkdir(parents=True, exist_ok=True)
        (own / "reward.py").write_text(one.program)
        if len(one.rungs) == 2:
            write_packet(packet(), own)
            Image.new("RGB", (30, 20), "#cde").save(own / "flights.png")
        for seed in (0, 1, 2) if one.name in ("given", whole.winner) else (0,) * bool(one.rungs):
            training = own / f"seed_{seed}"
            training.mkdir()
            rows = [{"step": n * 500_000, "train/success": n / 10, "validation/success": n / 8} for n in range(1, 5)]
            (training / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 25')
            if seed == 1:
                (training / "evaluation").mkdir()
                (training / "evaluation" / "video.mp4").write_bytes(b"not really a film")


def page_of(place: Path) -> Page:
    return Page(write_refine_report(place).read_text(encoding="utf-8"))


def changed(place: Path, **fields: object) -> Page:
    """The page after the record was changed."""
    record.save(dataclasses.replace(record.load(place), **fields), place)
    return page_of(place)


def test_the_page_holds_everything(folder: Path) -> None:
    page = page_of(folder)
    for words in (
        "31.2 % → 95.7 % success",
        "In 3,000 test episodes: 28.2 % to 34.2 % with the given reward, 92.7 % to 98.7 % with r02_c01",
        "+63.3 points 95 % interval +55.2 to +71.4, over 3 paired seeds. The interval lies above zero.",
        "given : test episodes, trained with seed 1 r02_c01 : test episodes, trained with seed 1",
        "Round 1 r01_c01 leads; 4 proposed, 1 refused, 1 flagged",
        "python train.py task=uav_nav reward=runs/refine_uav_nav/2026-11-22_06-36-51/best_reward.py",
        "python evaluate.py bundle=runs/refine_uav_nav/2026-11-22_06-36-51/policy.onnx",
        "r01_c03 refused: language",
        "language line 3: 'torch' is not known here",
        "r01_c04 flagged: rules",
        "stalling: 31 % of all episodes",
        'version = 1 - weights = {"progress": 4.0, "failure": 30.0} + weights = {"progress": 6.0, "failure": 30.0}',
        "Derived from r01_c01",
        "progress 4 75.0 %",
        "Success 120 Timeout 80",
        "Round 1 1 14.2k / 900 0.04 10.0",
        "All rounds were gone through.",
    ):
        assert words in page.text, words
    assert page.tags.count("video") == 2 and page.tags.count("img") == 4 + 3
    assert "Not in this page" not in page.text
    # Three trainings of 2 M steps each of the given reward and the winner, three of a candidate, of which one stopped.
    assert "18,000,000 environment steps" in page.text


def test_the_page_needs_nothing_from_outside(folder: Path) -> None:
    page = page_of(folder)
    for address in page.addresses:
        assert re.match(r"(data:(image/png|video/mp4);base64,|#c\d+$)", address), address[:80]
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.tags)
    assert str(folder) not in page.text and "/home" not in page.text


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"winner": "given", "test_after": share(0.312, 3000)},
            "Nothing better was found The given reward stays: 31.2",
        ),
        ({"test_after": None, "winner": ""}, "In the final r02_c01 leads with 80.0 % success in validation"),
        ({"test_after": None, "stopped_by": ""}, "Round 2 of 3 r02_c01 leads with 80.0 %"),
        ({"test_after": None, "stopped_by": ""}, "This refinement has not ended: it goes on, or it was killed."),
        ({"test_after": None, "stopped_by": "SIGTERM"}, "It was stopped by SIGTERM. What was stopped goes on with"),
        ({"test_after": None, "stopped_by": "", "rounds": [], "comparison": None}, "The given reward trains"),
        ({"llm": "none"}, "proposed by a search, without a language model"),
        ({"usage": Usage(3, 10, 10, None)}, "Cost unknown"),
        ({"stopped_by": "budget: 61 minutes"}, "No further round: budget: 61 minutes."),
        ({"comparison": Comparison([0, 1, 2], [0.3] * 3, [0.4] * 3, 0.1, -0.2, 0.4)}, "no difference was shown"),
        ({"comparison": Comparison([0, 1, 2], [0.3] * 3, [0.1] * 3, -0.2, -0.3, -0.1)}, "it is worse"),
        ({"comparison": Comparison([], [], [], 0.0, 0.0, 0.0)}, "over 0 paired seeds"),
        ({"test_before": None}, "? → 95.7 % success"),
    ],
)
def test_how_it_stands_is_said(folder: Path, fields: dict[str, object], words: str) -> None:
    assert words in changed(folder, **fields).text


def test_a_leader_that_the_final_flags_is_marked_so(folder: Path) -> None:
    rounds = refinement().rounds
    rounds[1].candidates[0].verdicts.append(Verdict("final", False, "stalling: 40 % of all episodes"))
    page = changed(folder, rounds=rounds, winner="given")
    assert "r02_c01 flagged: final led round 2 80.0 %" in page.text
    content = (folder / "refine_report.html").read_text(encoding="utf-8")
    assert re.search(r'class="dot flagged" href="#c5"', content)


@pytest.mark.parametrize("name", ["refinement.json", "config.yaml", "candidates/given/packet.json"])
@pytest.mark.parametrize("content", [b"{", b"[1, 2]", b"\xff\xfe\x00", b"", b"[" * 5_000, None])
def test_missing_and_damaged_files_are_named(folder: Path, name: str, content: bytes | None) -> None:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    page = page_of(folder)
    if content is None and name.endswith("packet.json"):
        assert "There is no diagnosis of it." in page.text
    else:
        assert f"{name} is missing" in page.text or re.search(f"{name} (could not be read|is damaged)", page.text)
    assert "r01_c01" in page.text and '"progress": 4.0' in page.text


def test_an_empty_folder_gives_a_page_and_none_is_a_users_mistake(tmp_path: Path) -> None:
    page = page_of(tmp_path)
    assert "A refinement without its record refinement.json is missing." in page.text
    with pytest.raises(UserError, match="no refinement at"):
        write_refine_report(tmp_path / "nowhere")


def test_what_lies_outside_is_not_read(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    write_packet(packet("a secret"), outside)
    (folder.parent / "secret.png").write_bytes(b"secret")
    inside = dataclasses.replace(packet(), files=[PictureFile("x", "../../../secret.png", "a picture")])
    write_packet(inside, folder / "candidates" / "given")
    stranger = candidate("../../outside", 0.1, 0.2)
    absolute = candidate("r03_c02", 0.1, 0.2, folder=str(outside))
    page = changed(folder, rounds=[Round(1, [stranger, absolute])])
    assert "a secret" not in page.text
    assert page.tags.count("img") == 2  # the curves of the round and of the final
    assert base64.b64encode(b"secret").decode() not in (folder / "refine_report.html").read_text()
    assert "candidates/given/packet.json is damaged" in page.text  # a packet names no picture elsewhere


def test_a_large_film_is_linked(folder: Path) -> None:
    film = "candidates/given/seed_1/evaluation/video.mp4"
    with (folder / film).open("r+b") as file:
        file.truncate(20_000_000)
    page = page_of(folder)
    assert page.tags.count("video") == 1
    assert f"./{film}" in page.addresses
    assert f"{film} is too large to be embedded (20 MB)" in page.text


def test_the_loop_goes_on_without_its_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(atomic, "write", full)
    try_to_write(folder)
    assert "refine_report.html could not be written: OSError: no space left" in capsys.readouterr().out


def test_dots_never_touch_and_the_leaders_line_goes_on() -> None:
    names = [f"c{number}" for number in range(30)]
    entries = [Entry(number, name, "trained", number % 7 / 7) for number, name in enumerate(names)]
    gone = [Entry(99, "gone", "refused", None), Entry(98, "odd", "trained", float("nan"))]
    shown = timeline([Turn("1", "", entries, "c3"), Turn("2", "", gone, "c3"), Turn("3", "", [], "unknown")])
    dots = [dot for row in shown.rows for dot in row.dots]
    assert len(dots) == 30 and shown.rows[1].aside == gone
    for one in dots:
        assert all(one is two or one.y != two.y or abs(one.x - two.x) >= APART for two in dots)
    for row in shown.rows:
        assert all(row.top < dot.y < row.top + row.height for dot in row.dots)
    across = {point.split(",")[0] for point in shown.line.split()}
    assert len(shown.line.split()) == 2 and len(across) == 1  # c3 still leads after the second round


def test_differences_of_programs() -> None:
    lines = difference(GIVEN, BETTER) or []
    assert [line.text for line in lines if line.kind == "del"] == [
        '"""Given."""',
        'weights = {"progress": 1.0, "failure": 30.0}',
    ]
    assert [line.text for line in lines if line.kind == "ins"] == BETTER.splitlines()[::2]
    assert [line.text for line in lines if line.kind == "same"] == ["version = 1"]
    assert difference(GIVEN, GIVEN) == []
    assert difference("x\n" * 5000, "y\n" * 5000) is None


def test_nothing_stays_invisible() -> None:
    shown = visible(candidate("a\u202eb", reason="\x00\u200b"))
    assert (shown.name, shown.reason) == (r"a\u202eb", r"\x00\u200b")


def hostile(place: Path) -> str:
    """A refinement in which everything that can be text is an attack; what a reader shall see of it."""
    text = HOSTILE + "x" * 300
    whole = refinement()
    verdicts = [Verdict("ranking", False, text), Verdict(text, False, text)]
    bad = candidate("r01_c01", program=text, reason=text, origin=text, verdicts=verdicts)
    worse = candidate(text, 0.2, 0.4, program=text + "\n<b>more</b>", parent="r01_c01", folder="candidates/r01_c02")
    whole = dataclasses.replace(whole, task=text, target=text, llm=text, winner=text, stopped_by=text)
    whole.rounds[:] = [Round(1, [bad, worse], text)]
    record.save(whole, place)
    own = place / "candidates" / "r01_c02"
    Image.new("RGB", (30, 20), "#cde").save(own / "flights.png")
    terms = [dataclasses.replace(packet().terms[0], name=text, curve=None)]
    write_packet(dataclasses.replace(packet(text), terms=terms, outcomes={text: 3}), own)
    return "document.title = 'ran'"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Browser]:
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium on this machine")
    with Browser(program, tmp_path_factory.mktemp("chromium"), (1200, 900)) as found:
        yield found


def opened(browser: Browser, page: Path) -> Tab:
    """A page with all its cards open, watched from the start."""
    tab = browser.open("about:blank")
    tab.watch()
    tab.go(page.as_uri())
    wait_for(lambda: tab.evaluate("document.readyState") == "complete" and "What it cost" in tab.text(), "the page")
    tab.evaluate("document.querySelectorAll('details').forEach(card => card.open = true)")
    return tab


@pytest.mark.parametrize("policy", [True, False], ids=["with its policy", "escaping alone"])
def test_what_a_model_wrote_is_text(folder: Path, browser: Browser, policy: bool) -> None:
    seen = hostile(folder)
    page = write_refine_report(folder)
    content = page.read_text(encoding="utf-8")
    assert html.escape(seen, quote=False).replace("'", "&#39;") in content and "<script" not in content
    if not policy:
        page.write_text(re.sub(r"<meta http-equiv=.*?>", "", content, count=1), encoding="utf-8")
    tab = opened(browser, page)
    text = tab.text()
    assert tab.evaluate("document.title").startswith("Refinement of ")
    assert text.count(seen) >= 4 and "{{ 7 * 7 }}" in text and r"safe\u202e)(" in text and r"\x00" in text
    assert not set("\u202e\u2066\u200b\x1b\x07") & set(text)
    assert (
        tab.evaluate("document.querySelectorAll('script, iframe, form, link, base, [onerror], [onload]').length") == 0
    )
    assert tab.evaluate("[...document.links].every(link => link.getAttribute('href').startsWith('#c'))")
    assert all(address.startswith(("data:", page.as_uri())) for address in tab.requests) and len(tab.requests) > 1
    assert tab.errors == tab.complaints == []
    tab.close()


def test_its_policy_stops_scripts_that_escaping_missed(folder: Path, browser: Browser) -> None:
    page = write_refine_report(folder)
    attack = "<script>document.title='ran'</script><img src='data:,' onerror=\"document.title='ran'\">"
    page.write_text(page.read_text(encoding="utf-8").replace("<main>", f"<main>{attack}"), encoding="utf-8")
    tab = opened(browser, page)
    assert tab.evaluate("document.title") == "Refinement of reward: uav_nav"
    assert any("Content Security Policy" in complaint for complaint in tab.complaints)
    tab.close()


@pytest.mark.parametrize("attacked", [False, True])
def test_no_width_scrolls_sideways(folder: Path, browser: Browser, attacked: bool) -> None:
    if attacked:
        hostile(folder)
    tab = opened(browser, write_refine_report(folder))
    for width in (320, 390, 1200):
        tab.resize(width, 800)
        assert tab.evaluate("document.documentElement.scrollWidth") == width
    tab.close()


def test_a_dot_opens_its_card(folder: Path, browser: Browser) -> None:
    tab = browser.open(write_refine_report(folder).as_uri())
    tab.wait_for_text("What it cost")
    assert not tab.evaluate("document.querySelector('#c1').checkVisibility()")
    tab.click(".plot a[href='#c1']")
    wait_for(lambda: tab.evaluate("document.querySelector('#c1').checkVisibility()"), "the card opens")
    tab.close()
