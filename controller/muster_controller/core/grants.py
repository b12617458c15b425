"""From a decision to what a device is granted to serve."""

from __future__ import annotations

from muster_controller.core.entities import Candidate, Decision
from muster_controller.core.measured import key_of
from muster_protos.errors import InfeasibleError
from muster_protos.model import Rung, ServingGrant, Slo

_NS_PER_MS = 1e6
_BYTES_PER_MIB = 2**20


def grant_of(decision: Decision, deployment_id: str, *, http_port: int = 0, grpc_port: int = 0) -> ServingGrant:
    """The decision's ladder with the figures that were measured on this very device.

    Raises:
        InfeasibleError: the decision chose nothing.
    """
    if not decision.ladder:
        raise InfeasibleError(
            f"no configuration of {decision.model_id}:{decision.model_version} satisfies the policy on "
            f"{decision.device_id}; nearest: {decision.nearest_miss}"
        )
    by_key = {key_of(candidate.configuration): candidate for candidate in decision.candidates}
    return ServingGrant(
        deployment_id=deployment_id,
        ladder=tuple(_rung(by_key[key_of(configuration)]) for configuration in decision.ladder),
        slo=decision.slo or Slo(),
        http_port=http_port,
        grpc_port=grpc_port,
    )


def _rung(candidate: Candidate) -> Rung:
    p50_ms = candidate.p50_ms or 0.0
    # A short run may not support a p95; the p50 is then the best lower bound of it that was measured.
    mean_ms = candidate.mean_ms
    p95_ms = candidate.p95_ms if candidate.p95_ms is not None else max(p50_ms, mean_ms or 0.0)
    memory_mib = candidate.peak_memory_mib
    return Rung(
        configuration=candidate.configuration,
        p50_ns=round(p50_ms * _NS_PER_MS),
        p95_ns=round(p95_ms * _NS_PER_MS),
        quality=candidate.quality,
        peak_memory_bytes=None if memory_mib is None else round(memory_mib * _BYTES_PER_MIB),
        mean_ns=None if mean_ms is None else round(mean_ms * _NS_PER_MS),
    )
