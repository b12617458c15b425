"""The figures of one measured configuration in the units of policies, each with its worst end or why it is missing.

A latency is judged by the upper end of its 95 % interval where there is one. Accuracy is judged by its value: variants
are measured on the same samples, so the difference to the baseline is known far better than either figure alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from muster_controller.core.entities import Model
from muster_controller.core.policy_terms import Metric, Policy
from muster_protos.metric_names import is_error_metric
from muster_protos.model import Accuracy, BenchmarkRecord, Latency, VariantManifest

_NS_PER_MS = 1e6
_BYTES_PER_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Figure:
    """A value, the worst it may be, and, when there is none, why."""

    value: float | None
    worst: float | None = None  # the end of the interval that hurts; the value itself when no interval is known
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Quality:
    """What orders variants by how good their answers are; larger is better."""

    value: float | None
    kind: str  # "accuracy", "agreement", "none"
    reason: str = ""


def figures_of(record: BenchmarkRecord, manifest: VariantManifest) -> Mapping[Metric, Figure]:
    """Every figure but the quality ones."""
    return {
        **_latency_figures(record.latency, record.reasons),
        Metric.PEAK_MEMORY_MB: _memory_figure(record),
        Metric.ENERGY_MJ: _energy_figure(record),
        Metric.SIZE_MB: _known(manifest.artifact.size_bytes / _BYTES_PER_MIB),
    }


def accuracy_of(record: BenchmarkRecord | None, manifest: VariantManifest) -> tuple[Accuracy | None, bool]:
    """(accuracy, measured on the device): the device's own figure, else the host's from the manifest."""
    on_device = record.accuracy if record else None
    if on_device is not None and (on_device.value is not None or on_device.agreement is not None):
        return on_device, True
    return manifest.accuracy, False


def quality_of(accuracy: Accuracy | None, model: Model, policy: Policy) -> Quality:
    """Accuracy where labels exist (negated for an error metric), else agreement where the policy allows it."""
    if model.is_labelled:
        if accuracy is None or accuracy.value is None:
            return Quality(None, "none", _why_no_accuracy(accuracy))
        is_error = is_error_metric(model.signature.metric)
        return Quality(-accuracy.value if is_error else accuracy.value, "accuracy")
    if policy.uses_agreement:
        if accuracy is None or accuracy.agreement is None:
            return Quality(None, "none", _why_no_accuracy(accuracy))
        return Quality(accuracy.agreement, "agreement")
    return Quality(None, "none", "no labels, and the policy does not allow agreement")


def quality_figures(accuracy: Accuracy | None, baseline: Accuracy | None, model: Model) -> Mapping[Metric, Figure]:
    """Accuracy, its drop against the baseline, and agreement; agreement stands in for accuracy without labels."""
    missing = Figure(None, reason=_why_no_accuracy(accuracy))
    agreement = missing if accuracy is None or accuracy.agreement is None else _known(accuracy.agreement)
    if not model.is_labelled:
        drop = missing if agreement.value is None else _known(1.0 - agreement.value)
        return {Metric.ACCURACY: agreement, Metric.ACCURACY_DROP: drop, Metric.AGREEMENT: agreement}
    if accuracy is None or accuracy.value is None:
        return {Metric.ACCURACY: missing, Metric.ACCURACY_DROP: missing, Metric.AGREEMENT: agreement}
    if baseline is None or baseline.value is None:
        drop = Figure(None, reason="the accuracy of the uncompressed variant is unknown")
    else:
        loss = baseline.value - accuracy.value
        drop = _known(-loss if is_error_metric(model.signature.metric) else loss)
    return {Metric.ACCURACY: _known(accuracy.value), Metric.ACCURACY_DROP: drop, Metric.AGREEMENT: agreement}


def _latency_figures(latency: Latency | None, reasons: tuple[str, ...]) -> Mapping[Metric, Figure]:
    if latency is None:
        missing = Figure(None, reason="; ".join(reasons) or "no latency was measured")
        return dict.fromkeys((Metric.P50_MS, Metric.P90_MS, Metric.P95_MS, Metric.P99_MS), missing)
    return {
        Metric.P50_MS: _percentile(latency.p50, latency.p50_ci_high, latency.n),
        Metric.P90_MS: _percentile(latency.p90, latency.p90_ci_high, latency.n),
        Metric.P95_MS: _percentile(latency.p95, latency.p95_ci_high, latency.n),
        Metric.P99_MS: _percentile(latency.p99, None, latency.n),
    }


def _percentile(value_ns: int | None, upper_ns: int | None, queries: int) -> Figure:
    if value_ns is None:
        return Figure(None, reason=f"{queries} queries cannot support it: benchmark with a longer tier")
    worst_ns = value_ns if upper_ns is None else max(value_ns, upper_ns)
    return Figure(value_ns / _NS_PER_MS, worst_ns / _NS_PER_MS)


def _memory_figure(record: BenchmarkRecord) -> Figure:
    memory = record.memory
    peak_bytes = None if memory is None else memory.peak_net if memory.peak_net is not None else memory.peak_hwm
    if peak_bytes is None:
        return Figure(None, reason="peak memory was not measured")
    return _known(peak_bytes / _BYTES_PER_MIB)


def _energy_figure(record: BenchmarkRecord) -> Figure:
    energy = record.energy
    if energy is None or energy.net_mj is None:
        reason = energy.unavailable_reason if energy is not None else ""
        return Figure(None, reason=reason or "no power sensor")
    return Figure(energy.net_mj, max(energy.net_mj, energy.ci_high_mj or energy.net_mj))


def _known(value: float) -> Figure:
    return Figure(value, value)


def _why_no_accuracy(accuracy: Accuracy | None) -> str:
    if accuracy is not None and accuracy.unavailable_reason:
        return accuracy.unavailable_reason
    return "no evaluation data"
