"""Errors of several runs of one kind, and what they come to."""

import math
import statistics
from collections.abc import Mapping, Sequence


class ByRun:
    """Of a class with errors by run."""

    errors: Mapping[str, Sequence[float]]  # metric -> by run; NaN: none

    def known(self, metric: str) -> list[float]:
        return [value for value in self.errors[metric] if not math.isnan(value)]

    def mean(self, metric: str) -> float | None:
        """Over the runs that have the error; None where none has."""
        known = self.known(metric)
        return statistics.fmean(known) if known else None

    def deviation(self, metric: str) -> float | None:
        """Standard deviation over them; None with fewer than two."""
        known = self.known(metric)
        return statistics.stdev(known) if len(known) > 1 else None
