"""``muster``: one line and exit 3 when the controller's extra is not installed."""

from __future__ import annotations

import sys

_MISSING_EXTRA = 3


def main() -> None:
    """The entry point of the console script."""
    try:
        from muster_controller.cli.app import run
    except ModuleNotFoundError as error:
        name = error.name or ""
        if name == "muster" or name.startswith("muster_"):
            raise
        print(
            f"muster: the command line needs {name}, which is not installed; run: pip install 'muster-edge[controller]'"
            " (a device needs only muster-agent)",
            file=sys.stderr,
        )
        sys.exit(_MISSING_EXTRA)
    sys.exit(run())


if __name__ == "__main__":
    main()
