"""A machine without memory or disk is never told as a model that cannot be changed."""

import errno

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_compression.blame import blaming_the_model
from muster_compression.passes.port import Form, PassContext, PassError, WorkingModel
from muster_compression.passes.registry import find_pass
from muster_protos.errors import InvalidInputError
from muster_protos.model import Signature, TensorSpec

FULL = OSError(errno.ENOSPC, "No space left on device")
CALLS = {
    "onnx-prepare": "onnxruntime.quantization.shape_inference.quant_pre_process",
    "onnx-fp16": "onnxruntime.transformers.float16.convert_float_to_float16",
    "onnx-dynamic-int8": "muster_compression.passes.onnx_dynamic_int8._quantized",
    "onnx-int4-weights": "muster_compression.passes.onnx_int4_weights._quantized",
    "onnx-static-int8": "muster_compression.passes.onnx_static_int8.QdqQuantizer",
    "onnx-mixed-int8": "muster_compression.passes.onnx_mixed_int8.QdqQuantizer",
}


@pytest.fixture
def model(tmp_path):
    weight = numpy_helper.from_array(np.eye(8, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])],
        [weight],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return WorkingModel(path, Form.ONNX)


@pytest.fixture
def context(tmp_path):
    signature = Signature((TensorSpec("x", "float32", (1, 8)),), (TensorSpec("y", "float32", (1, 8)),))
    samples = {"x": np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)}
    return PassContext(tmp_path, signature, samples, 0, lambda ratio, note: None)


@pytest.mark.parametrize(
    "error", [FULL, MemoryError(), RuntimeError("no such operator")], ids=["disk", "memory", "graph"]
)
@pytest.mark.parametrize("name", CALLS)
def test_a_pass_only_blames_the_model_for_what_the_model_is(name, error, model, context, monkeypatch):
    def fails(*_given, **_named):
        raise error

    monkeypatch.setattr(CALLS[name], fails)
    found = find_pass(name)
    expected = PassError if isinstance(error, RuntimeError) else type(error)
    with pytest.raises(expected) as caught:
        found.function(model, found.settings.model_validate({}), context)
    if expected is PassError:
        assert str(caught.value) == f"{name} cannot take this graph: no such operator"
    else:
        assert caught.value is error


@pytest.mark.parametrize(("error", "expected"), [(FULL, OSError), (MemoryError(), MemoryError)])
def test_an_export_only_blames_the_model_for_what_the_model_is(error, expected, tmp_path, monkeypatch):
    import torch

    from muster_compression.sources.torch_module import TorchSource
    from muster_compression.sources.torch_to_onnx import export_onnx

    def fails(*_given, **_named):
        raise torch.onnx.OnnxExporterError("failed") from error

    monkeypatch.setattr(torch.onnx, "export", fails)
    source = TorchSource(torch.nn.Flatten(), (torch.zeros(1, 2),), ("x",), ("y",), "net.py:make")
    with pytest.raises(expected):
        export_onnx(source, tmp_path / "net.onnx")


def test_allocators_that_raise_runtime_errors_are_out_of_memory():
    with pytest.raises(MemoryError, match="DefaultCPUAllocator"), blaming_the_model(InvalidInputError, "net"):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")


def test_a_source_that_inspect_cannot_find_is_no_full_disk():
    words = r"^net: could not get source code$"
    with pytest.raises(InvalidInputError, match=words), blaming_the_model(InvalidInputError, "net"):
        raise OSError("could not get source code")


def test_errors_of_musters_own_pass_as_they_are():
    with pytest.raises(PassError, match=r"^nothing changed$"), blaming_the_model(InvalidInputError, "net"):
        raise PassError("nothing changed")
