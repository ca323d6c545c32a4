"""What may go wrong between a vehicle and its controller, to be switched on in tests.

| fault     | what happens                                                      | amount            |
|-----------|-------------------------------------------------------------------|-------------------|
| `drop`    | messages get lost, in both directions                             | share, 0 to 1     |
| `stall`   | nothing gets through, then everything that was held back at once  | –                 |
| `nan`     | the position's x is not a number                                  | –                 |
| `cut`     | nothing gets through                                              | –                 |
| `battery` | the battery says that so much is left                             | part of full      |
"""

import math
import random
from dataclasses import dataclass

from robo_ppo.errors import UserError, did_you_mean

KINDS = ("none", "drop", "stall", "nan", "cut", "battery")
"""In the order of their numbers in MAV_CMD_USER_2."""


@dataclass
class Faults:
    """One fault at a time: from when to when it lasts, on the vehicle's clock (s)."""

    kind: str = "none"
    amount: float = 0.0
    begins: float = math.inf
    ends: float = math.inf

    def __post_init__(self) -> None:
        """Refuse what is not known."""
        if self.kind not in KINDS:
            raise UserError(f"fault={self.kind}: {did_you_mean(self.kind, KINDS)}")
        self._random = random.Random(0)

    def is_on(self, kind: str, now: float) -> bool:
        """Whether this fault is there now."""
        return self.kind == kind and self.begins <= now < self.ends

    def loses(self, now: float) -> bool:
        """Whether a message that is sent now gets lost."""
        return self.is_on("cut", now) or (self.is_on("drop", now) and self._random.random() < self.amount)

    def holds_back(self, now: float) -> bool:
        """Whether a message that is sent now has to wait."""
        return self.is_on("stall", now)
