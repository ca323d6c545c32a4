"""A Python that has everything imported already: a worker of Isaac Gym's double starts in it at once.

    settings = IsaacGymSettings(python=warm_python(), environment=..., device="cpu")

Importing torch takes seconds, which is much for each of many small tests. The program that `warm_python` returns hands
its arguments and file descriptors to a process that imported worker and double once, and forks for every worker.
`python warm.py` alone is that process; it ends when its standard input does.
"""

import array
import atexit
import importlib.util
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

DOUBLE = Path(__file__).parent
WORKER = DOUBLE.parents[2] / "robo_ppo" / "sim" / "isaac_gym" / "worker.py"

# What runs in place of Python: hands over two descriptors, its output and itself, and stays until the worker ends.
_LAUNCHER = """#!{python} -IS
import array, os, socket, sys
address = socket.socket(socket.AF_UNIX)
address.connect({address!r})
descriptors = array.array("i", [int(sys.argv[2]), int(sys.argv[3]), 1])
address.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
for descriptor in descriptors[:2]:
    os.close(descriptor)
address.recv(1)
"""


@cache
def warm_python() -> str:
    """Path of a program that stands for a Python interpreter, for workers alone."""
    folder = Path(tempfile.mkdtemp(prefix="robo_ppo-warm-"))
    address, launcher = str(folder / "socket"), folder / "python"
    launcher.write_text(_LAUNCHER.format(python=sys.executable, address=address))
    launcher.chmod(0o755)
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    server = subprocess.Popen(
        [sys.executable, __file__, address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **threads},
    )
    assert server.stdin is not None and server.stdout is not None
    with server.stdout as output:
        assert output.readline() == b"ready\n"
    atexit.register(_stop, server, folder)
    return str(launcher)


def _stop(server: "subprocess.Popen[bytes]", folder: Path) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait()
    shutil.rmtree(folder)


def _serve(address: str) -> None:
    sys.path.insert(0, str(DOUBLE))
    specification = importlib.util.spec_from_file_location("worker", WORKER)
    assert specification is not None and specification.loader is not None
    worker = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(worker)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        _, data, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(12))
        channel, memory, output = array.array("i", data[0][2])
        if os.fork() == 0:
            listener.close()
            os.dup2(output, 1)
            os.dup2(output, 2)
            with worker.torch.no_grad():
                worker.main(channel, memory)
            os._exit(0)
        for descriptor in (channel, memory, output):
            os.close(descriptor)
        connection.close()


if __name__ == "__main__":
    _serve(sys.argv[1])
