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


def calm_phases(benchmarked_p50_ms: float) -> list[tuple[float, float]]:
    """(requests per second, seconds): few enough that none waits for another."""
    return [(0.15 * 1000 / benchmarked_p50_ms, 2.0)]


def burst_phases(served_p50_ms: float) -> list[tuple[float, float]]:
    """Calm, a burst of 1.25 times what the largest rung can answer one after the other, calm again.

    ``served_p50_ms`` is what a lone request takes on it from end to end: transport counts, not only the model.
    """
    capacity_hz = 1000 / served_p50_ms
    return [(0.25 * capacity_hz, 1.5), (1.25 * capacity_hz, 4.0), (0.25 * capacity_hz, 5.0)]
