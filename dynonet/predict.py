"""`python -m dynonet.predict`: the next rows after the end of a file (see lab.predict)."""

import sys

from lab.predict import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
