"""torch form to file, in this process; exports take seconds."""

import logging

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from muster_compression.passes import export_onnx
from muster_compression.passes.port import PassContext, PassError
from muster_compression.torch_model import save_module
from muster_protos.model import Signature, TensorSpec

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


class Net(nn.Module):
    """Its argument is not what the model's input is called."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.body(x)
        return scores


class Odd(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(x).mean((1, 2, 3))[:, None]


@pytest.fixture
def context(tmp_path):
    signature = Signature(
        (TensorSpec("image", "float32", (-1, 1, 8, 8)),), (TensorSpec("scores", "float32", (-1, 3)),), layout="NCHW"
    )
    return PassContext(tmp_path, signature, {}, 0, lambda ratio, note: None)


@pytest.fixture
def model(tmp_path):
    torch.manual_seed(2)
    return save_module(Net().eval(), tmp_path / "net.torch")


def exported(model, context, **settings):
    return export_onnx.apply(model, export_onnx.SETTINGS.model_validate(settings), context)


def test_an_export_has_the_canonical_names_and_computes_the_same(model, context):
    import onnxruntime

    output = exported(model, context)
    graph = onnx.load(str(output.model.path)).graph
    assert ([item.name for item in graph.input], [item.name for item in graph.output]) == (["image"], ["scores"])
    image = np.random.default_rng(0).normal(size=(1, 1, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(output.model.path), providers=["CPUExecutionProvider"])
    wanted = torch.load(model.path, weights_only=False)(torch.from_numpy(image)).detach().numpy()
    assert np.allclose(session.run(None, {"image": image})[0], wanted, atol=1e-5)
    assert "opset 18" in output.record.effect


def test_the_opset_is_what_was_asked_for(model, context):
    output = exported(model, context, opset=20)
    (found,) = [item.version for item in onnx.load(str(output.model.path)).opset_import if item.domain == ""]
    assert found == 20


def test_an_opset_that_the_model_cannot_have_is_refused(model, context):
    with pytest.raises(PassError, match="expected opset 13, found that this model can only be exported at 18"):
        exported(model, context, opset=13)


def test_an_operator_that_cannot_be_exported_is_named(context, tmp_path):
    with pytest.raises(PassError, match=r"Odd cannot be exported to ONNX: operator (aten|prims)\S*bessel_j0") as caught:
        exported(save_module(Odd().eval(), tmp_path / "odd.torch"), context)
    assert "\n" not in str(caught.value)


def test_an_operator_that_cannot_be_converted_to_tflite_is_named(context, tmp_path):
    pytest.importorskip("litert_torch")
    from muster_compression.passes import export_tflite

    before = logging.getLogger().level, list(logging.getLogger().handlers)
    with pytest.raises(PassError, match=r"Odd cannot be converted to TFLite: .*bessel_j0") as caught:
        export_tflite.apply(
            save_module(Odd().eval(), tmp_path / "odd.torch"), export_tflite.SETTINGS.model_validate({}), context
        )
    assert "\n" not in str(caught.value)
    assert (logging.getLogger().level, list(logging.getLogger().handlers)) == before
