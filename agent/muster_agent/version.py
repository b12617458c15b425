"""The version of the agent that runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

_DISTRIBUTION = "muster-edge"


def agent_version(distribution: str = _DISTRIBUTION, folders: Sequence[str] | None = None) -> str:
    """As installed; "unknown" in a source tree that is not.

    It stands in the name ``<distribution>-<version>.dist-info`` of a folder beside the packages (PEP 376, PEP 427).
    ``importlib.metadata`` would read the same, and hold a megabyte of the agent's memory for it.
    """
    prefix, suffix = distribution.replace("-", "_") + "-", ".dist-info"
    for folder in sys.path if folders is None else folders:
        with suppress(OSError):
            for name in os.listdir(folder or "."):  # noqa: PTH208 - as cheap as can be
                if name.startswith(prefix) and name.endswith(suffix):
                    return name[len(prefix) : -len(suffix)]
    return "unknown"
