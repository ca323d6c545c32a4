"""Judges reward programs without training: `python -m robo_ppo.shaping check task=uav_nav careful.py bold.py`.

    careful.py: ok, 9 terms; ranking: margin 0.39
    bold.py:12: there is no operation 'log10'; did you mean log1p or log?
    timid.py: ranking: resting 0.4 m beside the goal (episode 29) is worth 12.9, succeeding 10.7: …

One line for each file: what the gate says of it (`robo_ppo.shaping.gate`). The exit code is 2 if any is refused.
"""

from collections.abc import Sequence
from pathlib import Path

from robo_ppo.errors import UserError
from robo_ppo.shaping.record import Verdict

USAGE = "usage: python -m robo_ppo.shaping check task=uav_nav <program.py> …"


def main(arguments: Sequence[str]) -> int:
    """Print a verdict for each file; whatever is `key=value` composes the task, as for train.py."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    overrides = [argument for argument in arguments if "=" in argument]
    files = [argument for argument in arguments if "=" not in argument]
    if not files:
        raise UserError(f"say which programs to judge\n{USAGE}")
    # Here, since a mistake on the command line need not wait for them.
    from robo_ppo.env.language import read
    from robo_ppo.run.compose import compose
    from robo_ppo.shaping.gate import RANKING, Gate, passed

    gate = Gate(compose(*overrides))
    refused = False
    for file in files:
        count = 0
        try:
            program = read(Path(file))
            count, verdicts = len(program.weights), gate.judge(program)
        except UserError as error:
            verdicts = [Verdict("file", False, str(error))]
        said = " ".join(verdicts[-1].message.split())
        if passed(verdicts):
            print(f"{file}: ok, {count} term{'' if count == 1 else 's'}; {RANKING}: {said}")
        else:
            refused = True
            said = f"{RANKING}: {said}" if verdicts[-1].stage == RANKING else said
            print(said if said.startswith(f"{file}:") else f"{file}: {said}")
    return 2 if refused else 0
