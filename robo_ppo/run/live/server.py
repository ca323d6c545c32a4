"""Opens a page for a browser: on the port that was asked for and no other, and tells where it is.

with serve("127.0.0.1", 8080, show=True, title="uav_nav") as server:
    server.scene.add_frame("/world")
"""

import contextlib
import errno
import importlib.util
import io
import logging
import os
import socket
import sys
import webbrowser
from collections.abc import Generator
from typing import TYPE_CHECKING

from robo_ppo.errors import UserError

if TYPE_CHECKING:
    import viser


def require_viser() -> None:
    """Refuse where the page's library is not installed."""
    if importlib.util.find_spec("viser") is None:
        raise UserError("the live view needs viser: pip install 'robo-ppo[view]'")


@contextlib.contextmanager
def serve(host: str, port: int, *, show: bool, title: str) -> Generator["viser.ViserServer"]:
    """A server until the end of the block; with `show`, the page is opened in a browser if there is one.

    Port 0 is any free one. A `UserError` where the address cannot be had; viser by itself would take another port.
    """
    require_viser()
    import viser

    _refuse_unless_free(host, port)
    # It reports on every connection, and on those that browsers open ahead and never use as failures.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    with _quiet():
        server = viser.ViserServer(host=host, port=port, verbose=False)
    try:
        if port not in (0, server.get_port()):
            raise _in_use(host, port)
        shown = "localhost" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{server.get_port()}"
        print(f"{title}: {url} (Ctrl-C ends)", flush=True)
        if show:
            _open(url)
        yield server
    finally:
        with _quiet():
            server.stop()


def _refuse_unless_free(host: str, port: int) -> None:
    """A `UserError` where nobody can listen at this address."""
    if not 0 <= port < 65536:
        raise UserError(f"port={port} must be from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name == "posix":  # where others mean by it that two may share a port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror as error:
        raise UserError(f"host={host} is not known; take 127.0.0.1, or 0.0.0.0 for every network") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _in_use(host, port) from error
        hint = "ports below 1024 are the system's" if error.errno == errno.EACCES else "take 127.0.0.1 or 0.0.0.0"
        raise UserError(f"cannot listen at host={host} port={port}: {error.strerror}; {hint}") from error


def _in_use(host: str, port: int) -> UserError:
    return UserError(f"port {port} of {host} is in use; take another one, as port={port + 1 if port < 65535 else 8081}")


def _open(url: str) -> None:
    """Show the page; where there is no browser, its address has been printed."""
    is_linux_without_screen = sys.platform.startswith("linux") and not any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    )
    if not is_linux_without_screen:  # a browser of the terminal would take the terminal
        with contextlib.suppress(webbrowser.Error, OSError):
            webbrowser.open(url)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep what viser says of itself from the terminal."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
