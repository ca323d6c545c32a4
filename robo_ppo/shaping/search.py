"""`llm=none`: a search over which terms a reward has, their weights and their settings. No model, no network.

    proposals, _ = Search(gate, library, seed=0).propose(request)

Half of the proposals begin at the leader, as a person would: every other one of those with a change against what the
leader's policy does wrong, failing or running out of time. The others begin where Optuna's TPE draws from what has
worked. Each is then *mended*: changed in one place after another, as long as that helps, until it ranks the stored
flights as it should (`gate`) and promises to teach (`learnable`). Without stored flights nothing is mended.

What is proposed depends on the seed, the round and what was tried, and on nothing else: a loop that was killed proposes
the same again. It is also the baseline that a language model has to beat.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from typing_extensions import override

from robo_ppo.env.flights import End
from robo_ppo.env.language import Program
from robo_ppo.env.scenes import seed_of
from robo_ppo.env.task import SUCCESS, TIMEOUT
from robo_ppo.shaping.edits import Library
from robo_ppo.shaping.gate import Gate, passed
from robo_ppo.shaping.llm.model import Usage
from robo_ppo.shaping.packets.packet import Packet
from robo_ppo.shaping.proposer import Proposal, Proposer, Request
from robo_ppo.shaping.search_columns import WEIGHT, Columns
from robo_ppo.shaping.search_space import Point, Space

if TYPE_CHECKING:
    import optuna

_KNOWN = 4  # rewards must have been tried before TPE draws from what is known of them
_DRAWS = 8  # for every proposal that is wanted; what is found until then is proposed
_MENDS = 600  # changes that are tried to mend a draw
# What a mended reward shall have, from and to: more of it is not always better, so each draw wants another amount.
_MARGIN, _GUIDANCE, _BEARING = (0.1, 0.6), (0.1, 0.7), (-0.5, 0.5)
_FIRST_CHANGES = 2  # of the leader before it is mended, at most: else all would be mended alike


class Search(Proposer):
    """Proposes what TPE draws, or what is near the leader, mended until it ranks flights rightly."""

    origin = "search"

    def __init__(self, gate: Gate, library: Library, seed: int) -> None:
        self._gate, self._library, self._seed = gate, library, seed

    @override
    def propose(self, request: Request) -> tuple[list[Proposal], Usage]:
        leader, rng = request.leader, np.random.default_rng(seed_of("search", self._seed, request.round))
        columns = Columns(self._gate, leader.program)
        space = Space.of(self._library, leader.program)
        study = self._study(request, space, columns)
        here, distributions = space.point(leader.program, columns), space.distributions()
        known = {one.program.text for one in (*request.tried, *request.refused)}
        fault = _fault(leader.packet)
        found: list[Proposal] = []
        for number in range(_DRAWS * request.count):
            if len(found) == request.count:
                break
            start, reason = here, f"{leader.name}, mended"
            if number % 2:
                start, reason = study.ask(distributions).params, "drawn in view of what was tried, and mended"
            elif number % 4 and fault is not None:
                start = space.leaning(here, fault, columns, rng)
                reason = f"{leader.name} against its {fault}s, mended"
            else:
                for _ in range(rng.integers(0, _FIRST_CHANGES + 1)):
                    start = space.changed(start, rng)
            weights = space.weights(_mended(start, space, columns, rng), columns)
            program = _with(leader.program, weights) if weights else None
            if program is None or program.text in known or not passed(self._gate.judge(program)):
                continue
            known.add(program.text)
            found.append(Proposal(program, leader.name, self.origin, reason))
        return found, Usage()

    def _study(self, request: Request, space: Space, columns: Columns) -> "optuna.Study":
        """Everything that was tried, as a study that TPE draws from."""
        import optuna  # here, since a mistake on the command line need not wait for it

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        seed = seed_of("study", self._seed, request.round) % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_KNOWN)
        study = optuna.create_study(direction="maximize", sampler=sampler)
        distributions = space.distributions()
        for tried in request.tried:
            value = 0.0 if tried.flags else tried.success
            params = space.point(tried.program, columns)
            study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=value))
        return study


def _fault(packet: Packet | None) -> End | None:
    """How most episodes that do not succeed end; None where nothing is known of them."""
    counts = packet.outcomes if packet is not None else {}
    late = counts.get(TIMEOUT, 0)
    failed = sum(counts.values()) - counts.get(SUCCESS, 0) - late
    return None if late == failed == 0 else "failure" if failed > late else "timeout"


def _mended(point: Point, space: Space, columns: Columns, rng: np.random.Generator) -> Point:
    """Change one thing after another, as long as less is missing, until nothing is."""
    wanted = np.array([rng.uniform(*limits) for limits in (_MARGIN, _GUIDANCE, _BEARING)])

    def missing(point: Point) -> float:
        weights = space.weights(point, columns)
        return float((wanted - columns.qualities(weights)).clip(0.0).sum()) if weights else math.inf

    left = missing(point)
    for _ in range(_MENDS):
        if left == 0.0:
            break
        changed = space.changed(point, rng)
        less = missing(changed)
        if less < left:
            point, left = changed, less
    return point


def _with(leader: Program, weights: dict[str, dict[str, float]]) -> Program:
    """The leader's program with these weights; its own terms stay in the text, without weight where they are off."""
    own = {name: {**leader.weights[name], WEIGHT: 0.0} for name in leader.functions if name not in weights}
    return leader.with_weights({**weights, **own})
