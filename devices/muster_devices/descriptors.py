"""How many more files and sockets this process may open."""

from __future__ import annotations

import os
import resource
from pathlib import Path


def free_descriptors(folder: Path = Path("/proc/self/fd")) -> int | None:
    """Under the soft limit; 0 when not even this can be looked up for want of one; None where nobody says."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return None
    try:
        used = len(os.listdir(folder)) - 1  # noqa: PTH208 (counted, not walked); the folder itself is one
    except FileNotFoundError:
        return None
    except OSError:
        return 0
    return max(0, limit - used)
