from dataclasses import replace

import pytest

from muster_compression.import_model import import_model
from muster_compression.run_recipe import run_recipe
from muster_protos.errors import InvalidInputError


@pytest.fixture(scope="module")
def parent(model_path, data_path, tmp_path_factory):
    return import_model(str(model_path), "kws", 1, str(data_path), tmp_path_factory.mktemp("parent")).parent


@pytest.fixture(scope="module")
def quick(parent, tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick")
    return run_recipe(parent, "quick", folder / "out", cache_dir=folder / "cache"), folder


def by_name(result):
    return {item.manifest.name: item for item in result.variants}


def test_quick_gives_fp16_and_int8_of_the_right_precision_and_size(parent, quick):
    result, _ = quick
    assert result.failed == ()
    variants = by_name(result)
    assert list(variants) == ["fp16", "int8-static"]
    size = parent.manifest.artifact.size_bytes
    assert variants["fp16"].manifest.precision == "fp16"
    assert variants["fp16"].manifest.artifact.size_bytes < 0.75 * size
    assert variants["int8-static"].manifest.precision == "int8"
    assert variants["int8-static"].manifest.artifact.size_bytes < size
    assert variants["int8-static"].manifest.operators["QuantizeLinear"] > 0
    for item in result.variants:
        assert item.is_kept
        assert item.manifest.parent_variant_id == "kws.v1.fp32"
        assert item.manifest.recipe == "quick"
        assert item.manifest.signature == parent.manifest.signature
        assert item.manifest.evaluation == parent.manifest.evaluation
        assert item.manifest.accuracy.agreement > 0.9
        assert item.manifest.sqnr_db > 15
        assert item.manifest.golden.sha256 != parent.manifest.golden.sha256
        assert all(path.is_file() for path in item.files)
    assert variants["int8-static"].manifest.calibration == parent.manifest.calibration
    assert variants["int8-static"].manifest.accuracy.agreement < 1.0 or variants["int8-static"].manifest.sqnr_db < 60


def test_the_same_recipe_gives_the_same_bytes_from_nothing_and_from_the_cache(parent, quick, tmp_path):
    result, folder = quick
    notes = []
    again = run_recipe(parent, "quick", tmp_path / "a", lambda _, note: notes.append(note), cache_dir=folder / "cache")
    fresh = run_recipe(parent, "quick", tmp_path / "b", cache_dir=tmp_path / "cache")
    for name, item in by_name(result).items():
        assert by_name(again)[name].manifest.artifact == item.manifest.artifact
        assert by_name(fresh)[name].manifest.artifact == item.manifest.artifact
        assert by_name(fresh)[name].manifest.golden == item.manifest.golden
    assert any("from the cache" in note for note in notes)


def test_a_damaged_cache_entry_is_made_again(parent, quick, tmp_path):
    result, _ = quick
    run_recipe(parent, "quick", tmp_path / "a", cache_dir=tmp_path / "cache")
    for path in (tmp_path / "cache" / "passes").glob("*/output"):
        path.write_bytes(path.read_bytes()[:-7])
    again = run_recipe(parent, "quick", tmp_path / "b", cache_dir=tmp_path / "cache")
    assert by_name(again)["fp16"].manifest.artifact == by_name(result)["fp16"].manifest.artifact


def test_a_variant_under_the_floor_is_dropped_with_its_figures(parent, quick, tmp_path):
    _, folder = quick
    accuracy = replace(parent.manifest.accuracy, value=1.02)  # a baseline that no variant comes near
    better = replace(parent, manifest=replace(parent.manifest, accuracy=accuracy))
    result = run_recipe(better, "quick", tmp_path / "out", floor="-0.01", cache_dir=folder / "cache")
    assert [item.is_kept for item in result.variants] == [False, False]
    for item in result.variants:
        assert "under the floor of 101.00%" in item.reason
        assert f"{item.manifest.accuracy.value:.2%}" in item.reason


def test_a_floor_that_holds_drops_nothing(parent, quick, tmp_path):
    _, folder = quick
    result = run_recipe(parent, "quick", tmp_path / "out", floor="0.5rel", cache_dir=folder / "cache")
    assert all(item.is_kept for item in result.variants)


def test_a_variant_can_start_from_another(parent, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "name: mine\nvariants:\n  - {name: ready, passes: [onnx-prepare]}\n"
        "  - {name: small, from: ready, passes: [{pass: onnx-static-int8, calibration_samples: 32}]}\n"
    )
    result = run_recipe(parent, str(recipe), tmp_path / "out", cache_dir=tmp_path / "cache")
    assert [item.manifest.parent_variant_id for item in result.variants] == ["kws.v1.fp32", "kws.v1.ready"]


def test_what_is_quantized_already_is_refused_by_name(quick, data_path, tmp_path):
    result, _ = quick
    path = by_name(result)["int8-static"].artifact_path
    model = import_model(str(path), "q", 1, str(data_path), tmp_path / "model")
    assert model.manifest.name == "int8"
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: mine\nvariants:\n  - {name: small, passes: [onnx-static-int8]}\n")
    with pytest.raises(InvalidInputError, match="quantized already"):
        run_recipe(model.parent, str(recipe), tmp_path / "out", cache_dir=tmp_path / "cache")


def test_a_pass_that_would_change_nothing_fails(quick, data_path, tmp_path):
    result, _ = quick
    model = import_model(str(by_name(result)["fp16"].artifact_path), "h", 1, str(data_path), tmp_path / "model")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: mine\nvariants:\n  - {name: half, passes: [onnx-fp16]}\n")
    with pytest.raises(InvalidInputError, match="onnx-fp16 expected float32 weights, found none"):
        run_recipe(model.parent, str(recipe), tmp_path / "out", cache_dir=tmp_path / "cache")


def test_an_opset_that_a_pass_cannot_take_is_named_and_prepare_upgrades_it(old_opset_path, data_path, tmp_path):
    model = import_model(str(old_opset_path), "old", 1, str(data_path), tmp_path / "model")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: mine\nvariants:\n  - {name: small, passes: [onnx-static-int8]}\n")
    with pytest.raises(InvalidInputError, match=r"expected opset 13 or later .* found 11"):
        run_recipe(model.parent, str(recipe), tmp_path / "out", cache_dir=tmp_path / "cache")
    result = run_recipe(model.parent, "quick", tmp_path / "out", cache_dir=tmp_path / "cache")
    assert by_name(result)["int8-static"].manifest.opset >= 13


def test_without_training_samples_the_note_says_what_calibrated(model_path, tmp_path):
    model = import_model(str(model_path), "m", 1, "", tmp_path / "model")
    result = run_recipe(model.parent, "quick", tmp_path / "out", cache_dir=tmp_path / "cache")
    assert any("evaluation inputs" in note for note in result.notes)
    assert by_name(result)["int8-static"].manifest.calibration == model.manifest.evaluation


def test_an_operator_that_is_to_stay_float_must_exist(parent, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "name: mine\nvariants:\n  - {name: s, passes: [onnx-prepare, {pass: onnx-static-int8, keep_float: [konv]}]}\n"
    )
    with pytest.raises(InvalidInputError, match="no operator is named 'konv'; near it are conv"):
        run_recipe(parent, str(recipe), tmp_path / "out", cache_dir=tmp_path / "cache")


def test_a_floor_that_nothing_reaches_is_refused_before_anything_is_made(parent, tmp_path):
    with pytest.raises(InvalidInputError, match="at most 1 for accuracy"):
        run_recipe(parent, "quick", tmp_path / "out", floor="1.01", cache_dir=tmp_path / "cache")
