"""One trial of a sweep in a process of its own: `python -m robo_ppo.run.sweep.trial <folder> [steps to pause at]`.

Its configuration lies in the folder. If there is a checkpoint too, it goes on from there. Its standard input ends when
the process that has started it is gone, and then it goes too: whoever tries the trial again is alone in the folder.
"""

import signal
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from robo_ppo.errors import UserError
from robo_ppo.run import main_job
from robo_ppo.run.distributed import RankLost
from robo_ppo.run.lock import Busy, alone_in
from robo_ppo.run.parent import leave_with_parent
from robo_ppo.run.sweep.attempt import BUSY, LOST, STOP
from robo_ppo.run.sweep.record import read, write

_PATIENCE = 30.0  # s for an earlier process, which nobody needs any more, to be gone


def main() -> None:
    """Train, and leave in trial.json how it ended."""
    folder = Path(sys.argv[1])
    pause_at = int(sys.argv[2]) if len(sys.argv) > 2 else None
    leave_with_parent(LOST)
    # Whatever the launcher inherited: a shell lets what is in the background ignore it, and Ray blocks it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    with _alone_in(folder):
        record = read(folder)
        record = replace(record, state="running", attempts=record.attempts + 1, error="")
        write(folder, record)
        try:
            if (folder.parent / STOP).exists():
                raise KeyboardInterrupt
            result = main_job.go_on(folder, pause_at)
        except RankLost as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(LOST)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            write(folder, replace(record, state="failed", error=str(error)))
            sys.exit(2)
        except KeyboardInterrupt:
            write(folder, replace(record, state="stopped"))
            sys.exit(130)
        except SystemExit as stop:
            is_told = stop.code in (130, 143)
            write(folder, replace(record, state="stopped" if is_told else "failed", error="" if is_told else str(stop)))
            raise
        except Exception as error:
            traceback.print_exc()
            write(folder, replace(record, state="failed", error=f"{type(error).__name__}: {error}"))
            sys.exit(1)
        state = "paused" if result.stopped_by == "pause" else "finished"
        record = replace(record, state=state, score=result.score, value=result.best_validation)
        write(folder, replace(record, steps=result.steps, seconds=result.seconds))


@contextmanager
def _alone_in(folder: Path) -> Generator[None]:
    """Hold the folder's lock, or end with the exit code that says who holds it."""
    try:
        with alone_in(folder, patience=_PATIENCE):
            yield
    except Busy:
        print(f"error: another process trains in {folder}", file=sys.stderr)
        sys.exit(BUSY)


if __name__ == "__main__":
    main()
