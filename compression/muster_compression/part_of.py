"""Progress of a part, as progress of the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

OnProgress: TypeAlias = Callable[[float, str], None]
"""(share done in 0..1, a few words for people)"""


def part_of(on_progress: OnProgress, start: float, share: float, what: str = "") -> OnProgress:
    """What takes the progress of the part that begins at ``start`` and is ``share`` of the whole."""
    prefix = f"{what}: " if what else ""
    return lambda ratio, note: on_progress(start + share * ratio, prefix + note)
