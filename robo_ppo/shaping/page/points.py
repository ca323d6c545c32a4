"""Points of a training's curves, from rows of a metrics.jsonl that may hold anything."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

Points = tuple[tuple[float, float], ...]


def points(rows: Sequence[Mapping[str, Any]], key: str, until: float = math.inf) -> Points:
    """Steps and values of a quantity where it was logged, up to a step."""
    pairs = [(row.get("step"), row.get(key)) for row in rows]
    return tuple((float(x), float(y)) for x, y in pairs if _is_finite(x) and _is_finite(y) and x <= until)


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
