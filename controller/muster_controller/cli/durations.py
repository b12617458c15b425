"""How people write durations, shares and sizes."""

from __future__ import annotations

import re

from muster_protos.errors import UsageError

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)?")


def parse_duration_s(text: str) -> float:
    """``90``, ``1.5s``, ``30m``, ``24h`` or ``7d`` in seconds. UsageError on anything else, and on 0."""
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS_S[found[2] or "s"] if found else 0.0
    if seconds <= 0:
        raise UsageError(f'expected a duration such as 30s, 5m or 24h, found "{text}"')
    return seconds
