"""The version of the agent that runs."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_DISTRIBUTION = "muster-edge"


def agent_version(distribution: str = _DISTRIBUTION) -> str:
    """As installed; "unknown" in a source tree that is not."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
