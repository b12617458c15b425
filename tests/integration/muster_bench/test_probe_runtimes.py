import json
import subprocess
import sys

from muster_bench.limits import ChildLimits
from muster_bench.probe_runtimes import probe_runtimes


def test_every_installed_runtime_is_proved_by_an_inference():
    found = {support.name: support for support in probe_runtimes()}
    assert found["onnxruntime"].providers == ("cpu",)
    assert found["onnxruntime"].formats == ("onnx",)
    assert found["litert"].providers == ("xnnpack", "cpu")
    assert all(support.version and not support.unavailable_reason for support in found.values())


def test_a_runtime_that_does_not_answer_has_a_reason():
    for support in probe_runtimes(ChildLimits(wall_s=0.0)):
        assert support.providers == ()
        assert "did not end within 0 s" in support.unavailable_reason


def test_the_command_line_checks_a_file(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"hello")
    command = [sys.executable, "-m", "muster_bench", "check", str(tmp_path / "x.onnx"), "-o", "json"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert json.loads(found.stdout)["verdict"] == "rejected"
