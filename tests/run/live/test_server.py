"""The page's address: the port that was asked for or a clear word, and a browser where there is one."""

import socket
import sys
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest

from robo_ppo.errors import UserError
from robo_ppo.run.live.server import require_viser, serve
from tests.run.live.browsing import wait_for

HERE = "127.0.0.1"


@pytest.fixture
def taken() -> Generator[int]:
    """A port that someone listens on."""
    with socket.socket() as listener:
        listener.bind((HERE, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_page_is_served_where_it_says(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    with serve(HERE, 0, show=True, title="uav_nav, agent=zero") as server:
        told = capsys.readouterr().out
        url = f"http://{HERE}:{server.get_port()}"
        assert told == f"uav_nav, agent=zero: {url} (Ctrl-C ends)\n"  # and nothing of viser's own
        with urllib.request.urlopen(url, timeout=10) as page:
            assert b"<html" in page.read()
    assert capsys.readouterr() == ("", "")
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=1)


def test_a_port_in_use_is_named(taken: int) -> None:
    expected = f"port {taken} of 127.0.0.1 is in use; take another one, as port={taken + 1}"
    with pytest.raises(UserError, match=expected), serve(HERE, taken, show=False, title=""):
        pass


@pytest.mark.parametrize(
    ("host", "port", "message"),
    [
        (HERE, 65536, "port=65536 must be from 0 to 65535"),
        (HERE, -1, "port=-1 must be from 0 to 65535"),
        ("nowhere.invalid", 8080, "host=nowhere.invalid is not known; take 127.0.0.1"),
        ("192.0.2.1", 8080, "cannot listen at host=192.0.2.1 port=8080"),  # of no machine: RFC 5737
    ],
)
def test_an_address_that_cannot_be_had_is_refused(host: str, port: int, message: str) -> None:
    with pytest.raises(UserError, match=message), serve(host, port, show=False, title=""):
        pass


def test_the_page_is_opened_in_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f"#!{sys.executable}\nimport sys\nopen({str(note)!r}, 'w').write(sys.argv[1])\n")
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    with serve(HERE, 0, show=True, title="") as server:
        wait_for(lambda: note.is_file() and note.read_text() == f"http://{HERE}:{server.get_port()}", "it is opened")


def test_a_browser_that_does_not_start_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BROWSER", "/nowhere/browser")
    monkeypatch.setenv("PATH", "")
    with serve(HERE, 0, show=True, title="it"):
        assert capsys.readouterr().out.startswith("it: http://127.0.0.1:")


def test_without_viser_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(UserError, match=r"the live view needs viser: pip install 'robo-ppo\[view\]'"):
        require_viser()
