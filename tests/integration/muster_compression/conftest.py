"""A small ONNX classifier whose answers are the labels of its data, made in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

CLASSES = 5


def classifier(seed: int = 0, channels: int = 8, opset: int = 17, is_channels_last: bool = False) -> onnx.ModelProto:
    """Conv, ReLU, pooling, Gemm over 3 x 12 x 12 images."""
    random = np.random.default_rng(seed)
    shape = (1, 12, 12, 3) if is_channels_last else (1, 3, 12, 12)
    nodes = [
        helper.make_node("Conv", ["inner", "w"], ["a"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "g"], ["scores"], name="gemm"),
    ]
    first = helper.make_node("Transpose", ["image"], ["inner"], perm=[0, 3, 1, 2])
    nodes.insert(0, first if is_channels_last else helper.make_node("Identity", ["image"], ["inner"]))
    weights = [
        numpy_helper.from_array(random.normal(0, 0.3, (channels, 3, 3, 3)).astype(np.float32), "w"),
        numpy_helper.from_array(random.normal(0, 0.3, (channels * 36, CLASSES)).astype(np.float32), "g"),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, (1, CLASSES))],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def answers(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """The classes that the model itself gives."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.array([session.run(None, {"image": image[None]})[0].argmax() for image in images])


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "classifier.onnx"
    onnx.save(classifier(), str(path))
    return path


@pytest.fixture(scope="session")
def arrays() -> dict[str, np.ndarray]:
    """Balanced enough labels: the model's own answers on noise."""
    random = np.random.default_rng(1)
    images = random.normal(0, 1, (160, 3, 12, 12)).astype(np.float32)
    labels = answers(classifier(), images)
    assert len(np.unique(labels)) >= 3
    return {"x_train": images[:96], "y_train": labels[:96], "x_val": images[96:], "y_val": labels[96:]}


@pytest.fixture(scope="session")
def data_path(arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture
def channels_last_path(tmp_path: Path) -> Path:
    """The same function of NHWC images."""
    path = tmp_path / "nhwc.onnx"
    onnx.save(classifier(is_channels_last=True), str(path))
    return path


@pytest.fixture
def stranger_path(tmp_path: Path) -> Path:
    """Another network with the same face."""
    path = tmp_path / "stranger.onnx"
    onnx.save(classifier(seed=99), str(path))
    return path


@pytest.fixture
def old_opset_path(tmp_path: Path) -> Path:
    """The same at an opset without per-channel quantization."""
    path = tmp_path / "old.onnx"
    onnx.save(classifier(opset=11), str(path))
    return path
