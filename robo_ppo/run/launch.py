"""How this process was started: alone, or by torchrun as one of several ranks.

torchrun tells each process its place in environment variables. They are read here and nowhere else:

    launch = find()          # None: started alone
    launch.size              # processes on all machines together
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from robo_ppo.errors import UserError

_NEEDED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that torchrun has started."""

    rank: int
    size: int
    local_rank: int  # among those of this machine
    local_size: int
    attempt: int = 0  # how often torchrun has started all of them again

    @property
    def leads(self) -> bool:
        """Whether this is the process that prints and writes."""
        return self.rank == 0

    @property
    def is_on_one_machine(self) -> bool:
        """Whether all processes share this machine, and so its memory."""
        return self.local_size == self.size

    @property
    def command(self) -> str:
        """What to type to start as many again."""
        machines = self.size // self.local_size
        several = f"--nnodes {machines} --rdzv-backend c10d --rdzv-endpoint … " if machines > 1 else ""
        return f"torchrun {several}--nproc-per-node {self.local_size}"


def find(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """The place that torchrun has given to this process; None where it was started in another way."""
    if any(name not in environment for name in _NEEDED):
        return None

    def number(name: str, default: str = "") -> int:
        text = environment.get(name, default)
        if not text.isdecimal():
            raise UserError(
                f"the environment variable {name} must be a whole number, as torchrun sets it, not '{text}'"
            )
        return int(text)

    rank, size, local_rank = number("RANK"), number("WORLD_SIZE"), number("LOCAL_RANK")
    local_size = number("LOCAL_WORLD_SIZE", "1")
    if not (rank < size and local_rank < local_size <= size):
        raise UserError(
            f"RANK={rank}, WORLD_SIZE={size}, LOCAL_RANK={local_rank} and LOCAL_WORLD_SIZE={local_size} in the "
            "environment do not fit together; torchrun sets them, so unset them to train without it"
        )
    return Launch(rank, size, local_rank, local_size, number("TORCHELASTIC_RESTART_COUNT", "0"))
