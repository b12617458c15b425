"""Who plays: the devices, the policy that all of them get, and the load that they are put under."""

from __future__ import annotations

import json
from dataclasses import dataclass

MODEL = "digits"
SLO_MS = 150  # an emulated pi that shares its host with others stalls for tens of ms by itself
MEASURED = ("fp32", "int8-static", "narrow", "tiny-tflite")  # fp16 changes no CPU latency: pushed, not measured


@dataclass(frozen=True, slots=True)
class Actor:
    """One emulated device."""

    device_id: str
    profile: str
    link: str = "grpc"  # "mqtt" where there is a broker


ACTORS = (Actor("jetson-1", "jetson"), Actor("phone-1", "phone"), Actor("pi-1", "pi", link="mqtt"))


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


PROBE_CONCURRENCY, PROBE_S = 2, 2.0  # a closed loop: what the largest rung can do, transport included
BURST_FACTORS = (1.2, 1.6)  # of its capacity; the second only if the first is no overload after all


def burst_phases(capacity_hz: float, factor: float) -> list[tuple[float, float]]:
    """(requests per second, seconds): calm, a burst of ``factor`` times the largest rung's capacity, calm again."""
    return [(0.25 * capacity_hz, 1.0), (factor * capacity_hz, 4.0), (0.2 * capacity_hz, 4.5)]
