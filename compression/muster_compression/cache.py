"""Where work that is expensive to repeat is kept, named by the hash of all that went into it."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """``MUSTER_CACHE``, else ``$XDG_CACHE_HOME/muster``, else ``~/.cache/muster``."""
    if chosen := os.environ.get("MUSTER_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "muster"
