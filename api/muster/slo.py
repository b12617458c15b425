"""What a choice must meet, written in Python instead of YAML."""

from __future__ import annotations

import json
from dataclasses import dataclass

from muster_protos.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class SLO:
    """Upper bounds on what is measured on the device; None = no bound.

    ``accuracy_drop`` is in points of the metric (0.01 = one percentage point below the baseline).
    """

    p95_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    peak_memory_mb: float | None = None
    size_mb: float | None = None
    energy_mj: float | None = None
    accuracy_drop: float | None = None
    accuracy: float | None = None  # a floor
    objective: str = "accuracy"
    apply: str = "manual"

    def policy_yaml(self) -> str:
        """The same as a policy. InvalidInputError when it bounds nothing."""
        bounds: dict[str, dict[str, float]] = {
            name: {"max": value}
            for name in ("p50_ms", "p95_ms", "p99_ms", "peak_memory_mb", "size_mb", "energy_mj", "accuracy_drop")
            if (value := getattr(self, name)) is not None
        }
        if self.accuracy is not None:
            bounds["accuracy"] = {"min": self.accuracy}
        if not bounds:
            raise InvalidInputError("expected an SLO with at least one bound, e.g. SLO(p95_ms=20), found none")
        return json.dumps({"constraints": bounds, "objective": self.objective, "apply": self.apply}, indent=2)
