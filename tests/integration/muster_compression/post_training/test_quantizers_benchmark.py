"""The side-by-side benchmark in small: every tool has a row, and ours are not behind."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from muster_compression.dataset.splits import ONLY_INPUT

_BENCHMARKS = Path(__file__).parents[4] / "benchmarks"

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("name", "library"), [("cnn", "onnxruntime"), ("tflite_cnn", "ai-edge-quantizer")])
def test_float_library_and_ours_are_compared_in_one_run(request, tmp_path, name, library):
    trained = request.getfixturevalue(name)
    data = tmp_path / "data.npz"
    parts = {"train": trained.train, "val": trained.validation}
    np.savez(
        data,
        **{f"x_{key}": part.inputs[ONLY_INPUT] for key, part in parts.items()},
        **{f"y_{key}": part.labels for key, part in parts.items()},
    )
    command = [sys.executable, str(_BENCHMARKS / "quantizers.py"), "-o", "json", "--rounds", "1", "--mixed"]
    found = subprocess.run(
        [*command, "--model", str(trained.path), "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    float_, default, ours, mixed = json.loads(found.stdout)
    assert [row["tool"] for row in (float_, default, ours, mixed)] == [
        "float",
        f"{library} default",
        "ours",
        "ours, mixed",
    ]
    assert ours["sqnr_db"] > default["sqnr_db"] - 0.5
    assert ours["accuracy"] >= default["accuracy"] - 0.01
    assert mixed["sqnr_db"] >= ours["sqnr_db"] - 0.5
    assert max(default["size_bytes"], ours["size_bytes"]) < float_["size_bytes"]
    assert all(
        row["latency_us"] > 0 and row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
        for row in (float_, default, ours, mixed)
    )


def test_data_without_training_samples_are_refused_in_a_line(cnn, tmp_path):
    data = tmp_path / "data.npz"
    np.savez(data, x_val=cnn.validation.inputs[ONLY_INPUT], y_val=cnn.validation.labels)
    command = [sys.executable, str(_BENCHMARKS / "quantizers.py"), "--model", str(cnn.path), "--data", str(data)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1].startswith("expected training samples to calibrate on, found none")
