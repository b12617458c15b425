"""TFLite needs the extra compress-tflite; the conversion of the little network takes about ten seconds."""

import textwrap

import pytest

from muster_compression.export_model import export_model
from muster_compression.import_model import import_model
from muster_compression.run_recipe import run_recipe
from muster_compression.variant_of import variant_of
from muster_protos.errors import InvalidInputError
from muster_protos.model import Format

pytest.importorskip("ai_edge_quantizer")
pytestmark = pytest.mark.slow

NET = textwrap.dedent(
    """
    import torch
    from torch import nn

    def make():
        torch.manual_seed(3)
        return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(800, 5)).eval()
    """
)


@pytest.fixture(scope="module")
def exported(data_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tflite")
    (folder / "net.py").write_text(NET)
    source = f"{folder}/net.py:make"
    tflite = export_model(source, Format.TFLITE, "net", str(data_path), folder).path
    onnx = export_model(source, Format.ONNX, "net", str(data_path), folder).path
    return onnx, tflite


def test_int8_tflite_of_a_float_one_agrees_and_has_a_float_face(exported, data_path, tmp_path):
    model = import_model(str(exported[1]), "net", 1, str(data_path), tmp_path / "model")
    assert model.signature.layout == "NHWC"
    result = run_recipe(model.parent, "quick", tmp_path / "out", cache_dir=tmp_path / "cache")
    manifest = result.variants[0].manifest
    assert (manifest.name, manifest.precision, manifest.format) == ("int8-static", "int8", Format.TFLITE)
    assert manifest.artifact.size_bytes < 0.6 * model.manifest.artifact.size_bytes
    assert manifest.binding.inputs[0].scale is not None
    assert manifest.signature.inputs[0].dtype == "float32"
    assert manifest.sqnr_db > 25
    again = import_model(str(result.variants[0].artifact_path), "small", 1, str(data_path), tmp_path / "again")
    assert again.signature.inputs[0].dtype == "float32"
    with pytest.raises(InvalidInputError, match="expected a float32 model, found int8"):
        run_recipe(again.parent, "quick", tmp_path / "none", cache_dir=tmp_path / "cache")


def test_a_tflite_variant_of_an_onnx_model_and_the_reverse(exported, data_path, tmp_path):
    onnx, tflite = exported
    model = import_model(str(onnx), "net", 1, str(data_path), tmp_path / "a")
    variant = variant_of(model.parent, str(tflite), "lite", tmp_path / "a").manifest
    assert variant.binding.inputs[0].permutation == (0, 3, 1, 2)
    assert variant.accuracy.agreement == 1.0
    assert variant.accuracy.max_abs_error < 1e-4
    other = import_model(str(tflite), "net", 1, str(data_path), tmp_path / "b")
    back = variant_of(other.parent, str(onnx), "onnx", tmp_path / "b").manifest
    assert back.binding.inputs[0].permutation == (0, 2, 3, 1)
    assert back.accuracy.agreement == 1.0
