import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module",
    ["measure", "check", "probe_runtimes", "spawn", "converse", "binding", "sketch", "tiers", "screen", "__main__"],
)
def test_the_parents_side_imports_neither_numpy_nor_a_runtime(module):
    code = f"import sys, muster_bench.{module}; print(sorted({{'numpy', 'onnxruntime', 'onnx'}} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
