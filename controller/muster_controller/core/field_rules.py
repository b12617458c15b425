"""What each field of what a device says may hold: one table, walked over any message.

A field that is missing here is a mistake that a test finds. Rules between fields (p50 below p99, the record answers its
request) are in ``report_rules``. A device's clock may be years off: times of it are not judged.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from muster_protos.model import (
    Accuracy,
    ArtifactRef,
    BenchmarkRecord,
    Build,
    ColdStart,
    Configuration,
    DeviceFacts,
    Emulation,
    Energy,
    Event,
    Goodbye,
    Hello,
    Inventory,
    Latency,
    LoadResult,
    Memory,
    Pressure,
    Progress,
    Report,
    ReportedArtifact,
    ReportedBenchmark,
    ReportedServing,
    ReportedState,
    RuntimeSupport,
    SensorSupport,
    Telemetry,
    Thermal,
    Validity,
    Workload,
)

LONGEST_TEXT = 4_096
MOST_ITEMS = 1_024
LARGEST_SKETCH_BYTES = 262_144


@dataclass(frozen=True, slots=True)
class Span:
    """A number from ``low`` to ``high``."""

    low: float
    high: float


class Words(Enum):
    """What a text is; each may be empty, which means "none"."""

    ID = "id"  # the grammar of ids
    SHA256 = "sha256"
    TEXT = "text"  # for people: bounded, without NUL


class Octets(Enum):
    """Bytes by their length alone."""

    SKETCH = "sketch"


Rule = Span | Words | Octets

_NUMBER = Span(-1e18, 1e18)
_COUNT = Span(0, 2**53)
_RISING = Span(0, 2**62)  # versions and sequences: far from where int64 ends
_CLOCK = Span(-(2**63), 2**63 - 1)
_NS = Span(0, 3_600 * 10**9)  # one inference may take an hour, no more
_BYTES = Span(0, 2**50)
_SMALL = Span(0, 65_535)  # cores, threads, ports, attempts
_RATE = Span(0, 1e12)
_SHARE = Span(0, 1)
_PERCENT = Span(0, 100)
_CELSIUS = Span(-300, 10_000)  # broken sensors included
_POWER_MW = Span(-1e9, 1e9)  # a meter's zero is not exact
_ENERGY_MJ = Span(0, 1e12)

_SPANS: Mapping[type, Mapping[Span, str]] = {
    Hello: {_RISING: "desired_epoch desired_version"},
    Inventory: {_SMALL: "cores", _BYTES: "ram_bytes disk_free_bytes", _CLOCK: "clock_ns"},
    Telemetry: {
        _CLOCK: "at_ns",
        _RATE: "requests_per_s slowdown_ratio queue_length",
        _NS: "p50_ns p95_ns",
        _SHARE: "slo_missed_ratio",
        Span(0, 65_536): "cpu_ratio",
        _BYTES: "available_bytes",
        _CELSIUS: "temperature_celsius",
        Span(0, 1.1): "battery_ratio",  # some gauges overshoot
    },
    Progress: {Span(0, 1e18): "done total"},
    ReportedState: {_RISING: "epoch desired_version", _CLOCK: "at_ns"},
    ReportedArtifact: {_BYTES: "fetched_bytes size_bytes"},
    ReportedServing: {_SMALL: "http_port grpc_port"},
    ReportedBenchmark: {_SMALL: "attempt"},
    Goodbye: {_COUNT: "retry_after_ms"},
    Report: {_SMALL: "attempt", _RISING: "sequence"},
    Event: {_CLOCK: "at_ns", Span(0, 1e15): "duration_ms"},
    LoadResult: {
        _SMALL: "attempt",
        _CLOCK: "started_at_ns finished_at_ns",
        _COUNT: "offered answered failed shed slo_missed answered_by",
        _NS: "p50_ns p95_ns p99_ns",
    },
    BenchmarkRecord: {
        _SMALL: "schema_version attempt",
        _RISING: "sequence",
        _CLOCK: "started_at_ns finished_at_ns",
        _COUNT: "model_version warmup_queries",
        _RATE: "throughput_ips",
    },
    DeviceFacts: {_SMALL: "cores", _BYTES: "ram_bytes"},
    Build: {_SMALL: "threads affinity"},
    Configuration: {_SMALL: "threads"},
    ArtifactRef: {_BYTES: "size_bytes"},
    Workload: {_RATE: "rate_hz", _COUNT: "batch inputs", _CLOCK: "seed"},
    Validity: {Span(0, 1e18): "repetition_cv"},
    Latency: {
        _COUNT: "n outliers_mild outliers_severe",
        _NS: "min mean std mad p50 p50_ci_low p50_ci_high p90 p90_ci_low p90_ci_high p95 p95_ci_low p95_ci_high p99 "
        "p999 burst_p50 sustained_p50 null_overhead",
    },
    ColdStart: {_NS: "spawn import_runtime load first_inference", _SMALL: "spawns"},
    Memory: {_BYTES: "baseline peak_hwm peak_net pss_steady file"},
    Energy: {
        Span(0, 1e9): "sample_hz",
        _POWER_MW: "idle_mw_before idle_mw_after",
        _ENERGY_MJ: "gross_mj net_mj ci_low_mj ci_high_mj",
    },
    Thermal: {_CELSIUS: "start_celsius end_celsius max_celsius", _RATE: "freq_start_hz freq_end_hz"},
    Pressure: {
        _PERCENT: "cpu_before cpu_after memory_before memory_after io_before io_after",
        Span(0, 1e6): "load_before load_after",
    },
    Accuracy: {
        _COUNT: "n",
        _NUMBER: "value ci_low ci_high",
        _SHARE: "agreement agreement_ci_low agreement_ci_high ece",
        Span(0, 1e18): "max_abs_error",
        Span(-1e-3, 2.001): "cosine_distance",  # rounding
    },
}

_IDS: Mapping[type, str] = {
    Telemetry: "model_id variant_id",
    Inventory: "device_id",
    RuntimeSupport: "name providers formats",
    ReportedState: "device_id",
    ReportedServing: "model_id deployment_id active_variant_id resident_variant_ids",
    ReportedBenchmark: "request_id",
    Report: "request_id",
    Event: "event_id kind model_id from_variant_id to_variant_id",
    LoadResult: "request_id model_id",
    BenchmarkRecord: "record_id request_id model_id",
    DeviceFacts: "device_id",
    Configuration: "variant_id runtime provider",
}

_SHA256S: Mapping[type, str] = {ReportedArtifact: "sha256", ArtifactRef: "sha256", Workload: "data_sha256"}

_TEXTS: Mapping[type, str] = {
    Hello: "run_id",
    Inventory: "agent_version boot_id os kernel arch cpu_model device_class soc accelerator python_version links "
    "labels",
    RuntimeSupport: "version unavailable_reason",
    SensorSupport: "kind name unavailable_reason",
    Emulation: "profile how",
    Progress: "subject id note",
    ReportedState: "boot_id reason",
    ReportedArtifact: "reason",
    ReportedServing: "reason",
    ReportedBenchmark: "reason",
    Goodbye: "reason",
    Event: "direction reason details",
    LoadResult: "reason",
    BenchmarkRecord: "boot_id reasons precision",
    DeviceFacts: "device_class soc cpu_model os kernel accelerator",
    Build: "agent_version commit runtime runtime_version provider python_version library_versions",
    ColdStart: "page_cache",
    Energy: "method unavailable_reason",
    Thermal: "throttle_flags unavailable_reason",
    Pressure: "unavailable_reason",
    Accuracy: "metric unavailable_reason",
}

_OCTETS: Mapping[type, str] = {BenchmarkRecord: "latency_sketch"}

_ID = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")
_SHA256 = re.compile(r"(?:[0-9a-f]{64})?")


def rule_of(cls: type, field: str) -> Rule | None:
    """The rule of a field's values; None where there is none."""
    return _rules(cls).get(field)


def message_reason(message: object) -> str:
    """Why ``message`` is not believed; "" when every field of it holds what it may."""
    for reason in (*shape_reasons(message), *range_reasons(message)):
        return reason[:300]
    return ""


def shape_reasons(value: object) -> Iterator[str]:
    """What no field of any message may hold: NaN, infinity, 1e300, endless text, NUL, endless lists."""
    return _walk("message", value, None, _shape)


def range_reasons(value: object) -> Iterator[str]:
    """Numbers out of their span, and ids that are none."""
    return _walk("message", value, None, _range)


_Judge = Callable[[str, Any, Rule | None], str]
_PLAIN = frozenset((str, int, float, bool, bytes))


def _walk(name: str, value: Any, rule: Rule | None, judge: _Judge) -> Iterator[str]:
    if dataclasses.is_dataclass(value):
        cls: type = type(value)
        rules = _rules(cls)
        for field in _names(cls):
            item = getattr(value, field)
            if type(item) in _PLAIN:  # most of them: without a generator of its own
                if reason := judge(field, item, rules.get(field)):
                    yield f"{field}: {reason}"
            elif item is not None:
                yield from _walk(field, item, rules.get(field), judge)
    elif isinstance(value, tuple | Mapping):
        if len(value) > MOST_ITEMS:
            yield f"{name}: expected at most {MOST_ITEMS} items, found {len(value)}"
            return
        if isinstance(value, Mapping):
            for key, item in value.items():
                yield from _walk(name, key, Words.ID if isinstance(rule, Span) else rule, judge)  # counts by variant
                yield from _walk(name, item, rule, judge)
        else:
            for item in value:
                yield from _walk(name, item, rule, judge)
    elif reason := judge(name, value, rule):
        yield f"{name}: {reason}"


def _shape(_name: str, value: Any, _rule: Rule | None) -> str:
    if isinstance(value, float):
        if not math.isfinite(value) or abs(value) > _NUMBER.high:
            return f"expected a finite number up to {_NUMBER.high:g}, found {value:g}"
    elif isinstance(value, str):
        if len(value) > LONGEST_TEXT:
            return f"expected at most {LONGEST_TEXT} characters, found {len(value)}"
        if "\0" in value:
            return f"expected text without NUL, found {value[:40]!r}"
    elif isinstance(value, bytes) and len(value) > LARGEST_SKETCH_BYTES:
        return f"expected at most {LARGEST_SKETCH_BYTES} bytes, found {len(value)}"
    return ""


def _range(_name: str, value: Any, rule: Rule | None) -> str:
    if rule is None or isinstance(value, bool | Enum):
        return ""
    if isinstance(rule, Span) and isinstance(value, int | float):
        if not rule.low <= value <= rule.high:
            return f"expected a number from {rule.low:g} to {rule.high:g}, found {value:g}"
    elif rule is Words.ID and isinstance(value, str):
        if not _ID.fullmatch(value):
            return f"expected an id of 1 to 64 letters, digits, '.', '_' or '-', found {value[:80]!r}"
    elif rule is Words.SHA256 and isinstance(value, str) and not _SHA256.fullmatch(value):
        return f"expected a sha256 of 64 lower-case hex digits, found {value[:80]!r}"
    return ""


@functools.cache
def _names(cls: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(cls))


@functools.cache
def _rules(cls: type[Any]) -> Mapping[str, Rule]:
    rules: dict[str, Rule] = {name: span for span, names in _SPANS.get(cls, {}).items() for name in names.split()}
    for table, rule in ((_IDS, Words.ID), (_SHA256S, Words.SHA256), (_TEXTS, Words.TEXT), (_OCTETS, Octets.SKETCH)):
        rules.update(dict.fromkeys(table.get(cls, "").split(), rule))
    return rules
