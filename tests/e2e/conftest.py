"""Models small enough for any test, as the files that a user hands in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_bench.null_model import null_bytes
from muster_protos.model import Format


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear classifier ``model.onnx``, ``data.npz`` (200 samples, 95 % of whose labels it predicts), ``null.tflite``
    (the null model) and ``not-a-model.onnx``."""
    folder = tmp_path_factory.mktemp("files")
    random = np.random.default_rng(7)
    weights = random.normal(size=(16, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, folder / "model.onnx")
    inputs = random.normal(size=(200, 16)).astype(np.float32)
    labels = (inputs @ weights).argmax(axis=1)
    labels[:10] = (labels[:10] + 1) % 4
    np.savez(folder / "data.npz", x_x=inputs, y=labels)
    (folder / "null.tflite").write_bytes(null_bytes(Format.TFLITE))
    (folder / "not-a-model.onnx").write_bytes(b"\x00\x01 nothing that any runtime reads" * 50)
    return folder
