"""Which records speak for a device's configurations, and what has to be said of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from muster_controller.core.entities import Device, Model, Variant
from muster_protos.model import BenchmarkRecord, Configuration, Emulation, RecordState, Tier

ConfigurationKey = tuple[str, str, str, int]


@dataclass(frozen=True, slots=True)
class Measured:
    """The record that speaks for one configuration on one device."""

    configuration: Configuration
    variant: Variant
    record: BenchmarkRecord
    notes: tuple[str, ...]
    unusable_reason: str = ""  # why nothing may be concluded from it


def configuration_text(configuration: Configuration) -> str:
    """``<variant>@<runtime>/<provider>/t<threads>``; the variant alone when it has never been run."""
    if not configuration.runtime:
        return configuration.variant_id
    return f"{configuration.variant_id}@{configuration.runtime}/{configuration.provider}/t{configuration.threads}"


def key_of(configuration: Configuration) -> ConfigurationKey:
    """A total order over configurations."""
    return (configuration.variant_id, configuration.runtime, configuration.provider, configuration.threads)


def measured_on(
    device: Device, model: Model, variants: Iterable[Variant], records: Iterable[BenchmarkRecord]
) -> tuple[Measured, ...]:
    """The newest usable record of each configuration of ``variants`` on ``device``, ordered by configuration.

    ``records`` come in the order of their arrival: that decides which is newest, for a device's clock may be absurd.

    Records of another device, another model version, other bytes under the same name, or measured while the device
    was not (or otherwise) emulated do not count. A configuration with invalid records only is there with the reason.
    """
    by_id: Mapping[str, Variant] = {variant.manifest.variant_id: variant for variant in variants}
    newest: dict[ConfigurationKey, BenchmarkRecord] = {}
    for record in records:
        variant = by_id.get(record.configuration.variant_id)
        if variant is None or not _speaks_for(record, device, model, variant):
            continue
        key = key_of(record.configuration)
        if key not in newest or _is_usable(record) >= _is_usable(newest[key]):
            newest[key] = record
    return tuple(
        Measured(
            configuration=newest[key].configuration,
            variant=by_id[key[0]],
            record=newest[key],
            notes=_notes(newest[key]),
            unusable_reason=_unusable(newest[key], by_id[key[0]]),
        )
        for key in sorted(newest)
    )


def _speaks_for(record: BenchmarkRecord, device: Device, model: Model, variant: Variant) -> bool:
    return (
        record.device.device_id == device.device_id
        and (record.model_id, record.model_version) == (model.model_id, model.version)
        and record.artifact.sha256 == variant.manifest.artifact.sha256
        and _profile(record.emulation) == _profile(device.inventory.emulation)
    )


def _profile(emulation: Emulation | None) -> str | None:
    return None if emulation is None else emulation.profile


def _is_usable(record: BenchmarkRecord) -> bool:
    return record.state not in (RecordState.INVALID, RecordState.UNSPECIFIED) and record.latency is not None


def _unusable(record: BenchmarkRecord, variant: Variant) -> str:
    if not variant.is_kept:
        return f"dropped: {variant.dropped_reason or 'no reason given'}"
    if not _is_usable(record):
        return f"no valid record: {'; '.join(record.reasons) or 'the run was invalid'}"
    return ""


def _notes(record: BenchmarkRecord) -> tuple[str, ...]:
    notes: list[str] = []
    reasons = "; ".join(reason for reason in record.reasons if not reason.startswith("demo tier:"))  # said below
    if record.state is RecordState.TAGGED_NOISY:
        notes.append(f"noisy: {reasons or 'no reason given'}")
    if record.state is RecordState.THROTTLED:
        notes.append(f"throttled: {reasons or 'no reason given'}")
    if record.workload.tier is Tier.DEMO:
        notes.append("tier demo: for demonstrations only")
    if record.emulation is not None:
        notes.append(f"emulated: {record.emulation.profile}")
    return tuple(notes)
