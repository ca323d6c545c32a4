"""Statistics of an evaluation."""

import math


def wilson_interval(count: int, total: int, z: float = 1.959964) -> tuple[float, float]:
    """The Wilson score interval of a proportion, by default at 95 %: (low, high), both in [0, 1].

    Of `total` independent episodes `count` had the outcome. Unlike the normal approximation it holds near 0 and 1,
    where success rates live. With no episodes nothing is known: (0, 1). E. B. Wilson, J. Am. Stat. Assoc. 22, 1927.
    """
    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total} episodes")
    if total == 0:
        return 0.0, 1.0
    share, weight = count / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    half = z / (1 + weight) * math.sqrt(share * (1 - share) / total + weight / (4 * total))
    # At the ends the interval reaches 0 and 1 exactly; rounding must not miss them.
    return (0.0 if count == 0 else centre - half), (1.0 if count == total else centre + half)
