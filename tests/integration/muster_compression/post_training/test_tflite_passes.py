"""Passes on TFLite files: size, precision and closeness of what they make, and what they refuse."""

import warnings

import numpy as np
import pytest

from muster_compression.dataset.splits import ONLY_INPUT
from muster_compression.graph.tflite_facts import tflite_facts, tflite_weights
from muster_compression.passes.port import PassError

PASSES = ("tflite-static-int8", "tflite-dynamic-int8", "tflite-int4-weights", "tflite-fp16")
WEIGHTS = 256 * 192 + 192 * 192 + 192 * 10  # of the products


@pytest.fixture(scope="module")
def by_the_librarys_default(tflite_cnn, tmp_path_factory):
    """Static int8 as ai-edge-quantizer does it when nobody says how to calibrate."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    from muster_compression.graph.tflite_signature import with_signature

    folder = tmp_path_factory.mktemp("default")
    signed, key = with_signature(tflite_cnn.path, folder / "signed.tflite")
    argument = next(iter(Interpreter(model_path=str(signed)).get_signature_runner(key).get_input_details()))
    work = quantizer.Quantizer(str(signed), recipe.static_wi8_ai8())
    samples = [{argument: image[None]} for image in tflite_cnn.train.inputs[ONLY_INPUT][:128]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the memory that calibration takes
        ranges = work.calibrate({key: samples}, num_threads=1)
        payload = work.quantize(ranges, enable_progress_report=False).quantized_model
    path = folder / "default.tflite"
    path.write_bytes(bytes(payload))
    return path


def test_static_int8_is_far_closer_than_the_librarys_default_calibration(apply, tflite_cnn, by_the_librarys_default):
    output = apply("tflite-static-int8", tflite_cnn, calibration_samples=128)
    ours, default = tflite_cnn.sqnr_db(output.model.path), tflite_cnn.sqnr_db(by_the_librarys_default)
    assert ours > default + 6
    assert output.model.path.stat().st_size <= by_the_librarys_default.stat().st_size
    assert tflite_cnn.accuracy(output.model.path) > tflite_cnn.accuracy(by_the_librarys_default) - 0.01
    assert tflite_facts(output.model.path).precision == "int8"
    assert output.record.calibration_count == 128
    assert output.record.figures["biases_corrected"] == 5


def test_a_float_stem_leaves_the_convolution_that_reads_the_picture(apply, tflite_cnn):
    whole = apply("tflite-static-int8", tflite_cnn, calibration_samples=128)
    spared = apply("tflite-static-int8", tflite_cnn, calibration_samples=128, stem="float")
    assert "stem_float" not in whole.record.figures
    assert spared.record.figures["stem_float"]
    left = tflite_weights(spared.model.path)
    assert 0 < left["fp32"] < 0.05 * left["int8"]
    assert tflite_cnn.sqnr_db(spared.model.path) > tflite_cnn.sqnr_db(whole.model.path) - 0.3
    assert spared.record.figures["biases_corrected"] == whole.record.figures["biases_corrected"] - 1


def test_biases_take_back_the_mean_error_of_the_weights_at_no_cost(apply, tflite_cnn, tflite_mlp):
    for trained in (tflite_cnn, tflite_mlp):
        raw = apply("tflite-static-int8", trained, calibration_samples=128, bias_correction=False).model.path
        corrected = apply("tflite-static-int8", trained, calibration_samples=128).model.path
        wanted = trained.answers(trained.path).mean(0)
        before, after = (np.abs(trained.answers(path).mean(0) - wanted).mean() for path in (raw, corrected))
        assert after < before
        assert trained.sqnr_db(corrected) > trained.sqnr_db(raw) - 0.2
        assert corrected.stat().st_size <= raw.stat().st_size + 64


def test_a_bias_that_two_layers_share_is_told_apart(tflite_mlp, tmp_path):
    from muster_compression.graph.tflite_bias import BiasShifts
    from muster_compression.graph.tflite_file import load_tflite, packed

    _, model = load_tflite(tflite_mlp.path)
    products = [item for item in model.subgraphs[0].operators if len(item.inputs) == 3]
    products[1].inputs = [*products[1].inputs[:2], products[0].inputs[2]]
    shared = tmp_path / "shared.tflite"
    shared.write_bytes(packed(model))
    shifts = BiasShifts(shared, {"first": np.full(192, 100.0, np.float32)})
    _, made = load_tflite(shifts.applied(tmp_path / "shifted.tflite"))
    biases = [
        np.frombuffer(made.buffers[made.subgraphs[0].tensors[item.inputs[2]].buffer].data.tobytes(), np.float32)
        for item in made.subgraphs[0].operators
        if len(item.inputs) == 3
    ]
    assert np.allclose(biases[0] - biases[1], 100.0, atol=1e-3)
    assert shifts.applied(tmp_path / "spared.tflite", {"first"}).read_bytes() == packed(model)


def test_the_models_are_trained(tflite_cnn, tflite_mlp):
    assert tflite_cnn.accuracy(tflite_cnn.path) > 0.93
    assert tflite_mlp.accuracy(tflite_mlp.path) > 0.93


def test_dynamic_int8_quarters_products_and_convolutions_without_samples(apply, tflite_cnn, tflite_mlp):
    for trained in (tflite_cnn, tflite_mlp):
        output = apply("tflite-dynamic-int8", trained, samples=[])
        weights = tflite_weights(output.model.path)
        assert weights == {"int8": sum(tflite_weights(trained.path).values())}
        assert output.model.path.stat().st_size < 0.45 * trained.path.stat().st_size
        assert trained.sqnr_db(output.model.path) > 25
        assert trained.accuracy(output.model.path) > trained.accuracy(trained.path) - 0.01
        before, after = tflite_facts(trained.path), tflite_facts(output.model.path)
        assert (before.params, before.macs) == (after.params, after.macs)


def test_convolutions_can_stay_float_but_then_a_cnn_is_refused(apply, tflite_cnn):
    with pytest.raises(PassError, match=r"at least 50% of the weights .* are fp32; take tflite-static-int8 for CNNs"):
        apply("tflite-dynamic-int8", tflite_cnn, convolutions="float")
    output = apply("tflite-dynamic-int8", tflite_cnn, convolutions="float", least_share=0.1)
    assert tflite_weights(output.model.path) == {"int8": 2560, "fp32": 16 * 9 * 2 + 512 + 16 * 9 * 32}


def test_int4_weights_take_an_eighth_of_the_products(apply, tflite_mlp):
    output = apply("tflite-int4-weights", tflite_mlp, samples=[])
    assert output.record.figures == {"weights_int4": WEIGHTS, "weights": WEIGHTS}
    assert output.model.path.stat().st_size < 0.18 * tflite_mlp.path.stat().st_size
    assert tflite_facts(output.model.path).precision == "int4"
    assert tflite_mlp.sqnr_db(output.model.path) > 8
    assert tflite_mlp.accuracy(output.model.path) > tflite_mlp.accuracy(tflite_mlp.path) - 0.05


def test_int4_refuses_a_cnn_unless_its_convolutions_are_meant(apply, tflite_cnn):
    with pytest.raises(PassError, match=r"are int8; take tflite-static-int8 for CNNs, or convolutions: int4 for size"):
        apply("tflite-int4-weights", tflite_cnn)
    output = apply("tflite-int4-weights", tflite_cnn, convolutions="int4")
    weights = tflite_weights(output.model.path)
    assert weights["int8"] == 16 * 9  # the depthwise ones: the library has no 4-bit form of them
    assert weights["int4"] == 2560 + 16 * 9 + 512 + 16 * 9 * 32


def test_float16_halves_the_file_and_keeps_the_answers(apply, tflite_cnn):
    output = apply("tflite-fp16", tflite_cnn, samples=[])
    assert tflite_facts(output.model.path).precision == "fp16"
    assert output.model.path.stat().st_size < 0.62 * tflite_cnn.path.stat().st_size
    assert tflite_cnn.sqnr_db(output.model.path) > 45
    assert tflite_cnn.accuracy(output.model.path) == pytest.approx(tflite_cnn.accuracy(tflite_cnn.path), abs=0.003)


@pytest.mark.parametrize("name", PASSES)
def test_what_is_not_float_any_more_is_refused_by_every_pass(apply, tflite_cnn, name):
    made = apply("tflite-dynamic-int8", tflite_cnn).model
    with pytest.raises(PassError, match=f"{name} expected a float32 model, found int8"):
        apply(name, tflite_cnn, made)


def test_samples_that_are_missing_or_not_finite_are_named(apply, tflite_cnn):
    with pytest.raises(PassError, match="expected at least 8 samples to calibrate on, found 0; add x_train"):
        apply("tflite-static-int8", tflite_cnn, samples=[])
    broken = tflite_cnn.train.inputs[ONLY_INPUT][:32].copy()
    broken[5, 3, 3, 0] = np.nan
    with pytest.raises(
        PassError, match=r"expected finite samples, found NaN or infinity in 'image', sample 5 \(1 of 32"
    ):
        apply("tflite-static-int8", tflite_cnn, samples=broken)


@pytest.mark.parametrize("name", PASSES)
def test_the_same_pass_gives_the_same_bytes(apply, tflite_cnn, name):
    settings = {"convolutions": "int4"} if name == "tflite-int4-weights" else {}
    first, second = (apply(name, tflite_cnn, **settings).model.path.read_bytes() for _ in range(2))
    assert first == second
