"""What ends an episode, what counts as success and what is reported are the task's: no reward reaches them.

The same policy flies the same episodes under an honest reward and under programs that take the names of all that
decides. Everything but the pay is equal bit for bit.
"""

import numpy as np
import pytest

from robo_ppo.env.build import build, make_task
from robo_ppo.env.language import applied, parse
from robo_ppo.env.task import SUCCESS
from robo_ppo.run.episodes import Episodes, run_episodes
from tests.run.by_hand import hovering
from tests.shaping.packets import config_of

CONFIG = config_of("reward=uav_hover", "randomization=nominal")
EPISODES = 16
TASK = make_task(CONFIG)

# All that decides or is reported, and signals beneath it.
NAMES = (
    SUCCESS,
    "failed",
    "broken",
    "timeout",
    "terminated",
    *TASK.failures,
    *TASK.metrics(),
    *(metric.signal for metric in TASK.metrics().values()),
    "held",
    "goal_distance",
    "position",
    "beside_goal",
    "hold_time",
    "goal_position",
    "qpos",
    "last_action",
)


def program_text(*names: str) -> str:
    """A reward whose terms have these names and say that all is well, everywhere and always."""
    weights = ", ".join(f'"{name}": 1000.0' for name in names)
    terms = "\n\n".join(f"def {name}(upright):\n    return 1.0 + 0.0 * upright" for name in names)
    return f'"""Call everything a success."""\nversion = 1\nweights = {{{weights}}}\n\n\n{terms}\n'


def flown(text: str) -> Episodes:
    config = applied(CONFIG, parse(text, "hostile.py")) if text else CONFIG
    environment = build(config, "validation", EPISODES, episodes=EPISODES, extra_signals=make_task(config).recorded())
    model = hovering(CONFIG)
    return run_episodes(environment, lambda seen: model.actor(model.normalizer("policy")(seen["policy"])))


@pytest.fixture(scope="module")
def honest() -> Episodes:
    return flown("")


def test_terms_that_take_the_names_of_what_decides_change_nothing(honest: Episodes) -> None:
    names = tuple(dict.fromkeys(NAMES))
    hostile = flown(program_text(*names))
    assert 0.0 < honest.success < 1.0
    assert hostile.outcome.tolist() == honest.outcome.tolist()
    np.testing.assert_array_equal(hostile.steps, honest.steps)
    assert hostile.metrics.keys() == honest.metrics.keys() == TASK.metrics().keys()
    for name, values in honest.metrics.items():
        np.testing.assert_array_equal(hostile.metrics[name], values)
    # The program was in force: it paid.
    np.testing.assert_allclose(hostile.returns, 1000.0 * len(names) * hostile.steps, rtol=1e-4)
