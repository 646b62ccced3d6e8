"""`python -m dynonet.data check FILE`, and series under their published name (see lab.series)."""

import sys

from lab.series import ETT_CHANNELS, Rows, Series, load_series, window_starts
from lab.series.__main__ import main

__all__ = ["ETT_CHANNELS", "Rows", "Series", "load_series", "main", "window_starts"]

if __name__ == "__main__":
    sys.exit(main())
