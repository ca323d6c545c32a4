"""A headless Chromium that a test drives: it opens pages, clicks where a person would, and takes pictures.

    with Browser(profile_folder) as browser:
        tab = browser.open("http://127.0.0.1:8080")
        tab.click_text("Pause")
        picture = tab.picture()

It speaks the DevTools protocol over a web socket, whose library comes with viser; WebGL is computed on the processor.
"""

import base64
import io
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from PIL import Image
from websockets.sync.client import ClientConnection, connect

QUIET = (
    "--headless --no-sandbox --hide-scrollbars --no-first-run --disable-background-networking --disable-sync "
    "--disable-component-update --disable-extensions --mute-audio --use-gl=angle --use-angle=swiftshader "
    "--enable-unsafe-swiftshader --remote-debugging-port=0"
).split()
PATIENCE = 30.0  # s


def find_chromium() -> str | None:
    """The browser's program, if there is one on this machine."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def wait_for(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Wait until something holds (or is not None), and return it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience:g} s")


class Browser:
    """Chromium with a profile of its own; a context manager, since it must be closed."""

    def __init__(self, program: str, profile: Path, size: tuple[int, int] = (1280, 800)) -> None:
        """Start it with windows of `size` (width, height) pixels."""
        command = [program, *QUIET, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        told = profile / "DevToolsActivePort"
        wait_for(lambda: told.is_file() and told.read_text().count("\n"), "the browser starts")
        self._port = told.read_text().split("\n")[0]
        self._size = size

    def __enter__(self) -> Self:
        """It runs already."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close it, all tabs included."""
        self._process.terminate()
        self._process.wait(PATIENCE)

    def open(self, url: str) -> "Tab":
        """A new tab with a page."""
        request = urllib.request.Request(f"http://127.0.0.1:{self._port}/json/new?about:blank", method="PUT")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            address = json.load(answer)["webSocketDebuggerUrl"]
        tab = Tab(connect(address, max_size=None), self._size)
        tab.go(url)
        return tab


class Tab:
    """One page."""

    def __init__(self, connection: ClientConnection, size: tuple[int, int]) -> None:
        self._connection, self._numbers = connection, itertools.count(1)
        self.errors: list[str] = []  # exceptions that the page did not handle
        self.requests: list[str] = []  # addresses that it asked for, once watched
        self.complaints: list[str] = []  # what the browser said of it, once watched: of policies, of missing files
        self._call("Page.enable")
        self._call("Runtime.enable")
        self.resize(*size)

    def close(self) -> None:
        """Close the tab."""
        self._call("Page.close")
        self._connection.close()

    def go(self, url: str) -> None:
        """Open a page in this tab."""
        self._call("Page.navigate", url=url)

    def watch(self) -> None:
        """Note from now on what the page asks for, and what the browser has to say of it."""
        self._call("Network.enable")
        self._call("Log.enable")

    def resize(self, width: int, height: int) -> None:
        """Give the page another size, in pixels."""
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._call("Emulation.setDeviceMetricsOverride", **shape)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise AssertionError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def text(self) -> str:
        """All that can be read in the page."""
        return self.evaluate("document.body?.innerText ?? ''")

    def wait_for_text(self, text: str, patience: float = PATIENCE) -> None:
        """Wait until the page shows a text."""
        wait_for(lambda: text.lower() in self.text().lower(), f"'{text}' in the page", patience)

    def click(self, selector: str, text: str | None = None) -> None:
        """Click in the middle of the first visible element that a selector finds (and that shows just this text)."""
        find = f"""(() => {{
            const wanted = {json.dumps(text)};
            const fits = e => wanted === null || (e.innerText || '').trim().toLowerCase() === wanted.toLowerCase();
            const seen = e => e.getBoundingClientRect().width > 0;
            const found = [...document.querySelectorAll({json.dumps(selector)})].find(e => fits(e) && seen(e));
            if (!found) return null;
            found.scrollIntoView({{block: 'center'}});
            const box = found.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
        self.click_at(*wait_for(lambda: self.evaluate(find), f"{selector} {text or ''} to click"))

    def write(self, label: str, text: str) -> None:
        """Replace what stands in the input that a label belongs to."""
        self.evaluate(
            f"""(() => {{
                const label = [...document.querySelectorAll('label')].find(e => e.innerText === {json.dumps(label)});
                const input = document.getElementById(label.htmlFor);
                input.focus();
                input.select();
            }})()"""
        )
        self._call("Input.insertText", text=text)
        self.evaluate("document.activeElement.blur()")

    def click_at(self, x: float, y: float) -> None:
        """Click at a place, in pixels."""
        self.drag([(x, y)])

    def drag(self, way: list[tuple[float, float]]) -> None:
        """Press the left button at the first place, move to the others, release it at the last."""
        self._mouse("mouseMoved", *way[0])
        self._mouse("mousePressed", *way[0])
        for place in way[1:]:
            self._mouse("mouseMoved", *place)
        self._mouse("mouseReleased", *way[-1])

    def press(self, key: str, code: str) -> None:
        """Press and release a key: `press("p", "KeyP")`."""
        typed = {"text": key} if len(key) == 1 else {}
        self._call("Input.dispatchKeyEvent", type="keyDown", key=key, code=code, **typed)
        self._call("Input.dispatchKeyEvent", type="keyUp", key=key, code=code)

    def picture(self) -> Image.Image:
        """What the tab shows now."""
        shot = self._call("Page.captureScreenshot", format="png")
        return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")

    def _mouse(self, kind: str, x: float, y: float) -> None:
        held = kind != "mouseReleased" and kind != "mouseMoved"
        button = "none" if kind == "mouseMoved" else "left"
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, buttons=int(held), clickCount=1)

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._connection.recv(timeout=PATIENCE))
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"]))
            elif answer.get("method") == "Network.requestWillBeSent":
                self.requests.append(answer["params"]["request"]["url"])
            elif answer.get("method") == "Log.entryAdded":
                self.complaints.append(answer["params"]["entry"]["text"])
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]
