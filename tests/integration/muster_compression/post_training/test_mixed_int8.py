"""Mixed precision: closer than all int8, for a share of the model that is known; and the sensitivities behind it."""

import numpy as np
import onnx
import pytest

from muster_compression.dataset.splits import ONLY_INPUT
from muster_compression.graph.tflite_facts import tflite_weights
from muster_compression.import_model import import_model
from muster_compression.passes.port import PassError
from muster_compression.run_recipe import run_recipe
from muster_compression.sensitivity.layer import most_sensitive_first


@pytest.fixture(scope="module", params=["onnx", "tflite"])
def case(request):
    """(trained model, name of the mixed pass, name of the plain one)."""
    trained = request.getfixturevalue({"onnx": "cnn", "tflite": "tflite_cnn"}[request.param])
    return trained, f"{request.param}-mixed-int8", f"{request.param}-static-int8"


def test_it_is_closer_than_all_int8_and_says_by_how_much(apply, case):
    trained, mixed, static = case
    output = apply(mixed, trained, calibration_samples=64, comparison_samples=64, most_float_macs=0.6)
    plain = apply(static, trained, calibration_samples=64).model.path
    figures = output.record.figures
    gain = figures["sqnr_db_mixed"] - figures["sqnr_db_int8"]
    assert gain >= 1.0
    assert trained.sqnr_db(output.model.path) > trained.sqnr_db(plain) + 0.5 * gain
    assert trained.accuracy(output.model.path) > trained.accuracy(trained.path) - 0.01
    assert 0 < figures["macs_float_share"] <= 0.6
    assert output.model.path.stat().st_size < trained.path.stat().st_size
    chosen = figures["excluded"].split(", ")
    assert 1 <= len(chosen) <= 4
    assert all(name in output.record.effect for name in chosen)


def test_the_sensitivities_name_every_layer_and_rank_the_chosen_ones_high(apply, case):
    trained, mixed, _ = case
    output = apply(mixed, trained, calibration_samples=64, comparison_samples=32, most_excluded=2, most_float_macs=1.0)
    measured = output.record.sensitivities
    weighted = [item for item in measured if item.params]
    assert sum(item.params for item in weighted) == output.record.figures["weights"]
    assert len(weighted) == 5
    order = [item.layer for item in most_sensitive_first(measured)]
    assert set(output.record.figures["excluded"].split(", ")) <= set(order[:4])


def test_a_target_that_int8_reaches_leaves_nothing_in_float(apply, case):
    trained, mixed, static = case
    output = apply(mixed, trained, calibration_samples=64, target_sqnr_db=1.0)
    assert output.record.figures["operators_float"] == 0
    assert "the target is met" in output.record.effect
    plain = apply(static, trained, calibration_samples=64).model.path
    assert output.model.path.read_bytes() == plain.read_bytes()


def test_operators_in_float_really_are(apply, cnn):
    output = apply("onnx-mixed-int8", cnn, calibration_samples=64, most_float_macs=1.0)
    graph = onnx.load(str(output.model.path)).graph
    made = {name: node.op_type for node in graph.node for name in node.output}
    excluded = set(output.record.figures["excluded"].split(", "))
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            is_quantized = made.get(node.input[1]) == "DequantizeLinear"
            assert is_quantized == (node.name not in excluded)


def test_tflite_weights_in_float_are_those_of_the_excluded_layers(apply, tflite_cnn):
    output = apply("tflite-mixed-int8", tflite_cnn, calibration_samples=64, most_float_macs=1.0)
    excluded = set(output.record.figures["excluded"].split(", "))
    spared = sum(item.params for item in output.record.sensitivities if item.layer in excluded)
    assert tflite_weights(output.model.path).get("fp32", 0) == spared > 0


def test_the_holdout_is_what_outputs_are_compared_on(apply, cnn):
    constant = cnn.validation.take(np.zeros(16, np.intp))
    found = apply("onnx-mixed-int8", cnn, calibration_samples=64, holdout=constant)
    other = apply("onnx-mixed-int8", cnn, calibration_samples=64)
    assert found.record.figures["sqnr_db_int8"] != other.record.figures["sqnr_db_int8"]
    broken = cnn.validation.take(np.arange(16))
    broken.inputs[ONLY_INPUT][3] = np.inf
    with pytest.raises(PassError, match=r"expected finite samples, found NaN or infinity .* sample 3"):
        apply("onnx-mixed-int8", cnn, holdout=broken)


def test_a_transformer_leaves_what_surrounds_its_products_in_float(apply, transformer):
    output = apply("onnx-mixed-int8", transformer, calibration_samples=64, most_excluded=2)
    figures = output.record.figures
    assert figures["sqnr_db_mixed"] > figures["sqnr_db_int8"] + 2
    kinds = {item.layer for item in output.record.sensitivities if not item.params}
    assert {"every Add", "every LayerNormalization", "all but convolutions and products"} <= kinds


def test_the_same_search_gives_the_same_bytes(apply, case):
    trained, mixed, _ = case
    settings = {"calibration_samples": 32, "comparison_samples": 16, "most_excluded": 1}
    first, second = (apply(mixed, trained, **settings).model.path.read_bytes() for _ in range(2))
    assert first == second


def test_too_few_samples_are_named(apply, case):
    trained, mixed, _ = case
    with pytest.raises(PassError, match=f"{mixed} expected at least 8 samples to calibrate on, found 3"):
        apply(mixed, trained, samples=trained.train.inputs[ONLY_INPUT][:3])


def test_through_a_recipe_the_steps_tell_figures_and_sensitivities_from_the_cache_too(cnn, tmp_path):
    data = tmp_path / "data.npz"
    parts = {"train": cnn.train, "val": cnn.validation.take(np.arange(64))}
    inputs = {f"x_{name}": part.inputs[ONLY_INPUT] for name, part in parts.items()}
    np.savez(data, **inputs, **{f"y_{name}": part.labels for name, part in parts.items()})
    model = import_model(str(cnn.path), "digits", 1, str(data), tmp_path / "model")
    recipe = tmp_path / "mine.yaml"
    passes = "[onnx-prepare, {pass: onnx-mixed-int8, calibration_samples: 32, comparison_samples: 16}]"
    recipe.write_text(f"name: mine\nvariants:\n  - {{name: mixed, passes: {passes}}}\n")
    first = run_recipe(model.parent, str(recipe), tmp_path / "a", cache_dir=tmp_path / "cache").variants[0]
    again = run_recipe(model.parent, str(recipe), tmp_path / "b", cache_dir=tmp_path / "cache").variants[0]
    assert first.steps[-1].sensitivities == again.steps[-1].sensitivities
    assert len(first.steps[-1].sensitivities) >= 5
    assert again.steps[-1].is_cached
    assert again.steps[-1].figures["sqnr_db_mixed"] == first.steps[-1].figures["sqnr_db_mixed"]
    assert again.manifest.artifact == first.manifest.artifact
