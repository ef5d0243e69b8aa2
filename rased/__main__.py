"""`python -m rased` is `rased`."""

import sys

from rased.cli import main

if __name__ == "__main__":
    sys.exit(main())
