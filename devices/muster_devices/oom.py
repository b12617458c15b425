"""Whether the kernel has killed a process for want of memory lately."""

from __future__ import annotations

from pathlib import Path


def oom_kills(root: Path = Path("/")) -> int | None:
    """How many processes the kernel has killed for want of memory since boot, in control groups too; None where it
    does not say (Linux before 4.13)."""
    try:
        lines = (root / "proc" / "vmstat").read_text().splitlines()
    except OSError:
        return None
    found = (line.split() for line in lines if line.startswith("oom_kill "))
    return next((int(words[1]) for words in found if len(words) == 2 and words[1].isdecimal()), None)
