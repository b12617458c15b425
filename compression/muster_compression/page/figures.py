"""Figures as people read them."""

from __future__ import annotations

from collections.abc import Mapping

from muster_protos.metric_names import is_share


def quality(value: float | None, metric: str) -> str:
    """``97.1 %`` of a share, four digits of anything else, a dash where it is unknown."""
    if value is None:
        return "–"
    return f"{value * 100:.2f} %" if is_share(metric) else f"{value:.4g}"


def interval(bounds: tuple[float | None, float | None], metric: str) -> str:
    """``(95.2–98.6)``; nothing where there is none."""
    low, high = bounds
    if low is None or high is None:
        return ""
    return f"({low * 100:.1f}–{high * 100:.1f})" if is_share(metric) else f"({low:.4g}–{high:.4g})"


def size(count: int | None) -> str:
    """Bytes in decimal units."""
    if count is None:
        return "–"
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= limit:
            return f"{count / limit:.2f} {unit}"
    return f"{count} B"


def count(number: int | None) -> str:
    """``1.27 M``; a dash where it is unknown."""
    if number is None:
        return "–"
    for limit, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= limit:
            return f"{number / limit:.2f}{unit}"
    return str(number)


def number(value: float | None, digits: int = 4, unit: str = "") -> str:
    """A dash where it is unknown."""
    return "–" if value is None else f"{value:.{digits}g}{unit and ' ' + unit}"


def times(ratio: float | None) -> str:
    """``4.0x``; a dash where it is unknown."""
    return "–" if ratio is None else f"{ratio:.2f}x"


def listed(figures: Mapping[str, float | int | str]) -> str:
    """``sparsity 0.8, channels removed 120``."""
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.4g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"
        for key, value in figures.items()
    )
