"""One of the other ranks of a training: `python -m robo_ppo.run.rank <rank> <count> <port>`.

The main process starts it (`robo_ppo.run.others`) and tells it which run it is. Its standard output is for the message
of a `UserError` alone; its standard input ends when the main process has no use for it or is gone, and then it goes.
"""

import contextlib
import os
import sys

from robo_ppo.errors import UserError
from robo_ppo.run.others import PEER_LOST, USER_ERROR
from robo_ppo.run.output import silence
from robo_ppo.run.parent import leave_with_parent


def main() -> None:
    """Join, train, and say with the exit code how it ended."""
    rank, count, port = map(int, sys.argv[1:])
    report = os.dup(sys.stdout.fileno())
    silence()
    leave_with_parent(PEER_LOST)  # also while it imports what takes seconds
    import torch.distributed

    from robo_ppo.run.distributed import PeerLost, join_ranks
    from robo_ppo.run.folder import load_config
    from robo_ppo.run.train import take_part

    try:
        folder, ranks = join_ranks(rank, count, port)
        take_part(load_config(folder), folder, ranks)
        torch.distributed.destroy_process_group()
    except UserError as error:
        with contextlib.suppress(BrokenPipeError):  # rank 0 has found the same, said it, and gone
            os.write(report, str(error).encode())
        os._exit(USER_ERROR)
    except PeerLost:
        os._exit(PEER_LOST)
    os._exit(0)  # at once: the interpreter's own end would meet threads of C++ that still wait, and abort


if __name__ == "__main__":
    main()
