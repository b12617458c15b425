"""``muster-compress`` and ``python -m muster_compression``."""

import sys

from muster_compression.cli import main

if __name__ == "__main__":
    sys.exit(main())
