"""A measurement in a process of its own: clean memory, a deadline, and a crash that takes no other result with it.

    reason = run(work, config, report=results.update, seconds=60.0)

`work(report, config)` hands over what it has measured piece by piece, so a deadline loses only what was not done yet.
"""

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

Piece = dict[str, Any]
Report = Callable[[Piece], None]


def run(work: Callable[..., None], *arguments: Any, report: Report, seconds: float) -> str | None:
    """Why it did not come to its end, or None if it did."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(sender, work, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        return _listen(receiver, report, time.monotonic() + seconds)
    except EOFError:
        process.join()
        return f"its process ended with exit code {process.exitcode}"
    finally:
        process.kill()
        process.join()


def run_here(work: Callable[..., None], *arguments: Any, report: Report) -> str | None:
    """The same in this process, without a deadline."""
    try:
        work(report, *arguments)
    except Exception as error:
        return _told(error)
    return None


def _listen(receiver: Any, report: Report, deadline: float) -> str | None:
    while receiver.poll(max(0.0, deadline - time.monotonic())):
        kind, content = receiver.recv()
        if kind == "piece":
            report(content)
        else:
            return content
    return "there was no time left for it"


def _work(sender: Any, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    reason = run_here(work, *arguments, report=lambda piece: sender.send(("piece", piece)))
    sender.send(("end", reason))


def _told(error: Exception) -> str:
    """A failure is a result too: it is written into the file, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
