"""Who plays: the devices, the policy that all of them get, and the load that they are put under."""

from __future__ import annotations

import json
from dataclasses import dataclass

MODEL = "digits"
SLO_MS = 100


@dataclass(frozen=True, slots=True)
class Actor:
    """One emulated device."""

    device_id: str
    profile: str


ACTORS = (Actor("jetson-1", "jetson"), Actor("phone-1", "phone"), Actor("pi-1", "pi"))


def policy(rungs: int) -> str:
    """The same policy for every device; what it leads to follows from what each of them measures.

    ``rungs`` = 1 grants the largest rung alone, for the comparison.
    """
    content = {
        "constraints": {"p95_ms": {"max": 15}, "accuracy_drop": {"max": 0.05}},
        "objective": "accuracy",
        "slo": {"latency_ms": SLO_MS, "percentile": 95},
        "ladder": {"rungs": rungs, "emergency": rungs > 1},
    }
    return json.dumps(content)


def load_phases(p50_ms: float) -> list[tuple[float, float]]:
    """(requests per second, seconds): calm, a burst of more than the largest rung can answer, calm again."""
    capacity_hz = 1000 / p50_ms
    return [(0.3 * capacity_hz, 2.0), (1.2 * capacity_hz, 4.0), (0.3 * capacity_hz, 6.0)]
