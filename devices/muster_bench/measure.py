"""Measure or self-test one configuration in throw-away children, and write the record. Parent side: no numpy."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from muster_bench.cold_starts import measure_cold_starts
from muster_bench.converse import Json, run_child
from muster_bench.errors import ChildError, SelfTestError, StoppedError
from muster_bench.limits import ChildLimits
from muster_bench.needed_memory import needed_bytes
from muster_bench.record import MeasureSpec, begun_record, joined_record
from muster_bench.tiers import run_length
from muster_bench.validity import judge
from muster_devices import preflight as devices_preflight
from muster_devices import pressure as devices_pressure
from muster_devices import thermal as devices_thermal
from muster_devices.idle_temperature import idle_temperature
from muster_protos.codec import decode, encode
from muster_protos.errors import InvalidInputError
from muster_protos.model import BenchmarkRecord, Configuration, Progress, RecordState, Scenario, VariantManifest

__all__ = ["MeasureSpec", "run_benchmark", "run_self_test"]

_SETTLE_SHARE = 0.1  # of the wall limit
_SETTLE_POLL_S = 1.0


def run_benchmark(
    spec: MeasureSpec,
    limits: ChildLimits,
    on_progress: Callable[[Progress], None] = lambda _progress: None,
    stop: threading.Event | None = None,
    on_spawn: Callable[[int], None] | None = None,
) -> BenchmarkRecord:
    """Pre-flight, cold starts, then one child that measures; the record says whether it may be believed.

    ``limits.wall_s`` holds for the whole run, and so does the request's deadline. ``on_spawn`` gets the process id of
    each child before it starts its work (``Emulator.enter``).

    Raises:
        InvalidInputError: a scenario other than single_stream, an unknown tier, a declared slowdown without emulation.
        ChildError: a child crashed, hung, ran out of memory or could not execute the artifact.
        StoppedError: ``stop`` was set.
    """
    _check(spec)
    started_at_ns, deadline_ns = time.time_ns(), _deadline_ns(spec, limits)
    length = run_length(spec.request.tier, spec.request.percentiles)
    report = _reporter(spec, on_progress)
    report(0.0, "pre-flight")
    before = _preflight(spec, min(length.settle_s, _left(limits, deadline_ns).wall_s * _SETTLE_SHARE), stop)
    base = begun_record(spec, started_at_ns)
    if before.refusals:
        return replace(base, state=RecordState.INVALID, reasons=before.refusals, finished_at_ns=time.time_ns())
    report(0.0, "cold start")
    cold = measure_cold_starts(
        length.cold_starts, _child_spec(spec), _left(limits, deadline_ns), stop=stop, on_spawn=on_spawn
    )
    left = _left(limits, deadline_ns)
    result = run_child(
        "benchmark",
        {**_child_spec(spec), "deadline_ns": deadline_ns},
        left,
        on_message=lambda message: _forward(message, report),
        stop=stop,
        on_spawn=on_spawn,
    )
    after_pressure, after_thermal = devices_pressure.read_pressure(spec.root), devices_thermal.read_thermal(spec.root)
    measured = joined_record(base, decode(BenchmarkRecord, base64.b64decode(result["record"])), spec)
    validity, state, reasons = judge(
        measured, length, spec.request.percentiles, int(result["queries"]), int(result["duration_ns"]), before.reasons
    )
    report(1.0, "done")
    return replace(
        measured,
        cold_start=cold,
        validity=validity,
        state=state,
        reasons=reasons,
        pressure=devices_pressure.over_a_run(before.pressure, after_pressure),
        thermal=devices_thermal.over_a_run(before.thermal, after_thermal),
        finished_at_ns=time.time_ns(),
    )


def run_self_test(
    artifact_path: Path,
    manifest: VariantManifest,
    configuration: Configuration,
    golden_path: Path,
    limits: ChildLimits,
    stop: threading.Event | None = None,
    on_spawn: Callable[[int], None] | None = None,
) -> float:
    """Run the golden inputs in a child; the largest absolute error, which is within the manifest's tolerance.

    Raises:
        SelfTestError: the outputs differ, the artifact cannot be executed, or the child crashed or hung.
        StoppedError: ``stop`` was set.
    """
    spec = {
        "artifact_path": str(artifact_path.absolute()),
        "golden_path": str(golden_path.absolute()),
        "manifest": base64.b64encode(encode(manifest)).decode(),
        "configuration": base64.b64encode(encode(configuration)).decode(),
    }
    try:
        return float(run_child("self_test", spec, limits, stop=stop, on_spawn=on_spawn)["max_abs_error"])
    except ChildError as error:
        raise SelfTestError(str(error), kind=error.kind, stage=error.stage, signal_name=error.signal_name) from error


def _preflight(spec: MeasureSpec, settle_s: float, stop: threading.Event | None) -> devices_preflight.Preflight:
    """The device when it is calm and cool, or after ``settle_s``: often it is the last run that it still feels."""
    give_up_ns = time.monotonic_ns() + int(settle_s * 1e9)
    waiter, idle, needed = stop or threading.Event(), idle_temperature(spec.root), needed_bytes(spec.artifact_path)
    while True:
        known_celsius = idle.celsius if spec.idle_celsius is None else spec.idle_celsius
        found = devices_preflight.check(spec.root, known_celsius, needed)
        if not found.is_busy:
            idle.observe(found.thermal.max_celsius)
        if not (found.is_busy or found.is_warm) or time.monotonic_ns() >= give_up_ns:
            return found
        if waiter.wait(_SETTLE_POLL_S):
            raise StoppedError("stopped while waiting for a calm device")


def _check(spec: MeasureSpec) -> None:
    if spec.request.scenario not in (Scenario.SINGLE_STREAM, Scenario.UNSPECIFIED):
        raise InvalidInputError(
            f"expected the scenario single_stream, found {spec.request.scenario.value}, which is not measured yet"
        )
    if spec.slowdown_ratio > 1.0 and spec.emulation is None:
        raise InvalidInputError("a declared slowdown without an emulation would pass emulated figures off as measured")


def _deadline_ns(spec: MeasureSpec, limits: ChildLimits) -> int:
    seconds = limits.wall_s
    if spec.request.deadline_ms:
        seconds = min(seconds, spec.request.deadline_ms / 1000)
    return time.monotonic_ns() + int(seconds * 1e9)


def _left(limits: ChildLimits, deadline_ns: int) -> ChildLimits:
    return replace(limits, wall_s=max(0.0, (deadline_ns - time.monotonic_ns()) / 1e9))


def _child_spec(spec: MeasureSpec) -> Json:
    return {
        "artifact_path": str(spec.artifact_path.absolute()),
        "evaluation_path": str(spec.evaluation_path.absolute()) if spec.evaluation_path else "",
        "manifest": base64.b64encode(encode(spec.manifest)).decode(),
        "request": base64.b64encode(encode(spec.request)).decode(),
        "configuration": base64.b64encode(encode(spec.request.configuration)).decode(),
        "slowdown_ratio": spec.slowdown_ratio,
    }


def _reporter(spec: MeasureSpec, on_progress: Callable[[Progress], None]) -> Callable[[float, str], None]:
    def report(done: float, note: str) -> None:
        on_progress(Progress("benchmark", spec.request.request_id, done, 1.0, note))

    return report


def _forward(message: Json, report: Callable[[float, str], None]) -> None:
    if "progress" in message:
        report(float(message["progress"]["done"]), str(message["progress"]["note"]))
    elif "stage" in message:
        report(0.0, str(message["stage"]))
