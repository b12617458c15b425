"""One configuration measured for real, on a model that is small enough for a test."""

import dataclasses
import threading

import numpy as np
import pytest

from muster_bench.checkout import checkout_commit
from muster_bench.errors import ChildError, SelfTestError, StoppedError
from muster_bench.limits import ChildLimits
from muster_bench.measure import MeasureSpec, run_benchmark, run_self_test
from muster_bench.sketch import decode_sketch
from muster_protos.codec import decode, encode
from muster_protos.errors import InvalidInputError
from muster_protos.model import (
    ArtifactRef,
    BenchmarkRecord,
    BenchmarkRequest,
    Configuration,
    DeviceFacts,
    Emulation,
    RecordState,
    Scenario,
    Tier,
)

LIMITS = ChildLimits(wall_s=60.0)
CONFIGURATION = Configuration("toy.v1.fp32", "onnxruntime", "cpu", 1)
REQUEST = BenchmarkRequest("r1", 2, CONFIGURATION, Tier.DEMO, Scenario.SINGLE_STREAM, (95.0,), seed=3)


@pytest.fixture
def samples(tmp_path):
    """Write labelled samples; the model's top-1 is the label unless the label is changed."""

    def write(flip=(), name="evaluation.npz", **more):
        labels = np.arange(40) % 4
        x = np.eye(4, dtype=np.float32)[labels]
        labels[list(flip)] = (labels[list(flip)] + 1) % 4
        np.savez(tmp_path / name, x_x=x, y=labels, **more)
        return tmp_path / name

    return write


@pytest.fixture
def spec(classifier, manifest_of):
    return MeasureSpec(classifier, manifest_of(classifier), REQUEST, device=DeviceFacts("d1"), agent_version="1.2")


def test_a_record_holds_every_figure_or_the_reason_why_not(spec, samples):
    heard = []
    path = samples()
    manifest = dataclasses.replace(spec.manifest, evaluation=ArtifactRef("e" * 64, 1))
    spec = dataclasses.replace(spec, evaluation_path=path, manifest=manifest)
    record = run_benchmark(spec, LIMITS, heard.append)
    assert record.state in (RecordState.VALID, RecordState.TAGGED_NOISY), record.reasons
    assert "demo tier" in record.reasons[-1]
    assert (record.schema_version, record.request_id, record.attempt) == (1, "r1", 2)
    assert (record.model_id, record.model_version, record.artifact) == ("toy", 1, spec.manifest.artifact)
    assert record.precision == "fp32"  # the tensors', not the manifest's
    assert (record.device.device_id, record.build.agent_version) == ("d1", "1.2")
    assert (record.build.runtime, record.build.threads) == ("onnxruntime", 1)
    assert record.build.runtime_version
    assert record.build.commit == checkout_commit()
    assert (record.workload.tier, record.workload.data_sha256, record.workload.seed) == (Tier.DEMO, "e" * 64, 3)
    latency = record.latency
    assert latency.n >= 130
    assert 0 < latency.min <= latency.p50 <= latency.p90 <= latency.p95
    assert 0 < latency.null_overhead <= 20_000
    assert decode_sketch(record.latency_sketch).n == latency.n
    assert record.validity.min_duration_met
    assert record.validity.overhead_ok
    assert record.throughput_ips > 100
    assert record.memory.peak_hwm > record.memory.baseline > 10 << 20
    assert record.memory.pss_steady > 0
    assert record.memory.file == spec.artifact_path.stat().st_size
    cold = record.cold_start
    assert min(cold.spawn, cold.import_runtime, cold.load, cold.first_inference) > 0
    assert 1 <= cold.spawns <= 3
    assert cold.page_cache == "warm"
    assert (record.energy.method, record.energy.net_mj) == ("none", None)
    assert "power sensor" in record.energy.unavailable_reason
    assert (record.accuracy.n, record.accuracy.value, record.accuracy.agreement) == (40, 1.0, None)
    assert record.warmup_queries >= 3
    assert record.emulation is None
    assert record.boot_id
    assert decode(BenchmarkRecord, encode(record)) == record
    assert heard[-1].done == 1.0
    assert {item.id for item in heard} == {"r1"}


def test_one_corrupted_label_changes_the_measured_accuracy(spec, samples):
    wrong = dataclasses.replace(spec, evaluation_path=samples(flip=(7,)))
    assert run_benchmark(wrong, LIMITS).accuracy.value == 39 / 40


def test_a_declared_slowdown_slows_every_latency_and_is_labelled(spec):
    plain = run_benchmark(spec, LIMITS)
    emulation = Emulation("phone", ("declared slowdown 5x",))
    slowed = run_benchmark(dataclasses.replace(spec, emulation=emulation, slowdown_ratio=5.0), LIMITS)
    assert slowed.emulation == emulation
    assert slowed.latency.min >= 3 * plain.latency.min
    with pytest.raises(InvalidInputError, match="without an emulation"):
        run_benchmark(dataclasses.replace(spec, slowdown_ratio=2.0), LIMITS)


def test_other_scenarios_are_refused_with_their_name(spec):
    request = dataclasses.replace(REQUEST, scenario=Scenario.OFFLINE)
    with pytest.raises(InvalidInputError, match="single_stream, found offline"):
        run_benchmark(dataclasses.replace(spec, request=request), LIMITS)


@pytest.mark.slow
def test_a_run_that_its_deadline_cuts_short_is_invalid(spec):
    request = dataclasses.replace(REQUEST, tier=Tier.STANDARD, deadline_ms=15_000)
    record = run_benchmark(dataclasses.replace(spec, request=request), LIMITS)
    assert record.state is RecordState.INVALID
    assert "of at least 60 s" in record.reasons[0]


def test_a_stop_ends_the_run(spec):
    stop = threading.Event()
    request = dataclasses.replace(REQUEST, tier=Tier.STANDARD)

    def at_the_loop(progress):
        if progress.note == "measuring latency":
            stop.set()

    with pytest.raises(StoppedError, match="measuring latency"):
        run_benchmark(dataclasses.replace(spec, request=request), LIMITS, at_the_loop, stop)


def test_an_artifact_that_cannot_run_is_one_reason(spec, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x08\x3a\x7f")
    with pytest.raises(ChildError, match="truncated"):
        run_benchmark(dataclasses.replace(spec, artifact_path=broken), LIMITS)


def test_the_first_child_screens_the_artifact_before_its_runtime_may_load_it(save_onnx, manifest_of):
    path = save_onnx([("Identity", ["x"], ["y"])], outputs={"y": [1, 2**40]}, name="impossible.onnx")
    spec = MeasureSpec(path, manifest_of(path), REQUEST)
    heard = []
    with pytest.raises(ChildError) as caught:
        run_benchmark(spec, LIMITS, heard.append)
    assert (caught.value.kind, caught.value.stage) == ("HostileArtifactError", "screening the artifact")
    assert [item.note for item in heard] == ["pre-flight", "cold start"]


def test_an_unknown_provider_is_refused_by_the_child(spec):
    request = dataclasses.replace(REQUEST, configuration=dataclasses.replace(CONFIGURATION, provider="abacus"))
    with pytest.raises(ChildError, match="provider"):
        run_benchmark(dataclasses.replace(spec, request=request), LIMITS)


@pytest.fixture
def golden(tmp_path):
    def write(factor=1.0):
        x = np.random.default_rng(2).random((3, 4)).astype(np.float32)
        raised = np.exp(x * 5)
        np.savez(tmp_path / "golden.npz", in_x=x, out_y=factor * raised / raised.sum(axis=1, keepdims=True))
        return tmp_path / "golden.npz"

    return write


def test_a_self_test_passes_on_its_golden_outputs(classifier, manifest_of, golden):
    manifest = manifest_of(classifier, golden_max_abs_error=1e-4)
    assert run_self_test(classifier, manifest, CONFIGURATION, golden(), LIMITS) < 1e-5


def test_a_self_test_fails_on_other_outputs_and_on_files_that_crash(classifier, manifest_of, golden, tmp_path):
    manifest = manifest_of(classifier, golden_max_abs_error=1e-4)
    with pytest.raises(SelfTestError, match="differs from its golden values"):
        run_self_test(classifier, manifest, CONFIGURATION, golden(1.5), LIMITS)
    classifier.write_bytes(classifier.read_bytes()[:60])
    with pytest.raises(SelfTestError, match="truncated"):
        run_self_test(classifier, manifest, CONFIGURATION, golden(), LIMITS)
