"""Two small networks that read scikit-learn's digits: random features, and a last layer fitted in closed form.

So they are trained (95 % right or more) in milliseconds, and no exporter is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_compression.dataset.splits import ONLY_INPUT, Split
from muster_compression.digits.data import digits
from muster_compression.face import canonical_signature, open_artifact
from muster_compression.passes.port import Form, PassContext, PassOutput, WorkingModel
from muster_compression.passes.registry import find_pass
from muster_protos.model import Format

SIDE, CLASSES = 16, 10
OPSETS = (helper.make_opsetid("", 17),)


@dataclass(frozen=True, slots=True)
class Trained:
    """A model file with the samples it was fitted on and those that judge it."""

    path: Path
    train: Split
    validation: Split

    def answers(self, path: Path) -> np.ndarray:
        """Scores (n, 10) of the validation images by another form of the model."""
        return run(path, self.validation.inputs[ONLY_INPUT])

    def accuracy(self, path: Path) -> float:
        return float((self.answers(path).argmax(1) == self.validation.labels).mean())

    def sqnr_db(self, path: Path) -> float:
        wanted = self.answers(self.path).astype(np.float64)
        noise = ((self.answers(path) - wanted) ** 2).sum()
        return float(10 * np.log10((wanted**2).sum() / noise))


def run(path: Path, images: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: image[None]})[0] for image in images])


def graph_of(
    nodes: list[onnx.NodeProto], weights: Mapping[str, np.ndarray], output: str, width: int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 1, SIDE, SIDE))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, (1, width))],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=OPSETS, ir_version=9)


def fitted(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray],
    width: int,
    path: Path,
    ridge: float,
    head: Mapping[str, float],
) -> Trained:
    """Ridge regression of the one-hot labels on ``features``, appended as a Gemm with the attributes ``head``."""
    data = digits(SIDE)
    train, validation = data.train, data.validation
    assert train is not None
    assert validation is not None
    onnx.save(graph_of(nodes, weights, "features", width), str(path))
    features = run(path, train.inputs[ONLY_INPUT]).astype(np.float64)
    mean, spread = features.mean(0), features.std(0) + 1e-3
    columns = (features - mean) / spread
    targets = np.eye(CLASSES)[train.labels] * 10
    strength = ridge * len(columns)
    solved = np.linalg.solve(columns.T @ columns + strength * np.eye(width), columns.T @ targets) / spread[:, None]
    weight, bias = solved / head.get("alpha", 1.0), (1 - mean @ solved) / head.get("beta", 1.0)
    weights = weights | {
        "head": np.ascontiguousarray(weight.T if head.get("transB") else weight, np.float32),
        "head_bias": bias.astype(np.float32),
    }
    last = helper.make_node("Gemm", ["features", "head", "head_bias"], ["scores"], name="head", **head)
    onnx.save(graph_of([*nodes, last], weights, "scores", CLASSES), str(path))
    return Trained(path, train, validation)


@pytest.fixture(scope="session")
def cnn(tmp_path_factory) -> Trained:
    """Convolution, depthwise and pointwise convolutions whose channels differ a hundredfold, as MobileNets' do."""
    random = np.random.default_rng(0)
    spread = np.exp(random.uniform(0, np.log(100), 16)).astype(np.float32)
    weights = {
        "stem": random.normal(0, 0.4, (16, 1, 3, 3)),
        "depthwise": random.normal(0, 0.4, (16, 1, 3, 3)) * spread[:, None, None, None],
        "pointwise": random.normal(0, 0.4, (32, 16, 1, 1)) / spread[None, :, None, None],
        "coarse": random.normal(0, 0.1, (32, 32, 3, 3)),
    }
    weights = {name: values.astype(np.float32) for name, values in weights.items()}
    nodes = [
        helper.make_node("Conv", ["image", "stem"], ["a"], name="stem", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"], name="stem_relu"),
        helper.make_node("Conv", ["b", "depthwise"], ["c"], name="depthwise", pads=[1, 1, 1, 1], group=16),
        helper.make_node("Relu", ["c"], ["d"], name="depthwise_relu"),
        helper.make_node("Conv", ["d", "pointwise"], ["e"], name="pointwise"),
        helper.make_node("Relu", ["e"], ["f"], name="pointwise_relu"),
        helper.make_node("Conv", ["f", "coarse"], ["g"], name="coarse", pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["g"], ["h"], name="coarse_relu"),
        helper.make_node("AveragePool", ["h"], ["i"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["i"], ["features"], name="flatten"),
    ]
    return fitted(nodes, weights, 128, tmp_path_factory.mktemp("cnn") / "cnn.onnx", 0.3, {})


@pytest.fixture(scope="session")
def transformer(tmp_path_factory) -> Trained:
    """Rows of the image as 16 tokens, one block of attention and MLP, and a Gemm with factors and a transposition."""
    random = np.random.default_rng(1)
    shapes = {
        "embed": (16, 64),
        "q": (64, 64),
        "k": (64, 64),
        "v": (64, 64),
        "o": (64, 64),
        "up": (64, 128),
        "down": (128, 64),
    }
    weights = {name: random.normal(0, shape[0] ** -0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    weights |= {"position": random.normal(0, 0.5, (1, 16, 64)).astype(np.float32)}
    weights |= {"scale": np.ones(64, np.float32), "shift": np.zeros(64, np.float32)}
    weights |= {"rows": np.array([1, 16, 16], np.int64), "root": np.array(8.0, np.float32)}
    product = [
        helper.make_node("MatMul", [source, name], [f"{name}_y"], name=name)
        for source, name in (
            ("tokens", "embed"),
            ("n1", "q"),
            ("n1", "k"),
            ("n1", "v"),
            ("mix", "o"),
            ("n2", "up"),
            ("r", "down"),
        )
    ]
    embed, query, key, value, out, up, down = product
    nodes = [
        helper.make_node("Reshape", ["image", "rows"], ["tokens"], name="tokens"),
        embed,
        helper.make_node("Add", ["embed_y", "position"], ["x1"], name="add_position"),
        helper.make_node("LayerNormalization", ["x1", "scale", "shift"], ["n1"], name="norm1"),
        query,
        key,
        value,
        helper.make_node("Transpose", ["k_y"], ["k_t"], name="turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q_y", "k_t"], ["s"], name="similarity"),
        helper.make_node("Div", ["s", "root"], ["s_scaled"], name="scaled"),
        helper.make_node("Softmax", ["s_scaled"], ["p"], name="softmax", axis=-1),
        helper.make_node("MatMul", ["p", "v_y"], ["mix"], name="mixed"),
        out,
        helper.make_node("Add", ["x1", "o_y"], ["x2"], name="residual1"),
        helper.make_node("LayerNormalization", ["x2", "scale", "shift"], ["n2"], name="norm2"),
        up,
        helper.make_node("Relu", ["up_y"], ["r"], name="relu"),
        down,
        helper.make_node("Add", ["x2", "down_y"], ["x3"], name="residual2"),
        helper.make_node("Flatten", ["x3"], ["features"], name="flatten"),
    ]
    head = {"transB": 1, "alpha": 0.5, "beta": 2.0}
    return fitted(nodes, weights, 1024, tmp_path_factory.mktemp("transformer") / "transformer.onnx", 3.0, head)


@pytest.fixture
def apply(tmp_path) -> Callable[..., PassOutput]:
    """Run one pass by name on a trained model, or on what another pass made of it."""
    count = iter(range(1000))

    def run_pass(name: str, trained: Trained, model: WorkingModel | None = None, **settings: object) -> PassOutput:
        samples = settings.pop("samples", trained.train.inputs[ONLY_INPUT])
        holdout = settings.pop("holdout", None)
        folder = tmp_path / str(next(count))
        folder.mkdir()
        format_ = Format.TFLITE if trained.path.suffix == ".tflite" else Format.ONNX
        session = open_artifact(trained.path, format_)
        signature = canonical_signature(session, format_, (), "accuracy")
        session.close()
        only = signature.inputs[0].name
        context = PassContext(
            folder,
            signature,
            {only: samples} if len(samples) else {},
            0,
            lambda _ratio, _note: None,
            holdout=None if holdout is None else Split({only: holdout.inputs[ONLY_INPUT]}, holdout.labels),
        )
        spec = find_pass(name)
        return spec.function(
            model or WorkingModel(trained.path, Form(format_.value)), spec.settings(**settings), context
        )

    return run_pass
