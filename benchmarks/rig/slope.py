"""A straight line through a process's memory over time, with the confidence interval of its slope."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Student's t, two-sided 95 %, by degrees of freedom; above 30 that of 30 is a little too wide.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Slope:
    """``low`` and ``high`` hold it with 95 % confidence, if blocks are independent of each other."""

    per_min: float
    low: float
    high: float


def fit(samples: Sequence[tuple[float, float]], blocks: int = 20) -> Slope | None:
    """Least squares over the means of ``blocks`` stretches of (seconds, value): neighbouring samples are not
    independent, and an interval from all of them would be far too narrow. None when there are fewer than three."""
    means = _means(samples, blocks)
    if len(means) < 3:
        return None
    x, y = [at_s / 60 for at_s, _ in means], [value for _, value in means]
    line = statistics.linear_regression(x, y)
    middle = statistics.fmean(x)
    spread = sum((each - middle) ** 2 for each in x)
    rest = sum((value - line.intercept - line.slope * at) ** 2 for at, value in zip(x, y, strict=True))
    freedom = len(means) - 2
    error = math.sqrt(rest / freedom / spread) * _T95[min(freedom, len(_T95)) - 1]
    return Slope(line.slope, line.slope - error, line.slope + error)


def _means(samples: Sequence[tuple[float, float]], blocks: int) -> list[tuple[float, float]]:
    size = max(1, len(samples) // blocks)
    found = []
    for start in range(0, len(samples) - size + 1, size):
        block = samples[start : start + size]
        found.append((statistics.fmean(at for at, _ in block), statistics.fmean(value for _, value in block)))
    return found


def rss_kib(pid: int) -> float | None:
    """Resident memory; None when there is no such process any more."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith("Rss:")), None)


def children(pid: int) -> list[int]:
    """Processes that ``pid`` has started and that still run."""
    found: list[int] = []
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (thread / "children").read_text().split()]
    except OSError:
        return found
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""
