"""What docs/scaling.md shows, as Markdown: each function makes the text of one place of the page."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from benchmarks.scaling.assumed import CLUSTERS, FREE, INFINIBAND, ONE_RING, PUBLISHED_RING
from benchmarks.scaling.fit import Fitted, Point
from benchmarks.scaling.model import Card, Cluster

RANKS = (1, 2, 8, 16, 64, 128)
_MOST = 1024  # GPUs: further on, what the model leaves out would count more than what it has
SCALINGS: dict[str, Callable[[Card, int, Cluster], float]] = {"weak": Card.weak, "strong": Card.strong}


def parameters(fitted: Fitted) -> str:
    """What was fitted."""
    costs = fitted.costs
    rows = [
        ("a, a control step whatever its worlds", f"{costs.control_step * 1e3:.2f} ms"),
        ("c, what each world adds to it", f"{costs.world * 1e6:.1f} µs, physics about {fitted.physics * 1e6:.1f}"),
        ("g, a gradient step whatever its samples", f"{costs.gradient_step * 1e3:.2f} ms"),
        ("u, what each sample adds to it", f"{costs.sample * 1e6:.2f} µs"),
        ("all of that while the other core is busy too", f"{fitted.busy:.2f} times as long"),
    ]
    for way, link in fitted.links.items():
        rows.append((f"l and v, {way}", f"{link.latency * 1e6:.0f} µs, {link.bandwidth / 1e9:.2f} GB/s"))
    return _table(("fitted", "value"), rows)


def check(points: Sequence[Point]) -> str:
    """Measured and modelled, side by side."""
    rows = [
        (
            p.what,
            f"{p.worlds:,}",
            f"{p.measured * 1e3:.0f}",
            f"{p.model * 1e3:.0f}",
            f"{p.residual:+.0%}",
            "fit" if p.fitted else "check",
        )
        for p in points
    ]
    checks = sorted(abs(p.residual) for p in points if not p.fitted)
    near, far = checks[len(checks) // 2], checks[-1]
    said = f"Of the {len(checks)} points that only check, half lie within {near:.0%} and all within {far:.0%}."
    heads = ("an iteration's", "worlds a rank", "measured, ms", "model, ms", "residual", "used to")
    return f"{_table(heads, rows)}\n\n{said}"


def ring() -> str:
    """The formula of a ring beside what others have measured between machines."""
    rows = [
        (f"{n}", f"{seconds * 1e6:.0f}", f"{INFINIBAND.ring(8, n) * 1e6:.0f}")
        for n, seconds in sorted(PUBLISHED_RING.items())
    ]
    return _table(("GPUs", "published, µs", f"ring with the assumed {INFINIBAND.latency * 1e6:.0f} µs, µs"), rows)


def weak_and_strong(cards: Sequence[Card]) -> str:
    """Efficiency over the number of GPUs."""
    rows: list[tuple[str, ...]] = []
    for card in cards:
        for kind, efficiency in SCALINGS.items():
            for name, cluster in CLUSTERS.items():
                shares = [f"{efficiency(card, n, cluster):.0%}" for n in RANKS]
                last = [_limit(card, cluster, efficiency, bar) for bar in (0.8, 0.5)]
                rows.append((card.name, kind, name, *shares, *last))
    heads = [f"{n} GPU{'s' if n > 1 else ''}, assumed" for n in RANKS]
    bars = ("under 80 % from, assumed", "under 50 % from, assumed")
    return _table(("card", "scaling", "links, assumed", *heads, *bars), rows)


def iterations(cards: Sequence[Card]) -> str:
    """Where the time of an iteration goes, with the worlds of each GPU constant."""
    rows: list[tuple[str, ...]] = []
    cluster = CLUSTERS["NVLink, InfiniBand 100 Gb/s"]
    for card in cards:
        for n in (1, 8, 128):
            parts = card.iteration(card.worlds, n, cluster)
            rate = n * card.worlds * card.work.horizon / sum(parts)
            rows.append((card.name, str(n), *(f"{part * 1e3:.1f}" for part in parts), f"{rate / 1e6:.2f} M"))
    heads = ("card", "GPUs", "collect, ms, assumed", "update, ms, assumed", "all-reduce, ms, assumed")
    return _table((*heads, "steps/s, assumed"), rows)


def levers(card: Card) -> str:
    """What would move the limit, one change at a time."""
    work, costs = card.work, card.costs
    name = "NVLink, Ethernet 10 Gb/s"
    cluster = CLUSTERS[name]
    graph = replace(card, gradient_step_of_ranks=costs.gradient_step)
    wide = replace(work, gradient_bytes=16 * work.gradient_bytes)
    changes = [
        ("as shipped", card, cluster),
        ("no tree: one ring of all GPUs", card, ONE_RING),
        ("sums inside the update's graph", graph, cluster),
        ("sums hidden behind the backward pass, at the very best", card, FREE),
        ("both", graph, FREE),
        (
            "a quarter of the minibatches, four times as large",
            _with_minibatches(card, work.minibatches // 4),
            cluster,
        ),
        ("four times the worlds", replace(card, worlds=4 * card.worlds), cluster),
        ("16 times the weights (the sums alone, not their computation)", replace(card, work=wide), cluster),
    ]
    rows = [
        (what, f"{c.weak(128, k):.0%}", f"{c.strong(128, k):.0%}", _limit(c, k, Card.strong, 0.5))
        for what, c, k in changes
    ]
    title = f"{card.name}, 128 GPUs, {name} assumed"
    return _table((title, "weak, assumed", "strong, assumed", "strong under 50 % from, assumed"), rows)


def _with_minibatches(card: Card, count: int) -> Card:
    return replace(card, work=replace(card.work, minibatches=count))


def _limit(card: Card, cluster: Cluster, efficiency: Callable[[Card, int, Cluster], float], bar: float) -> str:
    """The first power of two below the bar."""
    ranks = 2
    while ranks <= _MOST:
        if efficiency(card, ranks, cluster) < bar:
            return f"{ranks:,}"
        ranks *= 2
    return f"> {_MOST:,}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (heads, *rows)]
    lines.insert(1, "|" + "---|" * len(heads))
    return "\n".join(lines)
