"""Arms so much worse than the rest that one axis for all would press the rest flat."""

import math
from collections.abc import Iterable, Mapping

import numpy as np

GAP = 5.0  # times as far from the best arm as the next better one


def outlying(losses: Mapping[str, float], deviations: Iterable[float | None], marks: Iterable[float] = ()) -> set[str]:
    """The arms above the first wide gap between losses; none where losses are spread evenly.

    Never among them are the better half, all arms up to the highest of `marks` (losses that the axis must show), and
    what is within `GAP` typical deviations over seeds of the best.
    """
    order = sorted((name for name in losses if math.isfinite(losses[name])), key=lambda name: losses[name])
    if not order:
        return set()
    known = [value for value in deviations if value is not None and math.isfinite(value)]
    typical = float(np.median(known)) if known else 0.0
    low, end = losses[order[0]], max(float(np.median([losses[name] for name in order])), *marks, -math.inf)
    for rank, name in enumerate(order):
        if 0 < GAP * max(end - low, typical) < losses[name] - low:
            return set(order[rank:])
        end = max(end, losses[name])
    return set()
