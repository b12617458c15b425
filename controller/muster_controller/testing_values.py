"""Plausible values of every noun, for tests: small, valid, and changed with ``dataclasses.replace``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from muster_controller.core.entities import (
    BenchmarkRun,
    Deployment,
    Device,
    DeviceRequest,
    Fleet,
    Model,
    Rollout,
    RolloutState,
    StoredReport,
    Variant,
)
from muster_protos import codec
from muster_protos.envelope import VARIANT_MANIFEST
from muster_protos.model import (
    Accuracy,
    ArtifactRef,
    BenchmarkRecord,
    BenchmarkRequest,
    Configuration,
    DeploymentState,
    DeviceFacts,
    Emulation,
    EnvelopeSignature,
    Event,
    Format,
    Inventory,
    Latency,
    LoadResult,
    Memory,
    RecordState,
    Report,
    Rung,
    RuntimeSupport,
    Scenario,
    ServingGrant,
    Signature,
    SignedEnvelope,
    Slo,
    TensorSpec,
    Tier,
    VariantManifest,
    Workload,
)

NOW_NS = 1_700_000_000_000_000_000
_MS = 10**6
_MIB = 2**20


def sha256_of(text: str) -> str:
    """A sha256 that stands for ``text``."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_fleet(fleet_id: str = "lab", epoch: int = 1) -> Fleet:
    return Fleet(fleet_id, fleet_id, epoch, NOW_NS)


def make_inventory(
    device_id: str = "pi-1", *, cores: int = 4, formats: Sequence[str] = ("onnx",), profile: str = ""
) -> Inventory:
    """A device with one runtime per format, all of which infer."""
    runtimes = {
        "onnx": RuntimeSupport("onnxruntime", "1.31.0", ("cpu",), ("onnx",)),
        "tflite": RuntimeSupport("litert", "2.3.0", ("cpu", "xnnpack"), ("tflite",)),
    }
    return Inventory(
        device_id=device_id,
        agent_version="0.1.0",
        os="linux",
        arch="aarch64",
        cores=cores,
        ram_bytes=4 * 2**30,
        runtimes=tuple(runtimes[name] for name in formats),
        links=("grpc",),
        emulation=Emulation(profile, ("a test",)) if profile else None,
    )


def make_device(device_id: str = "pi-1", labels: Mapping[str, str] | None = None, **inventory: str) -> Device:
    return Device(
        device_id=device_id,
        name=device_id,
        joined_at_ns=NOW_NS,
        certificate_serial="01",
        public_key_sha256=sha256_of(device_id),
        inventory=make_inventory(device_id, profile=inventory.get("profile", "")),
        labels=labels or {},
    )


def make_model(
    model_id: str = "digits", version: int = 1, *, is_labelled: bool = True, metric: str = "accuracy"
) -> Model:
    return Model(
        model_id=model_id,
        version=version,
        signature=Signature(
            inputs=(TensorSpec("image", "float32", (1, 1, 28, 28)),),
            outputs=(TensorSpec("scores", "float32", (1, 10)),),
            layout="NCHW",
            task="classification",
            metric=metric if is_labelled else "",
        ),
        created_at_ns=NOW_NS,
        source="digits.onnx",
        evaluation=ArtifactRef(sha256_of(f"{model_id} evaluation"), 1000),
        is_labelled=is_labelled,
    )


def make_variant(
    name: str = "fp32",
    model_id: str = "digits",
    version: int = 1,
    *,
    parent: str = "",
    size_bytes: int = 4 * _MIB,
    accuracy: Accuracy | None = None,
    file_format: Format = Format.ONNX,
) -> Variant:
    """A variant whose artifact is named after it; the baseline has no parent."""
    variant_id = f"{model_id}.v{version}.{name}"
    manifest = VariantManifest(
        variant_id=variant_id,
        model_id=model_id,
        model_version=version,
        name=name,
        parent_variant_id=f"{model_id}.v{version}.{parent}" if parent else "",
        artifact=ArtifactRef(sha256_of(variant_id), size_bytes),
        format=file_format,
        precision=name,
        golden=ArtifactRef(sha256_of(f"{variant_id} golden"), 100),
        evaluation=ArtifactRef(sha256_of(f"{model_id} evaluation"), 1000),
        accuracy=accuracy,
        created_at_ns=NOW_NS,
    )
    signature = EnvelopeSignature("key-1", b"\xff\x00 not a real signature")
    return Variant(manifest, SignedEnvelope(VARIANT_MANIFEST, codec.encode(manifest), (signature,)))


def make_configuration(
    variant_id: str = "digits.v1.fp32", runtime: str = "onnxruntime", provider: str = "cpu", threads: int = 1
) -> Configuration:
    return Configuration(variant_id, runtime, provider, threads)


def make_accuracy(value: float | None = 0.98, agreement: float | None = 0.99, metric: str = "accuracy") -> Accuracy:
    return Accuracy(n=500, metric=metric, value=value, agreement=agreement)


def make_latency(p95_ms: float = 10.0, queries: int = 200) -> Latency:
    """A run of ``queries`` whose p95 is ``p95_ms``; its upper bound is 2 % above."""
    p95 = round(p95_ms * _MS)
    return Latency(
        n=queries,
        min=max(1, round(p95 * 0.7)),
        mean=p95 * 0.85,
        std=p95 * 0.05,
        mad=p95 * 0.03,
        p50=max(1, round(p95 * 0.8)),
        p50_ci_low=max(1, round(p95 * 0.79)),
        p50_ci_high=max(1, round(p95 * 0.81)),
        p90=max(1, round(p95 * 0.95)),
        p95=p95,
        p95_ci_low=max(1, round(p95 * 0.98)),
        p95_ci_high=max(1, round(p95 * 1.02)),
    )


def make_record(
    variant: Variant,
    *,
    record_id: str = "",
    request_id: str = "req-1",
    attempt: int = 1,
    device_id: str = "pi-1",
    configuration: Configuration | None = None,
    p95_ms: float = 10.0,
    peak_mib: float = 20.0,
    accuracy: Accuracy | None = None,
    state: RecordState = RecordState.VALID,
    finished_at_ns: int = NOW_NS,
    profile: str = "",
    tier: Tier = Tier.QUICK,
) -> BenchmarkRecord:
    """A record of ``variant`` as a truthful device would send it."""
    manifest = variant.manifest
    configuration = configuration or make_configuration(manifest.variant_id)
    return BenchmarkRecord(
        schema_version=1,
        record_id=record_id or f"rec-{request_id}-{attempt}",
        request_id=request_id,
        attempt=attempt,
        started_at_ns=finished_at_ns - 10**9,
        finished_at_ns=finished_at_ns,
        state=state,
        reasons=() if state is RecordState.VALID else (f"a reason to be {state.value}",),
        emulation=Emulation(profile, ("a test",)) if profile else None,
        device=DeviceFacts(device_id=device_id, cores=4),
        configuration=configuration,
        model_id=manifest.model_id,
        model_version=manifest.model_version,
        artifact=manifest.artifact,
        format=manifest.format,
        workload=Workload(scenario=Scenario.SINGLE_STREAM, batch=1, tier=tier),
        latency=make_latency(p95_ms),
        memory=Memory(baseline=10 * _MIB, peak_hwm=round((10 + peak_mib) * _MIB), peak_net=round(peak_mib * _MIB)),
        accuracy=accuracy if accuracy is not None else manifest.accuracy,
    )


def make_request(
    request_id: str = "req-1",
    run_id: str = "run-1",
    device_id: str = "pi-1",
    configuration: Configuration | None = None,
    attempt: int = 1,
) -> DeviceRequest:
    return DeviceRequest(
        run_id=run_id,
        device_id=device_id,
        model_id="digits",
        model_version=1,
        request=BenchmarkRequest(
            request_id=request_id,
            attempt=attempt,
            configuration=configuration or make_configuration(),
            tier=Tier.QUICK,
            scenario=Scenario.SINGLE_STREAM,
            percentiles=(50.0, 95.0),
            deadline_ms=60_000,
        ),
    )


def make_run(run_id: str = "run-1", device_ids: Sequence[str] = ("pi-1",)) -> BenchmarkRun:
    return BenchmarkRun(run_id, "digits", 1, Tier.QUICK, NOW_NS, tuple(device_ids))


def make_stored_report(
    body: BenchmarkRecord | Event | LoadResult,
    *,
    sequence: int = 1,
    device_id: str = "pi-1",
    rejected_reason: str = "",
) -> StoredReport:
    """``body`` as it arrives from the device."""
    request_id, attempt = ("events", 0) if isinstance(body, Event) else (body.request_id, body.attempt)
    report = Report(request_id, attempt, sequence, body)
    return StoredReport(device_id, request_id, attempt, sequence, codec.encode(report), NOW_NS, rejected_reason)


def make_deployment(
    deployment_id: str = "dep-1",
    device_id: str = "pi-1",
    *,
    rollout_id: str = "roll-1",
    wave: int = 0,
    state: DeploymentState = DeploymentState.PENDING,
    started_at_ns: int = 0,
    version: int = 1,
    variant_ids: Sequence[str] = ("digits.v1.fp32",),
) -> Deployment:
    ladder = tuple(Rung(make_configuration(item), 8 * _MS, 10 * _MS, 0.98) for item in variant_ids)
    return Deployment(
        deployment_id=deployment_id,
        rollout_id=rollout_id,
        device_id=device_id,
        model_id="digits",
        model_version=version,
        decision_id="dec-1",
        grant=ServingGrant(deployment_id=deployment_id, ladder=ladder, slo=Slo(40 * _MS, 95.0)),
        wave=wave,
        state=state,
        reason="",
        updated_at_ns=NOW_NS,
        started_at_ns=started_at_ns,
    )


def make_rollout(
    waves: Sequence[Sequence[str]] = (("pi-1",),), rollout_id: str = "roll-1", *, active_wave: int = -1
) -> Rollout:
    return Rollout(
        rollout_id=rollout_id,
        model_id="digits",
        model_version=1,
        state=RolloutState.RUNNING,
        reason="",
        created_at_ns=NOW_NS,
        waves=tuple(tuple(wave) for wave in waves),
        active_wave=active_wave,
        deadline_s=300,
        error_threshold_ratio=0.0,
    )
