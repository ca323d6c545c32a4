"""The reward language: a small pure subset of Python, compiled to allow-listed torch operations, never executed.

    \"\"\"Prefer to arrive slowly.\"\"\"
    version = 1
    weights = {"progress": 3.0, "slow_near": {"weight": 0.5, "margin": 0.2}}

    def slow_near(goal_distance, speed, *, margin=0.3):
        return -square(speed) * exp(-goal_distance / margin)

Whoever writes such a text, a person or a language model, can compute with signals and do nothing else. The way of a
text: `text` (bounds, then Python's parser) → `program`, `functions`, `expressions` (typed steps) → `term`, `kernels`
(torch);
`dry_run` then tries it on the task's signals. docs/reward_language.md has the grammar.
"""

from robo_ppo.env.language.program import PROGRAM, Program, applied, parse, program_of, read

__all__ = ["PROGRAM", "Program", "applied", "parse", "program_of", "read"]
