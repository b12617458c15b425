"""What an import by ``--train-epochs`` must not train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from muster_compression.dataset.load import load_data
from muster_compression.dataset.training import training_splits
from muster_compression.importing import do_import
from muster_compression.orders import ImportOrder
from muster_compression.pass_cache import PassCache
from muster_compression.torch_origin import import_surroundings
from muster_protos.errors import InvalidInputError
from muster_protos.model import Signature, TensorSpec

NET = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 5))
"""


def order(folder: Path, arrays: dict[str, np.ndarray], leaked: int) -> ImportOrder:
    """An import with one epoch, of data whose first ``leaked`` training samples judge, too."""
    (folder / "net.py").write_text(NET)
    images = arrays["x_train"].copy()
    images[:leaked] = arrays["x_val"][:leaked]
    np.savez(folder / "data.npz", **{**arrays, "x_train": images})
    out = folder / "out"
    out.mkdir()
    source, data = f"{folder}/net.py:make", str(folder / "data.npz")
    return ImportOrder(source, "m", 1, out, data, train_epochs=1, cache_dir=folder / "cache", threads=1)


def test_samples_that_judge_are_refused_before_they_train(arrays, tmp_path):
    words = r"data.npz: .* found that 2\d of 64 samples that judge are among the 86 that train"
    with pytest.raises(InvalidInputError, match=words):
        do_import(order(tmp_path, arrays, leaked=30), lambda ratio, note: None)
    assert not list(tmp_path.rglob("*.torch"))


def test_a_handful_is_a_note_of_the_import(arrays, tmp_path):
    found = do_import(order(tmp_path, arrays, leaked=1), lambda ratio, note: None)
    assert "data.npz: 1 of 64 samples that judge are among the 86 that train; alike by nature, or by mistake?" in (
        found.notes
    )


def test_splits_that_are_apart_train_as_they_are(arrays, data_path, tmp_path):
    signature = Signature(
        (TensorSpec("image", "float32", (1, 3, 12, 12)),), (TensorSpec("scores", "float32", (1, 5)),), "classification"
    )
    data = load_data(str(data_path))
    around, notes = import_surroundings(data, data.judging(), signature, 5, 1, PassCache(tmp_path))
    assert notes == []
    for wanted, found in zip(training_splits(data, signature, 5), (around.training, around.holdout), strict=True):
        assert np.array_equal(wanted.inputs["image"], found.inputs["image"])
        assert np.array_equal(wanted.labels, found.labels)
