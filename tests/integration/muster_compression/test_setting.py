"""What a recipe trains on and what it holds out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from muster_compression.dataset.load import load_data
from muster_compression.dataset.training import training_splits
from muster_compression.import_model import import_model
from muster_compression.orders import ImportedModel, RecipeOrder
from muster_compression.recipe import load_recipe
from muster_compression.setting import prepare
from muster_protos.errors import InvalidInputError


@pytest.fixture(scope="module")
def imported(model_path: Path, data_path: Path, tmp_path_factory: pytest.TempPathFactory) -> ImportedModel:
    return import_model(str(model_path), "m", 1, str(data_path), tmp_path_factory.mktemp("in"), seed=5)


def test_a_recipe_holds_out_what_the_import_held_out_whatever_its_own_seed(imported, data_path, tmp_path):
    recipe = load_recipe("quick").model_copy(update={"seed": 3})
    order = RecipeOrder("quick", imported.parent, tmp_path, seed=7, cache_dir=tmp_path / "cache")
    setting, _ = prepare(order, recipe, tmp_path, True)
    wanted = training_splits(load_data(str(data_path)), imported.signature, 5)
    for split, found in zip(wanted, (setting.around.training, setting.around.holdout), strict=True):
        assert np.array_equal(split.inputs["image"], found.inputs["image"])
        assert np.array_equal(split.labels, found.labels)
    assert setting.around.seed == 7


def test_data_with_the_samples_that_judge_are_refused(imported, arrays, tmp_path):
    leaky = {**arrays, "x_train": arrays["x_val"], "y_train": arrays["y_val"]}
    np.savez(tmp_path / "leaky.npz", **leaky)
    data = str(tmp_path / "leaky.npz")
    order = RecipeOrder("quick", imported.parent, tmp_path, data=data, cache_dir=tmp_path / "cache")
    words = r"leaky.npz: .* found that 58 of 64 samples that judge are among the 58 that train"
    with pytest.raises(InvalidInputError, match=words):
        prepare(order, load_recipe("quick"), tmp_path, True)


def test_the_imports_own_data_are_apart(imported, tmp_path):
    order = RecipeOrder("quick", imported.parent, tmp_path, cache_dir=tmp_path / "cache")
    assert prepare(order, load_recipe("quick"), tmp_path, True)[1] == []
