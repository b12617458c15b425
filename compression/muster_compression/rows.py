"""What is told of each variant: one row, the same for programs (JSON), people (tree) and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from muster_compression.frontier import Candidate, quality_of
from muster_compression.orders import HostLatency, ImportedModel, RecipeResult, StepResult, VariantResult
from muster_protos.model import VariantManifest

_WORST_DB = -200.0
_LATENCY_OF = "this host, one thread; devices decide"


@dataclass(frozen=True, slots=True)
class VariantRow:
    """Figures of one variant; missing ones are None with a reason. Ratios are baseline / variant: 4 is a quarter."""

    name: str
    format: str
    path: str
    size_bytes: int
    latency_ms: float | None
    accuracy: float | None
    agreement: float | None
    size_ratio: float
    latency_ratio: float | None
    kept: bool
    reason: str  # why it was dropped
    variant_id: str
    parent: str  # variant id; "" = it is the baseline
    recipe: str
    sha256: str
    transit_bytes: int | None
    precision: str
    params: int | None
    macs: int | None
    sparsity: float | None
    latency_reason: str
    metric: str
    accuracy_ci: tuple[float | None, float | None]
    accuracy_reason: str
    agreement_ci: tuple[float | None, float | None]
    sqnr_db: float | None
    ece: float | None
    calibration_temperature: float | None
    calibrated_ece: float | None
    samples: int
    target_hint: str = ""
    latency_of: str = _LATENCY_OF
    tool_versions: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[StepResult, ...] = ()

    @property
    def candidate(self) -> Candidate:
        """What decides whether it is worth having."""
        quality = quality_of(self.metric, self.accuracy, self.agreement)
        return Candidate(self.name, self.format, quality, self.latency_ms, self.size_bytes)


def baseline_row(imported: ImportedModel, result: RecipeResult) -> VariantRow:
    """The baseline: all ratios are 1."""
    latency = result.baseline_latency
    unavailable = result.baseline_latency_unavailable
    return _row(imported.manifest, imported.artifact_path, latency, unavailable, imported.manifest, latency)


def variant_row(item: VariantResult, baseline: VariantManifest, baseline_latency: HostLatency | None) -> VariantRow:
    """A variant that came out, kept or dropped."""
    return _row(
        item.manifest,
        item.artifact_path,
        item.latency,
        item.latency_unavailable,
        baseline,
        baseline_latency,
        is_kept=item.is_kept,
        reason=item.reason,
        steps=tuple(finite(step) for step in item.steps),
    )


def _row(
    manifest: VariantManifest,
    path: Path,
    latency: HostLatency | None,
    unavailable: str,
    baseline: VariantManifest,
    baseline_latency: HostLatency | None,
    is_kept: bool = True,
    reason: str = "",
    steps: tuple[StepResult, ...] = (),
) -> VariantRow:
    accuracy = manifest.accuracy
    assert accuracy is not None
    return VariantRow(
        name=manifest.name,
        format=manifest.format.value,
        path=str(path),
        size_bytes=manifest.artifact.size_bytes,
        latency_ms=None if latency is None else latency.p50_ns / 1e6,
        accuracy=accuracy.value,
        agreement=accuracy.agreement,
        size_ratio=baseline.artifact.size_bytes / manifest.artifact.size_bytes,
        latency_ratio=_ratio(baseline_latency, latency),
        kept=is_kept,
        reason=reason,
        variant_id=manifest.variant_id,
        parent=manifest.parent_variant_id,
        recipe=manifest.recipe,
        sha256=manifest.artifact.sha256,
        transit_bytes=manifest.transit_bytes,
        precision=manifest.precision,
        params=manifest.params,
        macs=manifest.macs,
        sparsity=manifest.sparsity,
        latency_reason=unavailable if latency is None else "; ".join(latency.reasons),
        metric=accuracy.metric,
        accuracy_ci=(accuracy.ci_low, accuracy.ci_high),
        accuracy_reason=accuracy.unavailable_reason,
        agreement_ci=(accuracy.agreement_ci_low, accuracy.agreement_ci_high),
        sqnr_db=manifest.sqnr_db,
        ece=accuracy.ece,
        calibration_temperature=manifest.calibration_temperature,
        calibrated_ece=manifest.calibrated_ece,
        samples=accuracy.n,
        target_hint=manifest.target_hint,
        tool_versions=manifest.tool_versions,
        steps=steps,
    )


def finite(step: StepResult) -> StepResult:
    """JSON has no infinity: a layer whose answers are not finite stands there with -200 dB."""
    layers = tuple(
        replace(layer, sqnr_db=_WORST_DB) if layer.sqnr_db == -math.inf else layer for layer in step.sensitivities
    )
    return replace(step, sensitivities=layers)


def _ratio(baseline: HostLatency | None, latency: HostLatency | None) -> float | None:
    if baseline is None or latency is None or latency.p50_ns <= 0:
        return None
    return baseline.p50_ns / latency.p50_ns
