"""Which reports are believed. A lying report is kept with the reason and never steers anything.

In scope: what fields say of each other and of what was asked for. What a field alone may hold is in ``field_rules``.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Any

from muster_controller.core.entities import DeviceRequest, Variant
from muster_controller.core.event_rules import is_controllers
from muster_controller.core.field_rules import range_reasons, shape_reasons
from muster_protos.errors import InvalidInputError
from muster_protos.ids import check_id
from muster_protos.model import (
    Accuracy,
    BenchmarkRecord,
    Event,
    Inventory,
    Latency,
    LoadResult,
    Memory,
    RecordState,
    Report,
)

_LONGEST_LATENCY_NS = 3_600 * 10**9  # one inference may take an hour, no more
_LARGEST_BYTES = 2**50
_CONFIDENCE = 0.99


def check_report(
    device_id: str,
    report: Report,
    request: DeviceRequest | None,
    variant: Variant | None = None,
    inventory: Inventory | None = None,
) -> str:
    """Why ``report`` is not believed; "" when it is.

    ``request`` is the stored benchmark request of ``report.request_id``, None when there is none. With ``variant``
    (the requested one) the artifact must be its very bytes; with ``inventory`` the emulation must be the device's.
    A device's clock may be years off, or jump during a run: times are not judged.
    """
    for reason in _reasons(device_id, report, request, variant, inventory):
        return reason[:300]
    return ""


def _reasons(
    device_id: str,
    report: Report,
    request: DeviceRequest | None,
    variant: Variant | None,
    inventory: Inventory | None,
) -> Iterator[str]:
    yield from _id_reasons(report.request_id, "request id")
    if report.attempt < 0 or report.sequence < 0:
        yield f"expected attempt and sequence from 0, found {report.attempt} and {report.sequence}"
    yield from shape_reasons(report)
    match report.body:
        case BenchmarkRecord():
            yield from _request_reasons(device_id, report, report.body, request)
            yield from _record_reasons(report.body, variant, inventory)
        case Event():
            yield from _event_reasons(report.body)
        case LoadResult():
            yield from _load_reasons(report, report.body)
        case None:
            yield "the report has no body that this version knows"
    yield from range_reasons(report)


def _id_reasons(text: str, what: str) -> Iterator[str]:
    try:
        check_id(text, what)
    except InvalidInputError as error:
        yield str(error)


def _request_reasons(
    device_id: str, report: Report, record: BenchmarkRecord, request: DeviceRequest | None
) -> Iterator[str]:
    """The record answers a request that this very device was sent."""
    if request is None:
        yield f"no benchmark {report.request_id!r} was requested"
        return
    asked = request.request
    if request.device_id != device_id:
        yield f"benchmark {report.request_id!r} was requested of another device"
    if record.device.device_id != device_id:
        yield f"the record is of device {record.device.device_id!r}, the report of {device_id!r}"
    if (record.request_id, record.attempt) != (report.request_id, report.attempt):
        yield f"the record answers {record.request_id!r} attempt {record.attempt}, the report says otherwise"
    if record.configuration != asked.configuration:
        yield f"expected a record of {asked.configuration}, found one of {record.configuration}"
    if _names_a_model(record) and (record.model_id, record.model_version) != (request.model_id, request.model_version):
        yield f"the record is of another model or version: {record.model_id!r}:{record.model_version}"
    if report.attempt > asked.attempt:
        yield f"attempt {report.attempt} was never requested, the newest is {asked.attempt}"


def _record_reasons(record: BenchmarkRecord, variant: Variant | None, inventory: Inventory | None) -> Iterator[str]:
    yield from _id_reasons(record.record_id, "record id")
    if variant is not None and _names_a_model(record) and record.artifact.sha256 != variant.manifest.artifact.sha256:
        yield f"wrong artifact: expected {variant.manifest.artifact.sha256}, found {record.artifact.sha256!r}"
    if inventory is not None and _profile(record.emulation) != _profile(inventory.emulation):
        yield f"the device says it is {_profile(inventory.emulation)}, the record {_profile(record.emulation)}"
    if record.latency is None:
        if record.state is not RecordState.INVALID:
            yield f"a record that is {record.state.value} has no latency"
    else:
        yield from _latency_reasons(record.latency)
    if record.memory is not None:
        yield from _memory_reasons(record.memory)
    if record.accuracy is not None:
        yield from _accuracy_reasons(record.accuracy)
    if record.energy is not None:
        for name in ("gross_mj", "net_mj", "ci_low_mj", "ci_high_mj", "sample_hz"):
            yield from _not_negative(f"energy {name}", getattr(record.energy, name))
    if record.throughput_ips is not None and record.throughput_ips <= 0:
        yield f"throughput: expected more than 0 inferences/s, found {record.throughput_ips:g}"
    if record.cold_start is not None:
        for name in ("spawn", "import_runtime", "load", "first_inference", "spawns"):
            yield from _not_negative(f"cold start {name}", getattr(record.cold_start, name))


def _names_a_model(record: BenchmarkRecord) -> bool:
    """Always, but for a run that failed before the device knew what it was of; that one steers nothing."""
    return record.state is not RecordState.INVALID or record.model_id != ""


def _profile(emulation: Any) -> str:
    return "not emulated" if emulation is None else f"emulated as {emulation.profile!r}"


def _latency_reasons(latency: Latency) -> Iterator[str]:
    if latency.n < 1:
        yield f"latency: expected at least one query, found {latency.n}"
    known = {name: getattr(latency, name) for name in ("min", "p50", "p90", "p95", "p99", "p999")}
    rising = [(name, value) for name, value in known.items() if value is not None]
    for name, value in (*rising, ("mean", latency.mean)):
        if not 0 < value <= _LONGEST_LATENCY_NS:
            yield f"latency {name}: expected more than 0 ns and at most an hour, found {value:g} ns"
    for (low_name, low), (high_name, high) in itertools.pairwise(rising):
        if low > high:
            yield f"latency: {low_name} {low} ns is above {high_name} {high} ns"
    for name in ("std", "mad", "null_overhead", "outliers_mild", "outliers_severe", "burst_p50", "sustained_p50"):
        yield from _not_negative(f"latency {name}", getattr(latency, name))
    for name, quantile in (("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)):
        # Below this number of queries even the largest sample is no upper bound of the percentile at 99 %.
        needed = math.ceil(math.log(1 - _CONFIDENCE) / math.log(quantile))
        if known[name] is not None and latency.n < needed:
            yield f"latency {name}: {latency.n} queries cannot support it, it needs {needed} at least"
    for name in ("p50", "p90", "p95"):
        low, high = getattr(latency, f"{name}_ci_low"), getattr(latency, f"{name}_ci_high")
        if (low is not None and (known[name] is None or low > known[name])) or (
            high is not None and (known[name] is None or high < known[name])
        ):
            yield f"latency {name}: the interval {low} to {high} ns does not hold {known[name]} ns"


def _memory_reasons(memory: Memory) -> Iterator[str]:
    for field in dataclasses.fields(memory):
        value = getattr(memory, field.name)
        if value is not None and not 0 <= value <= _LARGEST_BYTES:
            yield f"memory {field.name}: expected bytes from 0 to 2^50, found {value}"


def _accuracy_reasons(accuracy: Accuracy) -> Iterator[str]:
    yield from _not_negative("accuracy n", accuracy.n)
    shares = ["agreement", "agreement_ci_low", "agreement_ci_high", "ece"]
    if accuracy.metric in ("accuracy", "auc"):
        shares += ["value", "ci_low", "ci_high"]
    for name in shares:
        value = getattr(accuracy, name)
        if value is not None and not 0 <= value <= 1:
            yield f"accuracy {name}: expected a share from 0 to 1, found {value:g}"
    if accuracy.n == 0 and (accuracy.value is not None or accuracy.agreement is not None):
        yield "accuracy: a figure from no samples"
    for name, low, high in (
        ("value", accuracy.ci_low, accuracy.ci_high),
        ("agreement", accuracy.agreement_ci_low, accuracy.agreement_ci_high),
    ):
        value = getattr(accuracy, name)
        if value is None or low is None or high is None:
            continue
        if not low - 1e-9 <= value <= high + 1e-9:
            yield f"accuracy {name}: the interval {low:g} to {high:g} does not hold {value:g}"


def _event_reasons(event: Event) -> Iterator[str]:
    yield from _id_reasons(event.event_id, "event id")
    yield from _id_reasons(event.kind, "event kind")
    if is_controllers(event.kind):
        yield f"event kind {event.kind!r} is the controller's to say"
    yield from _not_negative("event duration", event.duration_ms)


def _load_reasons(report: Report, result: LoadResult) -> Iterator[str]:
    if (result.request_id, result.attempt) != (report.request_id, report.attempt):
        yield f"the load result answers {result.request_id!r}, the report {report.request_id!r}"
    for name in ("offered", "answered", "failed", "shed", "slo_missed", "p50_ns", "p95_ns", "p99_ns"):
        yield from _not_negative(f"load {name}", getattr(result, name))
    if result.answered + result.failed + result.shed > result.offered:
        yield f"load: {result.answered + result.failed + result.shed} outcomes of {result.offered} requests"


def _not_negative(name: str, value: float | None) -> Iterator[str]:
    if value is not None and value < 0:
        yield f"{name}: expected nothing negative, found {value:g}"
