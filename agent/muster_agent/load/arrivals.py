"""When requests are due: Poisson arrivals over phases, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from muster_protos.model import LoadPhase


def arrivals_s(phases: Sequence[LoadPhase], seed: int) -> Iterator[float]:
    """Seconds since the start of the load, rising; a phase with rate 0 is a pause."""
    source = random.Random(seed)
    start_s = 0.0
    for phase in phases:
        end_s = start_s + phase.duration_ms / 1000
        at_s = start_s
        while phase.rate_hz > 0:
            at_s += source.expovariate(phase.rate_hz)
            if at_s >= end_s:
                break
            yield at_s
        start_s = end_s
