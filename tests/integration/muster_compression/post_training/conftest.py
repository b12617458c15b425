"""Small networks that read scikit-learn's digits, written without an exporter.

The ONNX ones have random features and a last layer fitted in closed form, which takes milliseconds; the TFLite ones are
trained for a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_bench.face import Face
from muster_compression.dataset.splits import ONLY_INPUT, Split
from muster_compression.digits.data import digits
from muster_compression.face import bind, canonical_signature, open_artifact
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
    """Answers in floats, whatever the artifact's own tensors are."""
    format_ = Format.TFLITE if path.suffix == ".tflite" else Format.ONNX
    session = open_artifact(path, format_)
    signature = canonical_signature(session, format_, (), "accuracy")
    face = Face(session, signature, bind(session, signature))
    source, target = signature.inputs[0].name, signature.outputs[0].name
    answers = np.concatenate([face.run({source: image[None]})[target] for image in images])
    session.close()
    return answers


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
    solved, constant = ridge_regression(features, train.labels, ridge)
    weight, bias = solved / head.get("alpha", 1.0), constant / head.get("beta", 1.0)
    weights = weights | {
        "head": np.ascontiguousarray(weight.T if head.get("transB") else weight, np.float32),
        "head_bias": bias.astype(np.float32),
    }
    last = helper.make_node("Gemm", ["features", "head", "head_bias"], ["scores"], name="head", **head)
    onnx.save(graph_of([*nodes, last], weights, "scores", CLASSES), str(path))
    return Trained(path, train, validation)


def ridge_regression(features: np.ndarray, labels: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray]:
    """Weight (features, classes) and bias that give 10 for the right class and 0 for the others."""
    mean, spread = features.mean(0), features.std(0) + 1e-3
    columns = (features - mean) / spread
    targets = np.eye(CLASSES)[labels] * 10
    strength = ridge * len(columns) * np.eye(columns.shape[1])
    weight = np.linalg.solve(columns.T @ columns + strength, columns.T @ targets) / spread[:, None]
    return weight, 1 - mean @ weight


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


class TfliteGraph:
    """A chain of layers as a TFLite file, written with LiteRT's own schema: no exporter is needed."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema = schema
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, b"digits"
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.graph = schema.SubGraphT()
        self.graph.name, self.graph.tensors, self.graph.operators = b"main", [], []
        self.model.subgraphs = [self.graph]
        self.last = self._tensor("image", (1, SIDE, SIDE, 1))
        self.graph.inputs = [self.last]

    def convolution(
        self, name: str, weight: np.ndarray, bias: np.ndarray, stride: int = 1, *, depthwise: bool = False
    ) -> TfliteGraph:
        """``weight`` is OHWI (1HWC for a depthwise one); SAME padding, ReLU."""
        schema = self.schema
        options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
        options.strideH = options.strideW = stride
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        if depthwise:
            options.depthMultiplier = 1
        rows, columns = (-(-size // stride) for size in self.graph.tensors[self.last].shape[1:3])
        channels = weight.shape[-1] if depthwise else weight.shape[0]
        kind = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
        return self._layer(kind, options, name, weight, bias, (1, rows, columns, channels))

    def flatten(self) -> TfliteGraph:
        schema = self.schema
        options = schema.ReshapeOptionsT()
        options.newShape = [1, int(np.prod(self.graph.tensors[self.last].shape))]
        shape = self._constant("flat_shape", np.array(options.newShape, np.int32), schema.TensorType.INT32)
        self._operator("RESHAPE", options, [self.last, shape], "flat", tuple(options.newShape))
        return self

    def product(self, name: str, weight: np.ndarray, bias: np.ndarray, *, relu: bool = True) -> TfliteGraph:
        schema = self.schema
        options = schema.FullyConnectedOptionsT()
        kinds = schema.ActivationFunctionType
        options.fusedActivationFunction = kinds.RELU if relu else kinds.NONE
        return self._layer("FULLY_CONNECTED", options, name, weight, bias, (1, weight.shape[0]))

    def save(self, path: Path) -> Path:
        import flatbuffers

        self.graph.outputs = [self.last]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _layer(self, kind, options, name, weight, bias, shape) -> TfliteGraph:
        floats = self.schema.TensorType.FLOAT32
        own = self._constant(f"{name}_w", weight.astype(np.float32), floats)
        added = self._constant(f"{name}_b", bias.astype(np.float32), floats)
        self._operator(kind, options, [self.last, own, added], name, shape)
        return self

    def _operator(self, kind, options, inputs, name, shape) -> None:
        schema = self.schema
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, kind)
        code.version = 1
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        self.last = self._tensor(name, shape)
        operator.inputs, operator.outputs = inputs, [self.last]
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self.graph.operators.append(operator)

    def _constant(self, name: str, values: np.ndarray, kind: int) -> int:
        buffer = self.schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return self._tensor(name, values.shape, kind, len(self.model.buffers) - 1)

    def _tensor(self, name: str, shape, kind: int = 0, buffer: int = 0) -> int:
        tensor = self.schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), [int(n) for n in shape], kind, buffer
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1


def learnt(module, images: np.ndarray, labels: np.ndarray, epochs: int) -> dict[str, np.ndarray]:
    """Weights after training; NCHW images."""
    import torch

    data, answers = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(module.parameters(), 1e-2)
    steps = epochs * (len(data) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(data))[: len(data) // 64 * 64].split(64):
            loss = torch.nn.functional.cross_entropy(module(data[rows]), answers[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return {name: value.numpy() for name, value in module.state_dict().items()}


def as_nhwc(part: Split) -> Split:
    return Split({ONLY_INPUT: part.inputs[ONLY_INPUT].transpose(0, 2, 3, 1)}, part.labels)


@pytest.fixture(scope="session")
def tflite_cnn(tmp_path_factory) -> Trained:
    """Convolution, depthwise and pointwise ones whose channels differ a hundredfold, and a last product."""
    pytest.importorskip("ai_edge_quantizer")
    import torch
    from torch import nn

    torch.manual_seed(0)
    even = nn.ZeroPad2d((0, 1, 0, 1))  # what SAME means for stride 2
    module = nn.Sequential(
        *(even, nn.Conv2d(1, 16, 3, 2), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.ReLU(), nn.Conv2d(16, 32, 1), nn.ReLU()),
        *(even, nn.Conv2d(32, 16, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(256, CLASSES)),
    )
    data = digits(SIDE)
    found = learnt(module, data.train.inputs[ONLY_INPUT], data.train.labels, 6)
    spread = np.exp(np.random.default_rng(0).uniform(0, np.log(100), 16)).astype(np.float32)
    to_ohwi = (0, 2, 3, 1)
    head = found["11.weight"].reshape(CLASSES, 16, 4, 4).transpose(to_ohwi).reshape(CLASSES, 256)
    graph = TfliteGraph()
    graph.convolution("stem", found["1.weight"].transpose(to_ohwi), found["1.bias"], 2)
    depthwise = found["3.weight"].transpose(1, 2, 3, 0) * spread
    graph.convolution("depthwise", depthwise, found["3.bias"] * spread, depthwise=True)
    graph.convolution("pointwise", found["5.weight"].transpose(to_ohwi) / spread, found["5.bias"])
    graph.convolution("coarse", found["8.weight"].transpose(to_ohwi), found["8.bias"], 2)
    path = (
        graph.flatten()
        .product("head", head, found["11.bias"], relu=False)
        .save(tmp_path_factory.mktemp("tflite") / "cnn.tflite")
    )
    return Trained(path, as_nhwc(data.train), as_nhwc(data.validation))


@pytest.fixture(scope="session")
def tflite_mlp(tmp_path_factory) -> Trained:
    """Products only."""
    pytest.importorskip("ai_edge_quantizer")
    import torch
    from torch import nn

    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(256, 192), nn.ReLU(), nn.Linear(192, 192), nn.ReLU(), nn.Linear(192, CLASSES)
    )
    data = digits(SIDE)
    found = learnt(module, data.train.inputs[ONLY_INPUT], data.train.labels, 6)
    graph = TfliteGraph().flatten()
    graph.product("first", found["1.weight"], found["1.bias"]).product("second", found["3.weight"], found["3.bias"])
    path = graph.product("head", found["5.weight"], found["5.bias"], relu=False).save(
        tmp_path_factory.mktemp("mlp") / "mlp.tflite"
    )
    return Trained(path, as_nhwc(data.train), as_nhwc(data.validation))
