import io
import pickle
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muster_bench.files.sniff import sniff
from muster_bench.null_model import null_bytes
from muster_protos.model import Format


def zipped(*names):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (null_bytes(Format.ONNX), "onnx"),
        (null_bytes(Format.TFLITE), "tflite"),
        (pickle.dumps([1, 2]), "pickle"),
        (zipped("model/data.pkl", "model/data/0"), "pytorch"),
        (zipped("config.json", "model.weights.h5"), "keras"),
        (zipped("readme"), "zip"),
        (b"PK\x03\x04broken", "unknown"),
        (b"\x89HDF\r\n\x1a\nrest", "hdf5"),
        (b"GGUF\x03", "gguf"),
        (b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": 1}', "safetensors"),
        (b"\x18\x00\x00\x00ORTM", "ort"),
        (b"", "unknown"),
        (b"hello, I am a text file", "unknown"),
    ],
)
def test_content_decides_not_the_suffix(tmp_path, content, name):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    found = sniff(path)
    assert found.name == name
    assert bool(found.way_out) == (name not in ("onnx", "tflite", "unknown"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_have_a_name(tmp_path, content):
    path = tmp_path / "file"
    path.write_bytes(content)
    assert sniff(path).name
