"""A process that is told to end does so in time, whatever it hangs in.

    with ending_in_time(last_words):
        …

After SIGTERM torchrun waits 30 s, then it kills. A rank whose peers are gone may be waiting inside a library by then,
where Python's own handlers are not called. The system's part of a handler runs all the same, and wakes a thread here.
"""

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

PATIENCE = 25.0  # s, for an iteration to end and its checkpoint to be written
_SHORT_PATIENCE = 2.0  # s, where nothing has begun that could be saved


@contextmanager
def ending_in_time(last_words: Callable[[], str], patience: float = PATIENCE) -> Generator[Callable[[], None]]:
    """Inside, this process outlives SIGINT and SIGTERM by `patience` (s) at most; then it says `last_words`, and ends.

    It gets that long where somebody listens to the signal, as a training does; else the end comes soon and in silence.
    What is yielded is to be called where the process is about to end by itself: from then on it hears no signal.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before_wakeup = signal.set_wakeup_fd(writing)
    before = signal.signal(signal.SIGTERM, _leave_it_to_the_thread)
    calm = threading.Event()

    def watch() -> None:
        while heard := os.read(reading, 1):
            number = heard[0]
            if number not in (signal.SIGINT, signal.SIGTERM):
                continue
            is_heard = signal.getsignal(number) not in (_leave_it_to_the_thread, signal.default_int_handler)
            if not calm.wait(patience if is_heard else _SHORT_PATIENCE):
                if is_heard and (words := last_words()):
                    os.write(2, f"\nerror: {words}\n".encode())
                os._exit(128 + number)
            return

    def be_calm() -> None:
        calm.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield be_calm
    finally:
        calm.set()
        signal.set_wakeup_fd(before_wakeup)
        os.close(writing)
        if signal.getsignal(signal.SIGTERM) is _leave_it_to_the_thread:
            signal.signal(signal.SIGTERM, before)


def _leave_it_to_the_thread(_number: int, _frame: object) -> None:
    pass
