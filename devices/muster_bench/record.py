"""A record on the parent's side: what to measure, what is known before, what the child adds."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from pathlib import Path

from muster_bench.checkout import checkout_commit
from muster_devices.boot import boot_id
from muster_devices.sensors.survey import survey
from muster_protos.model import (
    BenchmarkRecord,
    BenchmarkRequest,
    DeviceFacts,
    Emulation,
    Energy,
    Scenario,
    VariantManifest,
    Workload,
)

SCHEMA_VERSION = 1
_UNKNOWN_DEVICE = DeviceFacts()


@dataclass(frozen=True, slots=True)
class MeasureSpec:
    """What to measure, and what to say about where."""

    artifact_path: Path
    manifest: VariantManifest
    request: BenchmarkRequest
    evaluation_path: Path | None = None
    device: DeviceFacts = _UNKNOWN_DEVICE
    emulation: Emulation | None = None
    slowdown_ratio: float = 1.0  # declared slowdown of an emulated device; 1.0 = none
    agent_version: str = ""
    commit: str = ""  # "" = that of the checkout that runs, if one does
    idle_celsius: float | None = None  # None = as learnt in this process, see muster_devices.idle_temperature
    root: Path = Path("/")


def begun_record(spec: MeasureSpec, started_at_ns: int) -> BenchmarkRecord:
    """What is known before anything ran."""
    return BenchmarkRecord(
        schema_version=SCHEMA_VERSION,
        record_id=secrets.token_hex(16),
        request_id=spec.request.request_id,
        attempt=spec.request.attempt,
        boot_id=boot_id(spec.root),
        started_at_ns=started_at_ns,
        emulation=spec.emulation,
        device=spec.device,
        configuration=spec.request.configuration,
        model_id=spec.manifest.model_id,
        model_version=spec.manifest.model_version,
        artifact=spec.manifest.artifact,
        format=spec.manifest.format,
        energy=_energy(spec.root),
    )


def joined_record(base: BenchmarkRecord, measured: BenchmarkRecord, spec: MeasureSpec) -> BenchmarkRecord:
    """What the parent knows together with what the child measured."""
    data = spec.manifest.evaluation if spec.evaluation_path else None
    return replace(
        base,
        build=replace(measured.build, agent_version=spec.agent_version, commit=spec.commit or checkout_commit()),
        precision=measured.precision,
        workload=Workload(
            scenario=Scenario.SINGLE_STREAM,
            batch=measured.workload.batch,
            data_sha256=data.sha256 if data else "",
            inputs=measured.workload.inputs,
            seed=spec.request.seed,
            tier=spec.request.tier,
        ),
        latency=measured.latency,
        throughput_ips=measured.throughput_ips,
        memory=measured.memory,
        accuracy=measured.accuracy,
        latency_sketch=measured.latency_sketch,
        warmup_queries=measured.warmup_queries,
    )


def _energy(root: Path) -> Energy:
    """Runs do not read power yet; the reason says whether there would be something to read."""
    power = [sensor for sensor in survey(root) if sensor.kind == "power"]
    names = ", ".join(sensor.name for sensor in power if not sensor.unavailable_reason)
    if names:
        return Energy(method="none", unavailable_reason=f"power sensor ({names}) is not read during runs yet")
    reasons = "; ".join(sensor.unavailable_reason for sensor in power)
    return Energy(method="none", unavailable_reason=reasons or "no power sensor")
