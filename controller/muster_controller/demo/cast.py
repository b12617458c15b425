"""Who plays: the devices, the policy that all of them get, and the load that they are put under."""

from __future__ import annotations

import json
from dataclasses import dataclass

MODEL = "digits"
SLO_MS = 100
MEASURED = ("fp32", "int8-static", "narrow", "tiny-tflite")  # fp16 changes no CPU latency: pushed, not measured


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
        "constraints": {"p50_ms": {"max": 6}, "accuracy_drop": {"max": 0.05}},
        "objective": "accuracy",
        "slo": {"latency_ms": SLO_MS, "percentile": 95},
        "ladder": {"rungs": rungs, "emergency": rungs > 1},
    }
    return json.dumps(content)


CALM_PHASES = [(12.0, 2.0)]  # (requests per second, seconds): none waits for another
BURST_FACTORS = (1.25, 2.0)  # tried in this order until the largest rung alone misses the SLO


def burst_phases(served_p50_ms: float, factor: float) -> list[tuple[float, float]]:
    """Calm, a burst of ``factor`` times what would keep the largest rung busy, calm again.

    ``served_p50_ms`` is what a lone request takes on it from end to end: transport counts, not only the model.
    """
    capacity_hz = 1000 / served_p50_ms
    return [(0.25 * capacity_hz, 1.0), (factor * capacity_hz, 4.0), (0.2 * capacity_hz, 4.5)]
