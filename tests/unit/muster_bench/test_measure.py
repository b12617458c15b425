"""What a run is refused or tagged for before any child starts, on recorded trees of devices."""

import dataclasses
import threading
from pathlib import Path

import pytest

from muster_bench import measure
from muster_bench.errors import ChildError
from muster_bench.limits import ChildLimits
from muster_bench.measure import MeasureSpec, run_benchmark
from muster_bench.needed_memory import needed_bytes
from muster_devices.idle_temperature import idle_temperature
from muster_protos.model import BenchmarkRequest, Configuration, RecordState, Tier, VariantManifest

_MIB = 1 << 20
_LIMITS = ChildLimits(wall_s=20.0)


@pytest.fixture
def spec(tmp_path: Path) -> MeasureSpec:
    """A calm device at 40 C with 100 MiB of free memory, and an artifact of 1 MiB."""
    for name in ("cpu", "memory", "io"):
        _write(tmp_path, f"proc/pressure/{name}", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n")
    _write(tmp_path, "proc/meminfo", f"MemTotal: 999999 kB\nMemAvailable: {100 * 1024} kB\n")
    _heat(tmp_path, 40.0)
    artifact = tmp_path / "model.onnx"
    artifact.write_bytes(bytes(_MIB))
    request = BenchmarkRequest("r1", 1, Configuration("toy.v1.fp32", "onnxruntime", "cpu", 1), Tier.DEMO)
    return MeasureSpec(artifact, VariantManifest("toy.v1.fp32"), request, root=tmp_path)


@pytest.fixture
def no_children(monkeypatch):
    """Children only fail, so that what comes before them shows."""

    def fail(*_args, **_kwargs):
        raise ChildError("no children here")

    monkeypatch.setattr(measure, "measure_cold_starts", fail)


def _write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _heat(root: Path, celsius: float) -> None:
    _write(root, "sys/class/thermal/thermal_zone0/temp", f"{celsius * 1000:.0f}\n")


def test_a_run_needs_three_times_its_artifact_and_room_for_a_runtime(tmp_path):
    (tmp_path / "model").write_bytes(bytes(1000))
    assert needed_bytes(tmp_path / "model") == 64 * _MIB + 3000
    assert needed_bytes(tmp_path / "missing") == 64 * _MIB


def test_a_model_that_does_not_fit_the_free_memory_is_refused_before_any_child(spec, no_children):
    with pytest.raises(ChildError, match="no children"):
        run_benchmark(spec, _LIMITS)
    spec.artifact_path.write_bytes(bytes(13 * _MIB))
    record = run_benchmark(spec, _LIMITS)
    assert record.state is RecordState.INVALID
    assert record.reasons == ("100 MiB of memory free, the run takes at least 103 MiB",)
    assert record.latency is None


def test_the_idle_temperature_is_learnt_from_calm_runs_only(spec, no_children):
    idle = idle_temperature(spec.root)
    busy = "some avg10=60.00 avg60=0.00 avg300=0.00 total=5\n"
    calm = (spec.root / "proc/pressure/cpu").read_text()
    _write(spec.root, "proc/pressure/cpu", busy)
    assert _preflight(spec).is_busy
    assert idle.celsius is None
    _write(spec.root, "proc/pressure/cpu", calm)
    assert _preflight(spec).is_quiet
    assert idle.celsius == 40.0


def test_a_run_on_a_device_still_warm_from_the_last_one_is_tagged(spec):
    assert _preflight(spec).is_quiet
    _heat(spec.root, 43.5)
    assert _preflight(spec).reasons == ("3.5 C over the idle temperature > 3 C",)
    assert _preflight(dataclasses.replace(spec, idle_celsius=41.0)).is_quiet


def test_a_warm_device_gets_time_to_cool_down(spec):
    assert _preflight(spec).is_quiet
    _heat(spec.root, 50.0)

    class Waiter(threading.Event):
        def wait(self, timeout=None):
            _heat(spec.root, 42.0)
            return False

    assert measure._preflight(spec, 30.0, Waiter()).is_quiet


def _preflight(spec):
    return measure._preflight(spec, 0.0, None)
