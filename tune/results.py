"""`python -m tune.results`, and the records in Python under their published names (see lab.results, lab.store)."""

import sys

from lab.results import main
from lab.store.frames import bars, history, joined, load, open_results

__all__ = ["bars", "history", "joined", "load", "main", "open_results"]

if __name__ == "__main__":
    sys.exit(main())
