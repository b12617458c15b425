"""How long a search may go on: so many points, or so much time."""

from __future__ import annotations

import re
from dataclasses import dataclass

from muster_compression.progress import duration
from muster_protos.errors import InvalidInputError

_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_MOST_POINTS = 10_000


@dataclass(frozen=True, slots=True)
class Budget:
    """One of the two is set."""

    points: int | None = None
    seconds: float | None = None

    def share(self, done: int, spent_s: float) -> float:
        """How much of it is used, 1 = all."""
        used = done / self.points if self.points else spent_s / (self.seconds or 1.0)
        return min(1.0, used)

    def __str__(self) -> str:
        return f"{self.points} points" if self.points else duration(self.seconds or 0.0)


def parse_budget(text: str) -> Budget:
    """``20`` points, or ``90s``, ``30m``, ``2h``.

    Raises:
        InvalidInputError: it is neither.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?", text.strip())
    if match and match[2] and float(match[1]) > 0:
        return Budget(seconds=float(match[1]) * _UNITS[match[2]])
    if match and not match[2] and match[1].isdecimal() and 1 <= int(match[1]) <= _MOST_POINTS:
        return Budget(points=int(match[1]))
    raise InvalidInputError(f"expected a budget of points (20) or time (90s, 30m, 2h), found {text!r}")
