"""What this process uses, from /proc/self; None where the system has no such file."""

from __future__ import annotations

from pathlib import Path

_STATUS = Path("/proc/self/status")
_ROLLUP = Path("/proc/self/smaps_rollup")
_CLEAR = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): reset the peak resident set size to its current value


def reset_peak() -> None:
    """Start VmHWM anew, so that the import of the runtime does not hide the model's own peak."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return  # then the peak includes the import, and peak - baseline is an upper bound


def peak_bytes() -> int | None:
    """VmHWM, the kernel's own high-water mark of resident memory."""
    return _field_bytes(_STATUS, "VmHWM:")


def resident_bytes() -> int | None:
    """VmRSS."""
    return _field_bytes(_STATUS, "VmRSS:")


def proportional_bytes() -> int | None:
    """PSS: shared pages counted by their share."""
    return _field_bytes(_ROLLUP, "Pss:")


def _field_bytes(path: Path, name: str) -> int | None:
    try:
        text = path.read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return None
