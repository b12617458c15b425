"""What the tables come to: ours against other tools, and a transformer against the one it was pruned from."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.compression.rows import Row, SideRow

_TIMING = 0.02  # of a latency: below that two runs of one file differ too
OURS = "muster"


def against_others(rows: Sequence[SideRow]) -> list[str]:
    """One sentence for each other way: whether ours is at least as accurate at no larger size or latency."""
    found = []
    for other in rows:
        if other.way.startswith(OURS):
            continue
        ours = next((row for row in rows if _is_beside(row, other)), None)
        if ours is None:
            found.append(f"{other.task}, {other.comparison}: nothing of ours beside {other.way}")
        else:
            found.append(f"{other.task}, {other.comparison}: {_sentence(ours, other)}")
    return found


def transformers(rows: Sequence[Row]) -> list[str]:
    """Of each variant of which heads left: how many, and how much faster than its parent it is."""
    found = []
    for row in rows:
        if row.heads_before is None or row.heads_after is None:
            continue
        heads = f"{row.heads_before} > {row.heads_after} heads"
        if row.heads_after >= row.heads_before:
            heads += ", NOT fewer"
        found.append(f"{row.task}, {row.variant} ({row.format}): {heads}; {_speed(row)}")
    return found


def _speed(row: Row) -> str:
    """Faster is what nearly every round showed."""
    if row.latency_ratio is None or row.latency_ratio_low is None:
        return "latency not measured"
    is_faster = row.latency_ratio_low > 1
    return f"{row.latency_ratio:.2f}x the baseline's speed, {'faster' if is_faster else 'NOT faster'}"


def _is_beside(row: SideRow, other: SideRow) -> bool:
    return (row.way, row.task, row.comparison) == (OURS, other.task, other.comparison)


def _sentence(ours: SideRow, other: SideRow) -> str:
    if ours.accuracy is None:
        return f"ours could not be made ({ours.note})"
    if other.accuracy is None:
        return f"{other.way} could not be made ({other.note})"
    lacks = []
    if ours.accuracy < other.accuracy:
        lacks.append(f"{100 * (other.accuracy - ours.accuracy):.2f} points less accurate")
    if ours.size_bytes is not None and other.size_bytes is not None and ours.size_bytes > other.size_bytes:
        lacks.append(f"{100 * (ours.size_bytes / other.size_bytes - 1):.1f} % larger")
    if other.ours is None:
        lacks.append("latency not compared")
    elif other.ours.ratio < 1 - _TIMING:
        lacks.append(f"{100 * (1 / other.ours.ratio - 1):.0f} % slower")
    verdict = f"**not**: {', '.join(lacks)}" if lacks else "yes"
    return f"at least as accurate as {other.way}, no larger, no slower by more than {_TIMING:.0%}: {verdict}"
