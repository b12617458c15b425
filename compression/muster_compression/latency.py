"""How fast a variant is on this host, one thread, batch 1: a hint for people and searches. Devices decide."""

from __future__ import annotations

import threading
from pathlib import Path

from muster_compression.face import host_runtime
from muster_compression.orders import HostLatency
from muster_protos.errors import MusterError
from muster_protos.model import BenchmarkRequest, Configuration, Scenario, Tier, VariantManifest

_WALL_S = 120.0


def host_latency(path: Path, manifest: VariantManifest, evaluation_path: Path) -> tuple[HostLatency | None, str]:
    """Measured by ``muster_bench`` in a child of its own; (None, reason) when that fails."""
    del evaluation_path  # accuracy is known already; only the latency is asked for
    from muster_bench.limits import ChildLimits
    from muster_bench.measure import MeasureSpec, run_benchmark
    from muster_devices.facts import device_facts

    runtime, provider = host_runtime(manifest.format)
    request = BenchmarkRequest(
        request_id="host",
        configuration=Configuration(manifest.variant_id, runtime, provider, 1),
        tier=Tier.DEMO,
        scenario=Scenario.SINGLE_STREAM,
    )
    spec = MeasureSpec(path, manifest, request, None, device_facts(Path("/")), None, 1.0, "")
    try:
        record = run_benchmark(spec, ChildLimits(wall_s=_WALL_S), lambda _: None, threading.Event())
    except MusterError as error:
        return None, str(error)
    if record.latency is None:
        return None, "; ".join(record.reasons) or "not measured"
    return HostLatency(record.latency.p50, runtime, record.state.value, record.reasons), ""
