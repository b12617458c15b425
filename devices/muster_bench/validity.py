"""Whether a record may be believed."""

from __future__ import annotations

from collections.abc import Sequence

from muster_bench.early_stopping import is_supported
from muster_bench.tiers import RunLength
from muster_protos.model import BenchmarkRecord, RecordState, Tier, Validity

OVERHEAD_FLOOR_NS = 20_000
OVERHEAD_RATIO = 0.005


def is_overhead_ok(overhead_ns: int | None, median_ns: int) -> bool:
    """Whether the harness's own cost per query is at most max(20 us, 0.5 % of the median)."""
    return overhead_ns is not None and overhead_ns <= max(OVERHEAD_FLOOR_NS, OVERHEAD_RATIO * median_ns)


def judge(
    record: BenchmarkRecord,
    length: RunLength,
    percentiles: Sequence[float],
    queries: int,
    duration_ns: int,
    noise: Sequence[str],
) -> tuple[Validity, RecordState, tuple[str, ...]]:
    """Validity, state and reasons of a run that gave latencies; ``noise`` is what pre-flight found."""
    latency = record.latency
    assert latency is not None
    validity = Validity(
        min_duration_met=duration_ns >= length.min_duration_s * 1e9,
        min_queries_met=queries >= length.min_queries,
        early_stopping_met=all(is_supported(percentile / 100, latency.n) for percentile in percentiles),
        overhead_ok=is_overhead_ok(latency.null_overhead, latency.p50),
        preflight_ok=not noise,
    )
    broken = _broken(validity, length, queries, duration_ns)
    if not validity.overhead_ok:
        broken.append(f"harness overhead {latency.null_overhead} ns for a median of {latency.p50} ns")
    remarks = ("demo tier: 1 s, for demonstrations only",) if record.workload.tier is Tier.DEMO else ()
    if broken:
        return validity, RecordState.INVALID, (*broken, *noise, *remarks)
    if noise:
        return validity, RecordState.TAGGED_NOISY, (*noise, *remarks)
    return validity, RecordState.VALID, remarks


def _broken(validity: Validity, length: RunLength, queries: int, duration_ns: int) -> list[str]:
    broken = []
    if not validity.min_duration_met:
        broken.append(f"ran {duration_ns / 1e9:.1f} s of at least {length.min_duration_s:g} s")
    if not validity.min_queries_met:
        broken.append(f"made {queries} queries of at least {length.min_queries}")
    if not validity.early_stopping_met:
        broken.append("too few latencies for the percentiles that were asked for")
    return broken
