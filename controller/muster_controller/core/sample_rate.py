"""How much telemetry one device may send: a bucket of samples that fills by the second. Pure.

Nobody needs more: an agent sends at most 16 samples of models a second and one of the device every five, and after days
offline the 600 that it has kept.
"""

from __future__ import annotations

from dataclasses import dataclass

SAMPLES_PER_S = 20
SAMPLES_AT_ONCE = 1200  # twice what an agent keeps


@dataclass(frozen=True, slots=True)
class Bucket:
    """``room`` samples more at ``at_ns`` (monotonic)."""

    room: float = SAMPLES_AT_ONCE
    at_ns: int = 0

    def take(self, wanted: int, now_ns: int) -> tuple[int, Bucket]:
        """(how many of ``wanted`` samples are taken, what is left)"""
        elapsed_s = max(0, now_ns - self.at_ns) / 1e9
        room = min(float(SAMPLES_AT_ONCE), self.room + elapsed_s * SAMPLES_PER_S)
        taken = min(wanted, int(room))
        return taken, Bucket(room - taken, now_ns)
