"""How well each learner learns: success on the validation episodes after so many steps, for several seeds."""

import dataclasses
from collections.abc import Sequence

from benchmarks.peers.job import Job, run
from benchmarks.peers.learner import steps_of_iteration
from benchmarks.peers.results import Results
from benchmarks.peers.speed import fastest, setups, shipped
from robo_ppo.config import RunConfig
from robo_ppo.run.folder import commit


def measure(
    results: Results, config: RunConfig, learners: Sequence[str], seeds: Sequence[int], milestones: Sequence[int]
) -> None:
    """Train what is not trained yet, seed by seed; every learner is told that the last milestone is its budget."""
    config = dataclasses.replace(config, total_steps=milestones[-1])
    for seed in seeds:
        for learner in learners:
            if results.find("learning", learner=learner, seed=seed):
                continue
            own = [shipped(config)] if learner == "ours" else setups(config, [learner])
            setup = fastest(results, own)
            outcome = run(Job(learner, dataclasses.replace(setup.configure(config), seed=seed), milestones))
            results.describe(learner, outcome.learner)
            iterations = [-(-steps // steps_of_iteration(config)) for steps in milestones]
            entry = {
                **dataclasses.asdict(setup),
                "seed": seed,
                "commit": commit(),
                "steps": [number * steps_of_iteration(config) for number in iterations],
                "seconds": [outcome.seconds_until(number) for number in iterations],
                "success": outcome.success,
            }
            results.add("learning", entry)
            print(f"{learner} seed {seed}: success {', '.join(f'{x:.1%}' for x in outcome.success)}", flush=True)
