"""Which boot this is: reports of one boot share a monotonic clock."""

from __future__ import annotations

from pathlib import Path

from muster_devices.tree import read_text


def boot_id(root: Path = Path("/")) -> str:
    """The kernel's random id of this boot; ``btime-<seconds>`` where that file is closed (Android); "" when unknown."""
    text = read_text(root, "proc/sys/kernel/random/boot_id")
    if text:
        return text
    for line in (read_text(root, "proc/stat") or "").splitlines():
        if line.startswith("btime "):
            return f"btime-{line.split()[1]}"
    return ""
