"""What the margin of no practical effect is worth beside what the whole network gains over the best bar."""

import math
from collections.abc import Iterable, Sequence

from ablations.findings.findings import CellData, Finding, PooledFinding
from ablations.judging.verdicts import NO_EFFECT
from lab.pages.formats import decimal


def within_margin(
    cells: Iterable[CellData], found: Sequence[Finding | PooledFinding], margin_percent: float
) -> list[str]:
    """A note where parts of `no practical effect` could each be all of that gain; none otherwise."""
    if not any(finding.verdict.startswith(NO_EFFECT) for finding in found):
        return []
    small = []
    for cell in cells:
        best, over = cell.standing.best, cell.standing.over_best
        if best is None or over is None:
            continue
        margin = margin_percent / 100 * (best.errors["test_mse"] + over.mean)
        if math.isfinite(margin) and -margin < over.mean < 0:
            small.append(f"{decimal(-over.mean)} of {decimal(margin)} in cell {cell.name}")
    if not small:
        return []
    return [
        f"{NO_EFFECT} is within {margin_percent:g}% of the test MSE, and that is more than the whole network is below "
        f"the best bar on validation ({', '.join(small)}): a part of no practical effect may still be all of that gain"
    ]
