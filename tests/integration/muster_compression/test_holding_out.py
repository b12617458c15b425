"""The samples that a search ranks on: held out, labelled, enough of them, and none of those that judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from muster_compression.holding_out import do_holdout
from muster_compression.import_model import import_model
from muster_compression.orders import Holdout, HoldoutOrder, Parent
from muster_protos.errors import InvalidInputError


@pytest.fixture(scope="module")
def parent(
    model_path: Path, arrays: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Parent, dict[str, np.ndarray]]:
    """Of a model that x_test judges, and its data."""
    folder = tmp_path_factory.mktemp("in")
    given = {"x_train": arrays["x_train"][:40], "y_train": arrays["y_train"][:40]}
    given |= {"x_test": arrays["x_train"][40:], "y_test": arrays["y_train"][40:]}
    given |= {"x_val": arrays["x_val"], "y_val": arrays["y_val"]}
    np.savez(folder / "data.npz", **given)
    return import_model(str(model_path), "m", 1, str(folder / "data.npz"), folder / "out").parent, given


def held_out(parent: Parent, arrays: dict[str, np.ndarray], folder: Path) -> Holdout:
    path = folder / "changed.npz"
    np.savez(path, **arrays)
    return do_holdout(HoldoutOrder(replace(parent, data=str(path)), folder), lambda ratio, note: None)


def test_the_validation_set_ranks_where_a_test_set_judges(parent, tmp_path):
    known, arrays = parent
    found = held_out(known, arrays, tmp_path)
    assert (found.samples, found.reason) == (64, "")
    assert found.parent.manifest.accuracy.n == 64
    assert found.parent.manifest.accuracy.value == 1.0
    with np.load(found.parent.evaluation_path) as kept:
        assert np.array_equal(kept["y"], arrays["y_val"])
    assert found.parent.evaluation_path != known.evaluation_path


def test_without_training_samples_it_ranks_all_the_same_and_other_samples_are_told_apart(parent, tmp_path):
    known, arrays = parent
    found = held_out(known, arrays, tmp_path)
    bare = held_out(known, {key: values for key, values in arrays.items() if "train" not in key}, tmp_path)
    assert (bare.samples, bare.reason) == (64, "")
    assert bare.samples_sha256 != found.samples_sha256


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x_val": 30}, "only 30 samples are held out, at least 50 are needed"),
        ({"y_val": 0, "y_train": 0}, "there are no labelled samples apart from those"),
        ({"x_val": 0, "y_val": 0}, "only 4 samples are held out, at least 50 are needed"),  # a tenth of x_train
    ],
)
def test_what_cannot_rank_says_why(parent, tmp_path, change, reason):
    known, arrays = parent
    fewer = {key: values[: change.get(key, len(values))] for key, values in arrays.items()}
    if "x_val" in change:
        fewer["y_val"] = fewer["y_val"][: change["x_val"]]
    found = held_out(known, {key: values for key, values in fewer.items() if len(values)}, tmp_path)
    assert (found.parent, found.reason) == (None, reason)


def test_held_out_samples_that_judge_are_refused(parent, tmp_path):
    known, arrays = parent
    leaky = {**arrays, "x_val": arrays["x_test"], "y_val": arrays["y_test"]}
    with pytest.raises(InvalidInputError, match="found that 56 of 56 samples that are held out judge, too"):
        held_out(known, leaky, tmp_path)


def test_held_out_samples_that_train_are_refused(parent, tmp_path):
    known, arrays = parent
    leaky = {**arrays, "x_train": arrays["x_val"], "y_train": arrays["y_val"]}
    with pytest.raises(InvalidInputError, match="found that 64 of 64 samples that are held out are among the 64 that"):
        held_out(known, leaky, tmp_path)


def test_a_handful_is_a_note_that_is_passed_on(parent, tmp_path):
    known, arrays = parent
    images = arrays["x_val"].copy()
    images[:2] = arrays["x_test"][:2]
    images[2:5] = arrays["x_train"][:3]
    found = held_out(known, {**arrays, "x_val": images}, tmp_path)
    assert found.samples == 64
    assert found.notes == (
        "changed.npz: 2 of 64 samples that are held out judge, too; alike by nature, or by mistake?",
        "changed.npz: 3 of 64 samples that are held out are among the 40 that train; alike by nature, or by mistake?",
    )
    assert held_out(known, arrays, tmp_path).notes == ()
