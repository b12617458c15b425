import io
import zipfile

import numpy as np
import pytest

from muster_bench.dataset import columns, load_arrays, split
from muster_protos.errors import InvalidInputError
from muster_protos.model import TensorSpec


def test_samples_are_rows_joined_along_axis_0(tmp_path):
    path = tmp_path / "evaluation.npz"
    np.savez(path, x_image=np.arange(12, dtype=np.float32).reshape(6, 2))
    specs = (TensorSpec("image", "float32", (-1, 2)),)
    feeds = split(columns(load_arrays(path), "x_", specs), specs)
    assert [feed["image"].tolist() for feed in feeds][:2] == [[[0, 1]], [[2, 3]]]
    batches = split(columns(load_arrays(path), "x_", specs), (TensorSpec("image", "float32", (3, 2)),))
    assert [batch["image"].shape for batch in batches] == [(3, 2), (3, 2)]


def test_pickled_arrays_are_never_loaded(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, x_image=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InvalidInputError, match="plain arrays"):
        load_arrays(path)


def test_files_that_are_no_npz_are_refused(tmp_path):
    for name, content in (("text.npz", b"hello"), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInputError, match=name):
            load_arrays(tmp_path / name)


def test_a_zip_bomb_stays_packed(tmp_path, monkeypatch):
    monkeypatch.setattr("muster_bench.dataset._MAX_UNPACKED_BYTES", 1 << 20)
    path = tmp_path / "bomb.npz"
    packed = io.BytesIO()
    np.save(packed, np.zeros(1 << 20, np.float64))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x_image.npy", packed.getvalue())
    with pytest.raises(InvalidInputError, match="unpack"):
        load_arrays(path)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 2), np.float64), "float32"),
        (np.zeros((4, 3), np.float32), "joined along axis 0"),
        (np.zeros((0, 2), np.float32), "at least 1"),
        (np.zeros(4, np.float32), "joined along axis 0"),
    ],
)
def test_arrays_that_do_not_fit_the_signature_are_refused(array, message):
    with pytest.raises(InvalidInputError, match=message):
        split({"image": array}, (TensorSpec("image", "float32", (-1, 2)),))


def test_missing_arrays_are_named():
    with pytest.raises(InvalidInputError, match="expected the arrays x_image, found y"):
        columns({"y": np.zeros(1)}, "x_", (TensorSpec("image", "float32", (-1, 2)),))
