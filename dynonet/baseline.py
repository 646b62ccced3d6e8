"""`python -m dynonet.baseline`: the closed-form linear baseline (see lab.series.linear)."""

import sys

from lab.baseline import main
from lab.series.linear import LinearBaseline, Metrics, fit_linear

__all__ = ["LinearBaseline", "Metrics", "fit_linear", "main"]

if __name__ == "__main__":
    sys.exit(main())
