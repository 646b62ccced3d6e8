"""`python -m dynonet.baseline`: the bars, what a network has to beat (see lab.series.bars)."""

import sys

from lab.baseline import main
from lab.series.bars import FittedBar, Metrics, fit_linear

LinearBaseline = FittedBar

__all__ = ["LinearBaseline", "Metrics", "fit_linear", "main"]

if __name__ == "__main__":
    sys.exit(main())
