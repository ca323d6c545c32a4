"""What the vehicle shows against what was trained: on flights of the task, with its own sensors and with worse ones."""

import numpy as np
import pytest

from robo_ppo.env.build import build
from robo_ppo.run.compose import compose
from robo_ppo.run.evaluate import OnnxPilot
from robo_ppo.run.folder import find_bundle
from robo_ppo_onboard.bundle import read_bundle
from robo_ppo_onboard.comparison import Comparison
from robo_ppo_onboard.safety.checks import Inbox
from robo_ppo_onboard.safety.limits import Limits
from robo_ppo_onboard.vehicle import Sample

from .flights import CALM, PERIOD, contract


def warnings(worse: float) -> set[str]:
    """What is said in eight flights whose sensors are as much worse than trained."""
    bundle = read_bundle(find_bundle("uav_nav"))
    config = compose("task=uav_nav", "randomization=nominal", f"randomization.measurement_errors={worse}")
    environment = build(config, "test", 8, episodes=8)
    pilot = OnnxPilot(environment, bundle)
    inboxes = [Inbox(bundle.contract, Limits.of(bundle.contract)) for _ in range(8)]
    comparisons = [Comparison(bundle.contract) for _ in range(8)]
    observation = environment.reset()
    for step in range(300):
        now = step * PERIOD
        for row, (inbox, comparison) in enumerate(zip(inboxes, comparisons, strict=True)):
            seen = {name: values[row].flatten().tolist() for name, values in environment.measured.items()}
            samples = [Sample(name, tuple(values), now) for name, values in seen.items()]
            inbox.take(samples, now)
            comparison.add(now, inbox)
        observation = environment.step(pilot.act(observation), restart=False).observation
    return {news.partition(" ")[0] for comparison in comparisons for news in comparison.news()}


def test_trained_sensors_are_no_news() -> None:
    assert warnings(1.0) == set()


def test_sensors_five_times_as_bad_are() -> None:
    assert {"position", "velocity", "gyro"} <= warnings(5.0)


@pytest.mark.parametrize(("late", "told"), [(0.01, False), (0.09, True)])
def test_messages_that_come_late_are_told(late: float, told: bool) -> None:
    rng = np.random.default_rng(0)
    found = contract()
    inbox, comparison = Inbox(found, Limits.of(found)), Comparison(found)
    for step in range(400):
        now = step * PERIOD
        # On the way for up to that long; the sender's clock has an offset.
        sent = now - float(rng.uniform(0.0, late))
        stamp = max(sent + 500.0, inbox.newest["velocity"].stamp + 1e-4 if step else 0.0)
        inbox.take([Sample("velocity", CALM["velocity"], stamp)], now)
        comparison.add(now, inbox)
    news = comparison.news()
    assert bool(news) == told
    if told:
        assert "velocity is up to" in news[0] and "0 to 20 ms" in news[0]
        assert comparison.news() == []
