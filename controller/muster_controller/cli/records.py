"""Benchmark records as rows for people: ms and MiB, absent figures stay absent."""

from __future__ import annotations

from typing import Any

from muster.bench import Record
from muster_controller.cli.output import Row, milliseconds

COLUMNS = {
    "DEVICE": "device_id",
    "CONFIGURATION": "configuration",
    "P50 MS": "p50_ms",
    "P95 MS": "p95_ms",
    "P99 MS": "p99_ms",
    "COLD MS": "cold_start_ms",
    "PEAK MIB": "peak_memory_mib",
    "ACCURACY": "accuracy",
    "AGREEMENT": "agreement",
    "ENERGY MJ": "energy_mj",
    "N": "n",
    "TIER": "tier",
    "STATE": "state",
    "EMULATED": "emulated",
    "REASONS": "reasons",
}


def row_of(record: Record) -> dict[str, Any]:
    """One line of a table."""
    fields = record.fields
    latency: Row = fields["latency"] or {}
    cold: Row = fields["cold_start"] or {}
    accuracy: Row = fields["accuracy"] or {}
    phases = ("spawn", "import_runtime", "load", "first_inference")
    return {
        "record_id": fields["record_id"],
        "device_id": record.device_id,
        "configuration": record.configuration,
        "n": latency.get("n"),
        **{f"{name}_ms": milliseconds(latency.get(name)) for name in ("p50", "p90", "p95", "p99")},
        "cold_start_ms": milliseconds(sum(cold[phase] for phase in phases)) if cold else None,
        "peak_memory_mib": record.peak_memory_mib,
        "accuracy": record.accuracy,
        "agreement": accuracy.get("agreement"),
        "energy_mj": (fields["energy"] or {}).get("net_mj"),
        "tier": fields["workload"]["tier"],
        "state": record.state,
        "emulated": (fields["emulation"] or {}).get("profile", ""),
        "reasons": "; ".join(fields["reasons"]),
        "finished_at_ns": fields["finished_at_ns"],
    }
