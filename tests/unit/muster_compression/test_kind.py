import pickle
import zipfile

import pytest

from muster_compression.sources.kind import SourceKind, kind_of, split_torch
from muster_protos.errors import InvalidInputError, NotFoundError


def test_a_python_file_with_a_function_is_torch(tmp_path):
    (tmp_path / "net.py").write_text("def make(): ...")
    assert kind_of(f"{tmp_path}/net.py:make") is SourceKind.TORCH
    assert split_torch("a/net.py:make") == (split_torch("a/net.py:make")[0], "make")


def test_a_colon_elsewhere_is_part_of_the_path():
    assert split_torch("c:/models/net.onnx") is None


def test_content_decides_not_the_suffix(tmp_path):
    (tmp_path / "model.onnx").write_bytes(pickle.dumps({"weights": 1}))
    with pytest.raises(InvalidInputError, match="weights_only=True"):
        kind_of(str(tmp_path / "model.onnx"))


def test_a_zipped_pickle_is_refused_with_the_way_out(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", b"\x80\x02.")
    with pytest.raises(InvalidInputError, match=r"net\.py:make"):
        kind_of(str(tmp_path / "model.pt"))


@pytest.mark.parametrize(
    ("content", "words"), [(b"\x89HDF\r\n\x1a\nrest", "Keras"), (b"PK\x03\x04damaged", "damaged zip")]
)
def test_other_formats_are_named(tmp_path, content, words):
    (tmp_path / "model").write_bytes(content)
    with pytest.raises(InvalidInputError, match=words):
        kind_of(str(tmp_path / "model"))


def test_python_without_a_function_says_how(tmp_path):
    (tmp_path / "net.py").write_text("")
    with pytest.raises(InvalidInputError, match=r"net\.py:make"):
        kind_of(str(tmp_path / "net.py"))


def test_nothing_there_is_not_found(tmp_path):
    with pytest.raises(NotFoundError):
        kind_of(str(tmp_path / "none.onnx"))
    with pytest.raises(InvalidInputError, match="folder"):
        kind_of(str(tmp_path))
