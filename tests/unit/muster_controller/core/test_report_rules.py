"""Lying reports are found out; truthful ones pass."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster_bench.stats import summarise
from muster_controller.core.report_rules import check_report
from muster_controller.testing_values import (
    make_accuracy,
    make_configuration,
    make_inventory,
    make_latency,
    make_record,
    make_request,
    make_variant,
    sha256_of,
)
from muster_protos.model import (
    Accuracy,
    ArtifactRef,
    BenchmarkRecord,
    ColdStart,
    Emulation,
    Energy,
    Event,
    LoadResult,
    Memory,
    RecordState,
    Report,
)

VARIANT = make_variant()
RECORD = replace(make_record(VARIANT, accuracy=make_accuracy()), energy=Energy("none", unavailable_reason="no sensor"))
LATENCY = make_latency()


def judged(record: BenchmarkRecord, **report: int) -> str:
    whole = replace(Report(record.request_id, record.attempt, 1, record), **report)
    return check_report("pi-1", whole, make_request(), VARIANT, make_inventory())


def test_a_truthful_record_is_believed() -> None:
    assert judged(RECORD) == ""


def test_an_invalid_record_without_latency_is_believed() -> None:
    crashed = replace(
        RECORD, state=RecordState.INVALID, latency=None, memory=None, reasons=("SIGSEGV\n\x1b[31mstderr",)
    )
    assert judged(crashed) == ""


def test_a_run_that_failed_before_it_knew_its_model_is_believed_and_no_other_without_one() -> None:
    nameless = replace(RECORD, model_id="", model_version=0, artifact=ArtifactRef())
    failed = replace(nameless, state=RecordState.INVALID, latency=None, reasons=("no manifest",))
    assert judged(failed) == ""
    assert "another model" in judged(nameless)
    assert "wrong artifact" in judged(replace(failed, model_id="digits", model_version=1))


def test_a_clock_that_jumped_back_during_a_run_is_no_lie() -> None:
    assert judged(replace(RECORD, started_at_ns=RECORD.finished_at_ns + 10**15)) == ""


def test_an_older_attempt_may_arrive_late() -> None:
    report = Report("req-1", 1, 1, RECORD)
    assert check_report("pi-1", report, make_request(attempt=2), VARIANT) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"p50": 0}, "p50: expected more than 0 ns"),
        ({"min": 0}, "min: expected more than 0 ns"),
        ({"min": -5}, "min: expected more than 0 ns"),
        ({"mean": math.nan}, "mean: expected a finite number"),
        ({"mean": math.inf}, "mean: expected a finite number"),
        ({"mean": 1e300}, "mean: expected a finite number"),
        ({"std": -1.0}, "std: expected nothing negative"),
        ({"p95": 4_000 * 10**9}, "at most an hour"),
        ({"p50": LATENCY.p95 + 1 if LATENCY.p95 else 0}, "is above"),
        ({"p99": 1, "n": 1000}, "is above p99 1 ns"),
        ({"n": 0}, "at least one query"),
        ({"n": 50}, "p95: 50 queries cannot support it, it needs 90"),
        ({"p95_ci_low": 10**9}, "does not hold"),
        ({"p95_ci_high": 1}, "does not hold"),
        ({"p95": None}, "does not hold None"),
        ({"null_overhead": -1}, "null_overhead: expected nothing negative"),
    ],
)
def test_a_latency_that_cannot_be_is_found_out(change: dict[str, float], reason: str) -> None:
    assert reason in judged(replace(RECORD, latency=replace(LATENCY, **change)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"artifact": ArtifactRef(sha256_of("other"), 1)}, "wrong artifact"),
        ({"configuration": make_configuration(threads=8)}, "expected a record of"),
        ({"model_version": 2}, "another model or version"),
        ({"device": replace(RECORD.device, device_id="pi-2")}, "the record is of device 'pi-2'"),
        ({"emulation": Emulation("phone", ())}, "the device says it is not emulated"),
        ({"latency": None}, "has no latency"),
        ({"record_id": "../x"}, "expected a record id"),
        ({"record_id": "a\u202eb"}, "expected a record id"),
        ({"memory": Memory(peak_net=-1)}, "memory peak_net"),
        ({"memory": Memory(peak_net=2**60)}, "memory peak_net"),
        ({"accuracy": make_accuracy(1.5)}, "accuracy value: expected a share"),
        ({"accuracy": make_accuracy(0.5, -0.1)}, "accuracy agreement: expected a share"),
        ({"accuracy": Accuracy(n=0, metric="accuracy", value=0.9)}, "a figure from no samples"),
        ({"accuracy": replace(make_accuracy(), ci_low=0.99, ci_high=1.0)}, "does not hold 0.98"),
        ({"energy": Energy("meter", net_mj=-1.0)}, "energy net_mj"),
        ({"energy": Energy("meter", net_mj=math.nan)}, "net_mj: expected a finite number"),
        ({"throughput_ips": 0.0}, "throughput"),
        ({"cold_start": ColdStart(load=-1)}, "cold start load"),
        ({"reasons": ("x" * 10_000_000,)}, "at most 4096 characters, found 10000000"),
        ({"precision": "int8\0"}, "text without NUL"),
        ({"reasons": ("x",) * 2000}, "at most 1024 items"),
        ({"latency_sketch": b"x" * 300_000}, "at most 262144 bytes"),
    ],
)
def test_a_record_that_cannot_be_is_found_out(change: dict[str, object], reason: str) -> None:
    found = judged(replace(RECORD, **change))  # type: ignore[arg-type]
    assert reason in found
    assert len(found) <= 300


@given(st.lists(st.integers(1, 3_000 * 10**9), min_size=1, max_size=300))
def test_what_the_benchmark_makes_of_any_true_sample_is_believed(latencies_ns: list[int]) -> None:
    assert judged(replace(RECORD, latency=summarise(latencies_ns))) == ""


def test_a_record_that_nobody_asked_for_is_found_out() -> None:
    report = Report("req-1", 1, 1, RECORD)
    assert "was requested" in check_report("pi-1", report, None)
    assert "of another device" in check_report("pi-1", report, make_request(device_id="pi-2"))
    assert "never requested" in judged(replace(RECORD, attempt=2))
    assert "answers" in judged(RECORD, attempt=0)
    assert "attempt and sequence" in judged(RECORD, sequence=-1)


@pytest.mark.parametrize("request_id", ["", "a/b", "+", "#", "x" * 65, "é", "a\0b"])
def test_a_request_id_outside_the_grammar_is_found_out(request_id: str) -> None:
    assert "expected a request id" in check_report("pi-1", Report(request_id, 0, 1, Event("e", "x")), None)


def test_a_mean_error_may_be_above_one() -> None:
    assert judged(replace(RECORD, accuracy=make_accuracy(2.5, metric="mae"))) == ""


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (Event("e1", "rung.changed", duration_ms=1.0, details={"why": "load"}), ""),
        (Event("", "rung.changed"), "expected a event id"),
        (Event("e1", "rung changed"), "expected a event kind"),
        (Event("e1", "rung.changed", duration_ms=-1.0), "nothing negative"),
        (Event("e1", "rung.changed", details={"k": "v" * 5000}), "at most 4096 characters"),
    ],
)
def test_events_are_judged(event: Event, reason: str) -> None:
    found = check_report("pi-1", Report("events", 0, 1, event), None)
    assert (found == "") if not reason else (reason in found)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (LoadResult("load-1", 1, offered=10, answered=8, shed=2, slo_missed=3), ""),
        (LoadResult("load-2", 1), "answers 'load-2'"),
        (LoadResult("load-1", 1, offered=1, answered=2), "2 outcomes of 1 requests"),
        (LoadResult("load-1", 1, failed=-1), "nothing negative"),
    ],
)
def test_load_results_are_judged(result: LoadResult, reason: str) -> None:
    found = check_report("pi-1", Report("load-1", 1, 1, result), None)
    assert (found == "") if not reason else (reason in found)


def test_a_report_without_a_known_body_is_found_out() -> None:
    assert "no body" in check_report("pi-1", Report("events", 0, 1, None), None)


@pytest.mark.parametrize("kind", ["device.removed", "rollout.started", "identity.cloned", "message.rejected"])
def test_a_device_cannot_speak_for_the_controller(kind: str) -> None:
    report = Report("events", 0, 1, Event("e-1", kind))
    assert "the controller's to say" in check_report("pi-1", report, None)
