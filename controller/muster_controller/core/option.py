"""What a device could run: each measured configuration with its figures and what speaks against it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from muster_controller.core.entities import Candidate, Device, Model, Variant
from muster_controller.core.figures import Figure, Quality, accuracy_of, figures_of, quality_figures, quality_of
from muster_controller.core.judge import Violation, violations_of
from muster_controller.core.measured import Measured, configuration_text, measured_on
from muster_controller.core.policy_terms import Metric, Objective, Policy
from muster_protos.model import Accuracy, BenchmarkRecord, Configuration

_MIB = 2**20
_NS_PER_MS = 1e6
# The better a method, the earlier; figures of different methods are never ranked against each other.
_ENERGY_METHODS = ("meter", "counter", "battery", "model")


@dataclass(frozen=True, slots=True)
class Option:
    """A measured configuration as the policy sees it."""

    measured: Measured
    figures: Mapping[Metric, Figure]
    quality: Quality
    accuracy: Accuracy | None
    violations: tuple[Violation, ...]
    problem: str  # why it cannot be compared with the others; "" when it can
    notes: tuple[str, ...]

    @property
    def configuration(self) -> Configuration:
        return self.measured.configuration

    @property
    def name(self) -> str:
        return configuration_text(self.measured.configuration)

    @property
    def is_comparable(self) -> bool:
        """Its figures may be used, whether or not they meet the constraints."""
        return not self.problem

    @property
    def is_feasible(self) -> bool:
        return not self.problem and not self.violations

    def candidate(self, verdict: str) -> Candidate:
        """The option as it stands in a decision."""
        p95 = self.figures[Metric.P95_MS]
        latency = self.measured.record.latency
        return Candidate(
            configuration=self.configuration,
            record_id=self.measured.record.record_id,
            quality=self.quality.value,
            quality_kind=self.quality.kind,
            p50_ms=self.figures[Metric.P50_MS].value,
            p95_ms=p95.value,
            p95_upper_ms=p95.worst,
            peak_memory_mib=self.figures[Metric.PEAK_MEMORY_MB].value,
            energy_mj=self.figures[Metric.ENERGY_MJ].value,
            size_mib=self.figures[Metric.SIZE_MB].value,
            is_feasible=self.is_feasible,
            verdict=verdict,
            accuracy=self.accuracy,
            notes=self.notes,
            mean_ms=None if latency is None else latency.mean / _NS_PER_MS,
        )


def options_of(
    policy: Policy, model: Model, variants: Sequence[Variant], records: Iterable[BenchmarkRecord], device: Device
) -> tuple[tuple[Option, ...], Mapping[Metric, Figure]]:
    """(the options in the order of their configurations, the figures of the uncompressed variant on this device)."""
    measured = measured_on(device, model, variants, records)
    baseline_accuracy, baseline = _baseline(measured, variants, model)
    options = [_option(item, baseline_accuracy, baseline, policy, model) for item in measured]
    if Objective.ENERGY in policy.objectives:
        options = _with_one_energy_method(options)
    return tuple(options), baseline


def unmeasured(variants: Sequence[Variant], options: Sequence[Option]) -> tuple[Candidate, ...]:
    """The variants of which this device has measured no configuration, with that as the verdict."""
    known = {option.configuration.variant_id for option in options}
    return tuple(
        _unmeasured(variant)
        for variant in sorted(variants, key=lambda variant: variant.manifest.variant_id)
        if variant.manifest.variant_id not in known
    )


def _unmeasured(variant: Variant) -> Candidate:
    manifest = variant.manifest
    dropped = f"dropped: {variant.dropped_reason or 'no reason given'}"
    return Candidate(
        configuration=Configuration(variant_id=manifest.variant_id),
        record_id="",
        quality=None,
        quality_kind="none",
        p50_ms=None,
        p95_ms=None,
        p95_upper_ms=None,
        peak_memory_mib=None,
        energy_mj=None,
        size_mib=manifest.artifact.size_bytes / _MIB,
        is_feasible=False,
        verdict="not benchmarked on this device" if variant.is_kept else dropped,
        accuracy=manifest.accuracy,
    )


def _option(
    measured: Measured,
    baseline_accuracy: Accuracy | None,
    baseline: Mapping[Metric, Figure],
    policy: Policy,
    model: Model,
) -> Option:
    manifest = measured.variant.manifest
    accuracy, is_on_device = accuracy_of(measured.record, manifest)
    quality = quality_of(accuracy, model, policy)
    figures = {**figures_of(measured.record, manifest), **quality_figures(accuracy, baseline_accuracy, model)}
    from_host = () if is_on_device or accuracy is None else ("accuracy from the host, not measured on this device",)
    return Option(
        measured=measured,
        figures=figures,
        quality=quality,
        accuracy=accuracy,
        violations=violations_of(figures, baseline, policy, model),
        problem=measured.unusable_reason or _objective_problem(figures, quality, policy),
        notes=(*measured.notes, *from_host),
    )


def _objective_problem(figures: Mapping[Metric, Figure], quality: Quality, policy: Policy) -> str:
    if Objective.ACCURACY in policy.objectives and quality.value is None:
        return f"objective accuracy: unknown: {quality.reason}"
    energy = figures[Metric.ENERGY_MJ]
    if Objective.ENERGY in policy.objectives and energy.value is None:
        return f"objective energy: unknown: {energy.reason}"
    return ""


def _baseline(
    measured: Sequence[Measured], variants: Sequence[Variant], model: Model
) -> tuple[Accuracy | None, Mapping[Metric, Figure]]:
    """The variant without a parent: its accuracy, and its figures in its fastest configuration here."""
    roots = sorted(item.manifest.variant_id for item in variants if not item.manifest.parent_variant_id)
    if not roots:
        return None, {}
    manifest = next(item.manifest for item in variants if item.manifest.variant_id == roots[0])
    runs = [
        (item.record.latency.p50, item.record)
        for item in measured
        if item.configuration.variant_id == roots[0] and item.record.latency and not item.unusable_reason
    ]
    record = min(runs, key=lambda run: (run[0], run[1].record_id))[1] if runs else None
    accuracy, _ = accuracy_of(record, manifest)
    figures = figures_of(record, manifest) if record else {}
    return accuracy, {**figures, **quality_figures(accuracy, accuracy, model)}


def _with_one_energy_method(options: Sequence[Option]) -> list[Option]:
    methods = {_energy_method(option) for option in options if option.is_comparable}
    best = next((method for method in _ENERGY_METHODS if method in methods), "")
    return [
        option
        if option.problem or _energy_method(option) == best
        else replace(
            option,
            problem=f"its energy was measured by {_energy_method(option)}, others' by {best}: not comparable",
        )
        for option in options
    ]


def _energy_method(option: Option) -> str:
    energy = option.measured.record.energy
    return "" if energy is None else energy.method
