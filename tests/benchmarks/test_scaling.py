"""docs/scaling.md shows what `benchmarks.scaling` makes of the measurements beside it, and the formulas hold."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.scaling.__main__ import filled, sections
from benchmarks.scaling.assumed import DRONE, HUMANOID, UAV_NAV
from benchmarks.scaling.fit import Measured, card_of, compare, fit
from benchmarks.scaling.model import Cluster, Costs, Link
from benchmarks.scaling.plot import draw
from robo_ppo.run.compose import compose

ROOT = Path(__file__).parents[2]
WITHIN = 0.2  # of the points that only check; the page gives the figure
LINK = Link("test", 3e-6, 1e9)


@pytest.fixture(scope="module")
def measured() -> Measured:
    return Measured.read(ROOT / "benchmarks/results")


def test_the_page_is_up_to_date(measured: Measured) -> None:
    page = (ROOT / "docs/scaling.md").read_text()
    assert page == filled(page, sections(measured, (DRONE, HUMANOID))), (
        "run: python -m benchmarks.scaling --page docs/scaling.md"
    )


def test_the_model_reproduces_what_the_fit_has_not_seen(measured: Measured) -> None:
    points = compare(measured, fit(measured))
    checks = [point for point in points if not point.fitted]
    assert len(checks) > len(points) / 2
    assert max(abs(point.residual) for point in checks) < WITHIN
    assert max(abs(point.residual) for point in points if point.fitted) < 0.02


def test_the_workload_is_the_shipped_one() -> None:
    config = compose("task=uav_nav")
    ppo = config.ppo
    assert (ppo.horizon, ppo.epochs, ppo.minibatches) == (UAV_NAV.horizon, UAV_NAV.epochs, UAV_NAV.minibatches)
    policy = [44, *config.policy.hidden, 4]
    critic = [49, *config.policy.critic_hidden, 1]
    weights = sum((a + 1) * b for layers in (policy, critic) for a, b in pairwise(layers)) + 4  # and log_std
    assert UAV_NAV.gradient_bytes == 4 * (weights + 1)


def test_a_ring_passes_its_parts_round_twice() -> None:
    ranks, size = 8, 4096

    def passed() -> float:  # one part after another, as a ring works
        return sum(LINK.latency + size / ranks / LINK.bandwidth for _round in range(2) for _hop in range(ranks - 1))

    assert LINK.ring(size, ranks) == pytest.approx(passed())


def test_a_tree_halves_and_doubles() -> None:
    ranks, size = 8, 4096
    halves = [size / 2**step for step in (1, 2, 3)]
    assert LINK.tree(size, ranks) == pytest.approx(2 * sum(LINK.latency + half / LINK.bandwidth for half in halves))


def test_what_costs_nothing_more_scales_perfectly() -> None:
    free = Link("free", 0.0, float("inf"))
    cluster = Cluster(free, free, 8)
    assert HUMANOID.weak(128, cluster) == pytest.approx(1.0)
    assert HUMANOID.strong(8, cluster) < 1.0  # the part of a step that no rank divides


def test_the_humanoid_is_as_fast_as_was_published() -> None:
    collect, update, _ = HUMANOID.iteration(HUMANOID.worlds, 1, Cluster(LINK, LINK, 8))
    samples = HUMANOID.worlds * HUMANOID.work.horizon
    assert samples / collect == pytest.approx(94e3)
    assert samples / (collect + update) == pytest.approx(82e3)


def test_a_measured_card_takes_the_place_of_the_assumed_one(tmp_path: Path) -> None:
    costs = Costs(control_step=2e-3, world=1e-6, gradient_step=4e-4, sample=2e-7)
    worlds = {
        str(n): {
            "training": {"collect_seconds": costs.collect(UAV_NAV, n), "update_seconds": costs.update(UAV_NAV, n)},
        }
        for n in (1024, 4096, 16_384, 65_536)
    }
    found = json.loads(json.dumps({"setup": {"card": {"name": "A card"}}, "tasks": {"uav_nav": {"worlds": worlds}}}))
    card = card_of(found, DRONE)
    assert card.name == "uav_nav on A card" and card.worlds == DRONE.worlds
    for part in ("control_step", "world", "gradient_step", "sample"):
        assert getattr(card.costs, part) == pytest.approx(getattr(costs, part))
    draw((card,), tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").stat().st_size > 10_000
