"""``muster-agent``: see ``muster_agent.cli``."""

from __future__ import annotations

import sys

from muster_agent.cli.main import run_command


def main() -> None:
    """The command's entry point."""
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
