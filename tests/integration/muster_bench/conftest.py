"""Small real models as files, and the manifests that describe them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from muster_bench.binding import identity_binding
from muster_protos.model import ArtifactRef, Format, Signature, TensorSpec, VariantManifest

LABELS = 4
SIGNATURE = Signature(
    (TensorSpec("x", "float32", (-1, LABELS), ("batch", "")),),
    (TensorSpec("y", "float32", (-1, LABELS), ("batch", "")),),
    task="classification",
    metric="accuracy",
)


@pytest.fixture
def save_onnx(tmp_path: Path) -> Callable[..., Path]:
    """Write a graph of (operator, inputs, outputs) nodes or ready-made ones; shapes by name."""

    def save(nodes, inputs=None, outputs=None, weights=None, opset=17, domains=(), name="model.onnx") -> Path:
        def values(shapes):
            return [
                shape
                if isinstance(shape, TensorProto) or hasattr(shape, "type")
                else helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in shapes.items()
            ]

        graph = helper.make_graph(
            [helper.make_node(*node) if isinstance(node, tuple) else node for node in nodes],
            "g",
            values({"x": [1, 4]} if inputs is None else inputs),
            values({"y": [1, 4]} if outputs is None else outputs),
            [
                weight if isinstance(weight, TensorProto) else numpy_helper.from_array(np.asarray(weight), key)
                for key, weight in (weights or {}).items()
            ],
        )
        opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
        path = tmp_path / name
        path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
        return path

    return save


@pytest.fixture
def save_tflite(tmp_path: Path) -> Callable[..., Path]:
    """Write a graph of RELU operators over float tensors of shape (1, 4)."""

    def save(operators=((0, 1),), inputs=(0,), outputs=(1,), name="model.tflite") -> Path:
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = [], []
        for i in range(1 + max(max(pair) for pair in operators)):
            tensor = schema.TensorT()
            tensor.shape, tensor.type, tensor.buffer, tensor.name = [1, 4], schema.TensorType.FLOAT32, 0, b"t%d" % i
            graph.tensors.append(tensor)
        for source, target in operators:
            operator = schema.OperatorT()
            operator.opcodeIndex, operator.inputs, operator.outputs = 0, [source], [target]
            graph.operators.append(operator)
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.RELU
        code.version = 1
        model = schema.ModelT()
        model.version, model.subgraphs, model.operatorCodes, model.buffers = 3, [graph], [code], [schema.BufferT()]
        builder = flatbuffers.Builder(0)
        builder.Finish(model.Pack(builder), b"TFL3")
        path = tmp_path / name
        path.write_bytes(bytes(builder.Output()))
        return path

    return save


@pytest.fixture
def classifier(save_onnx) -> Path:
    """Top-1 is the position of the largest input; some matrices in between give it work to do."""
    eye = np.eye(LABELS, dtype=np.float32)
    return save_onnx(
        [("MatMul", ["x", "w"], ["h"]), ("Softmax", ["h"], ["y"])],
        {"x": ["batch", LABELS]},
        {"y": ["batch", LABELS]},
        {"w": eye * 5},
        name="classifier.onnx",
    )


@pytest.fixture
def manifest_of() -> Callable[..., VariantManifest]:
    """The manifest of an ONNX file with the classifier's face."""

    def make(path: Path, **more) -> VariantManifest:
        content = path.read_bytes()
        return VariantManifest(
            variant_id="toy.v1.fp32",
            model_id="toy",
            model_version=1,
            name="fp32",
            artifact=ArtifactRef(hashlib.sha256(content).hexdigest(), len(content)),
            format=Format.ONNX,
            precision="whatever the name says",
            signature=SIGNATURE,
            binding=identity_binding(SIGNATURE, SIGNATURE.inputs, SIGNATURE.outputs),
            **more,
        )

    return make
