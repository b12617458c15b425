"""8-bit weights that are unpacked at load: size, closeness, what stays, and what the runtime makes of the files."""

from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from muster_bench.runtimes import session_onnxruntime
from muster_compression.graph.onnx_facts import onnx_facts
from muster_compression.graph.tflite_facts import tflite_facts, tflite_weights
from muster_compression.import_model import import_model
from muster_compression.passes.port import Form, PassError, WorkingModel
from muster_compression.run_recipe import run_recipe

SMALL = 2 * 16 * 9  # weights of the CNN's first two convolutions, of 144 values each
X = np.random.default_rng(5).normal(0, 1, (3, 24)).astype(np.float32)


@pytest.fixture
def optimized(monkeypatch, tmp_path):
    """What ONNX Runtime executes when Muster loads a file: operators by kind."""
    plain = session_onnxruntime._options
    path = tmp_path / "optimized.onnx"

    def saving(ort, threads):
        options = plain(ort, threads)
        options.optimized_model_filepath = str(path)
        return options

    monkeypatch.setattr(session_onnxruntime, "_options", saving)

    def kinds(source) -> Counter[str]:
        session_onnxruntime.OnnxSession(source, "cpu", 1).close()
        return Counter(node.op_type for node in onnx.load(str(path)).graph.node)

    return kinds


def saved(tmp_path, nodes, weights, inner_outputs=(), name="made") -> WorkingModel:
    """A graph of X (3, 24) whose outputs are ``y`` and those named."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info(item, TensorProto.FLOAT, None) for item in ("y", *inner_outputs)],
        [numpy_helper.from_array(values, key) for key, values in weights.items()],
    )
    path = tmp_path / f"{name}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))
    return WorkingModel(path, Form.ONNX)


def weight(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def uneven(*shape) -> np.ndarray:
    """Values whose rows differ a hundredfold."""
    spread = np.exp(np.linspace(0, np.log(100), shape[0])).astype(np.float32)
    return weight(*shape) * spread.reshape(-1, *[1] * (len(shape) - 1))


def constants(path) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(str(path)).graph.initializer}


def answers_alike(trained, path) -> bool:
    """The same classes, but for samples between two of them: their scores were within 2 % of all scores' range."""
    wanted = trained.answers(trained.path)
    changed = trained.answers(path).argmax(1) != wanted.argmax(1)
    best = np.sort(wanted[changed], axis=1)
    return changed.mean() < 0.01 and bool((best[:, -1] - best[:, -2] < 0.02 * np.ptp(wanted)).all())


def ran(path) -> list[np.ndarray]:
    session = session_onnxruntime.OnnxSession(path, "cpu", 1)
    return list(session.run({"x": X}).values())


def test_a_cnn_takes_a_quarter_and_answers_as_before(apply, cnn):
    output = apply("onnx-int8-weights", cnn, samples=[])
    before, after = onnx_facts(cnn.path), onnx_facts(output.model.path)
    assert output.model.path.stat().st_size < 0.32 * cnn.path.stat().st_size  # two small convolutions stay
    assert cnn.sqnr_db(output.model.path) > 35
    assert answers_alike(cnn, output.model.path)
    assert after.precision == "int8"
    assert (after.params, after.macs) == (before.params, before.macs)
    assert after.operators["DequantizeLinear"] == 3
    assert not {"QuantizeLinear", "QLinearConv", "ConvInteger"} & set(after.operators)
    total = sum(values.size for values in constants(cnn.path).values() if values.ndim > 1)
    assert output.record.figures == {
        "weights_int8": total - SMALL,
        "weights": total,
        "operators_int8": 3,
        "operators": 5,
    }
    onnx.checker.check_model(onnx.load(str(output.model.path)), full_check=True)


def test_the_weights_in_the_file_are_int8_with_a_scale_per_channel(apply, cnn):
    values, made = constants(cnn.path), constants(apply("onnx-int8-weights", cnn).model.path)
    for name, axis in (("pointwise", 1), ("coarse", 0), ("head", 0)):  # inputs of two differ a hundredfold
        stored, scale = made[f"{name}_int8"], made[f"{name}_scale"]
        assert stored.dtype == np.int8
        assert scale.shape == (values[name].shape[axis],)
        assert np.abs(stored).max() == 127
        shape = [-1 if index == axis else 1 for index in range(stored.ndim)]
        assert (np.abs(stored * scale.reshape(shape) - values[name]) <= 0.5001 * scale.reshape(shape)).all()
        assert name not in made
    assert made["stem"].dtype == np.float32
    assert "stem_int8" in constants(apply("onnx-int8-weights", cnn, min_weights=100).model.path)


def test_a_transformer_keeps_its_answers_far_better_than_by_int4(apply, transformer):
    output = apply("onnx-int8-weights", transformer)
    assert output.record.figures["weights_int8"] == output.record.figures["weights"]
    assert output.model.path.stat().st_size < 0.36 * transformer.path.stat().st_size
    assert transformer.sqnr_db(output.model.path) > 35
    assert transformer.accuracy(output.model.path) == pytest.approx(transformer.accuracy(transformer.path), abs=0.003)


def test_nothing_is_unpacked_while_the_model_runs(apply, optimized, cnn):
    kinds = optimized(apply("onnx-int8-weights", cnn, min_weights=1).model.path)
    assert kinds == optimized(cnn.path)
    assert "DequantizeLinear" not in kinds


def test_static_int8_is_still_fused_into_integer_kernels(apply, optimized, cnn):
    prepared = apply("onnx-prepare", cnn).model
    made = apply("onnx-static-int8", cnn, prepared, target="x86").model.path
    kinds = optimized(made)
    assert kinds["QLinearConv"] == 4
    assert not {"Conv", "FusedConv"} & set(kinds)


def test_a_plain_runtime_gives_the_same_answers(apply, cnn):
    import onnxruntime

    made = apply("onnx-int8-weights", cnn).model.path
    plain = onnxruntime.InferenceSession(str(made), providers=["CPUExecutionProvider"])
    image = cnn.validation.inputs[""][:1]
    assert np.allclose(plain.run(None, {"image": image})[0], cnn.answers(made)[:1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("node", "shape", "axis"),
    [
        (helper.make_node("Gemm", ["x", "w"], ["y"], name="n"), (24, 16), 1),
        (helper.make_node("Gemm", ["x", "w"], ["y"], name="n", transB=1), (16, 24), 0),
        (helper.make_node("Gemm", ["w", "x"], ["y"], name="n", transB=1), (16, 24), 0),
        (helper.make_node("Gemm", ["w", "x"], ["y"], name="n", transA=1, transB=1), (24, 16), 1),
        (helper.make_node("MatMul", ["x", "w"], ["y"], name="n"), (24, 16), 1),
        (helper.make_node("MatMul", ["x", "w"], ["y"], name="n"), (2, 24, 16), 2),
        (helper.make_node("MatMul", ["w", "x"], ["y"], name="n"), (90, 3), 0),
    ],
)
def test_scales_go_with_what_becomes_the_outputs_channels(apply, cnn, tmp_path, node, shape, axis):
    model = saved(tmp_path, [node], {"w": weight(*shape)})
    made = apply("onnx-int8-weights", cnn, model).model.path
    found = constants(made)
    assert found["w_scale"].shape == (shape[axis],)
    (wanted,), (got,) = ran(model.path), ran(made)
    assert 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()) > 35


def test_a_convolutional_network_of_some_width_takes_a_quarter(apply, cnn, tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["a0"], name="turn")]
    values = {"shape": np.array([1, 2, 6, 6], np.int64)}
    for index, inputs in enumerate((2, 48, 48)):
        values[f"w{index}"] = np.random.default_rng(index).normal(0, 0.1, (48, inputs, 3, 3)).astype(np.float32)
        nodes.append(
            helper.make_node(
                "Conv", [f"a{index}", f"w{index}"], ["y" if index == 2 else f"a{index + 1}"], name=f"n{index}"
            )
        )
    model = saved(tmp_path, nodes, values)
    made = apply("onnx-int8-weights", cnn, model).model.path
    assert made.stat().st_size < 0.27 * model.path.stat().st_size


def test_rows_or_columns_that_differ_a_hundredfold_have_the_scales(apply, cnn, tmp_path):
    for axis, values in enumerate((uneven(24, 40), np.ascontiguousarray(uneven(40, 24).T))):
        node = helper.make_node("MatMul", ["x", "w"], ["y"], name="n")
        made = constants(apply("onnx-int8-weights", cnn, saved(tmp_path, [node], {"w": values})).model.path)
        scale = np.expand_dims(made["w_scale"], 1 - axis)
        errors = np.square(made["w_int8"] * scale - values).sum(1 - axis) / np.square(values).sum(1 - axis)
        assert errors.shape == (values.shape[axis],)
        assert errors.max() < 1e-4


@pytest.mark.parametrize(("group", "axis"), [(1, 1), (2, 0)])
def test_a_transposed_convolution_has_its_output_channels_second(apply, cnn, tmp_path, group, axis):
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["image"], name="turn"),
        helper.make_node("ConvTranspose", ["image", "w"], ["y"], name="up", group=group),
    ]
    model = saved(tmp_path, nodes, {"shape": np.array([1, 6, 3, 4], np.int64), "w": weight(6, 8, 3, 3)})
    made = apply("onnx-int8-weights", cnn, model).model.path
    assert constants(made)["w_scale"].shape == ((6, 8)[axis],)
    assert np.allclose(ran(made)[0], ran(model.path)[0], atol=0.02 * np.abs(ran(model.path)[0]).max())


def test_a_table_has_a_scale_per_row(apply, cnn, tmp_path):
    nodes = [
        helper.make_node("Gather", ["table", "rows"], ["found"], name="look_up"),
        helper.make_node("Add", ["x", "found"], ["y"], name="add"),
    ]
    table = uneven(50, 24)
    model = saved(tmp_path, nodes, {"table": table, "rows": np.array([49, 0, 7], np.int64)})
    made = apply("onnx-int8-weights", cnn, model).model.path
    assert constants(made)["table_scale"].shape == (50,)
    assert np.abs(ran(made)[0] - ran(model.path)[0]).max(axis=1)[1] < 0.5001 * np.abs(table[0]).max() / 127


def test_a_weight_that_two_operators_read_is_packed_once(apply, cnn, tmp_path):
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["a"], name="there"),
        helper.make_node("Gemm", ["a", "w"], ["y"], name="back", transB=1),
    ]
    model = saved(tmp_path, nodes, {"w": weight(24, 20)})
    made = apply("onnx-int8-weights", cnn, model)
    assert set(constants(made.model.path)) == {"w_int8", "w_scale"}
    assert onnx_facts(made.model.path).operators == {"DequantizeLinear": 1, "Gemm": 2}
    (wanted,), (got,) = ran(model.path), ran(made.model.path)
    assert 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()) > 35


def test_a_weight_that_is_something_else_besides_stays(apply, cnn, tmp_path):
    branch = helper.make_graph(
        [helper.make_node("Identity", ["inner"], ["chosen"])],
        "b",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
    )
    names = ("plain", "addend", "output", "inner", "broken", "kept")
    values = {name: weight(24, 24, seed=index) for index, name in enumerate(names)}
    values["broken"][0, 0] = np.inf
    values |= {"square": weight(24, 24, seed=9), "yes": np.array(True)}
    steps = ("x", "a", "b", "c", "d", "e", "y")
    nodes = [
        helper.make_node("MatMul", [start, name], [end], name=f"{name}_product")
        for name, start, end in zip(names, steps, steps[1:], strict=False)
    ]
    nodes.append(helper.make_node("Add", ["square", "addend"], ["sum"], name="sum"))
    nodes.append(helper.make_node("If", ["yes"], ["picked"], name="pick", then_branch=branch, else_branch=branch))
    model = saved(tmp_path, nodes, values, ("sum", "picked", "output"))
    made = apply("onnx-int8-weights", cnn, model, keep_float=("kept_product",))
    stored = {name for name, found in constants(made.model.path).items() if found.dtype == np.int8}
    assert stored == {"plain_int8"}


def test_names_that_are_taken_are_left_alone(apply, cnn, tmp_path):
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["w_scale"], name="w_unpacked"),
        helper.make_node("MatMul", ["w_scale", "w_int8"], ["y"], name="second"),
    ]
    model = saved(tmp_path, nodes, {"w": weight(24, 24), "w_int8": weight(24, 24, seed=1)})
    made = apply("onnx-int8-weights", cnn, model).model.path
    (wanted,), (got,) = ran(model.path), ran(made)
    assert 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()) > 35


def test_nothing_to_pack_is_a_failure_that_names_the_limit(apply, cnn, tmp_path):
    model = saved(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="n")], {"w": weight(24, 5)})
    with pytest.raises(PassError, match=r"changed nothing: none of 1 operators .* of 256 values or more \(min_weights"):
        apply("onnx-int8-weights", cnn, model)
    with pytest.raises(PassError, match="no operator is named 'm'; near it are n"):
        apply("onnx-int8-weights", cnn, model, keep_float=("m",))


def test_a_channel_of_zeros_and_one_of_tiny_values_stay_what_they_are(apply, cnn, tmp_path):
    values = weight(24, 16)
    values[:, 0], values[:, 1] = 0, 1e-44
    model = saved(tmp_path, [helper.make_node("MatMul", ["x", "w"], ["y"], name="n")], {"w": values})
    (got,) = ran(apply("onnx-int8-weights", cnn, model).model.path)
    assert np.isfinite(got).all()
    assert not got[:, 0].any()
    assert np.abs(got[:, 1]).max() < 1e-40


def test_what_is_packed_already_is_refused(apply, cnn):
    made = apply("onnx-int8-weights", cnn).model
    for name in ("onnx-int8-weights", "onnx-static-int8"):
        with pytest.raises(PassError, match=rf"{name} expected a float model, .* already \(DequantizeLinear\)"):
            apply(name, cnn, made)


def test_a_tflite_cnn_takes_a_quarter_and_answers_as_before(apply, tflite_cnn, tflite_mlp):
    for trained, share in ((tflite_cnn, 0.45), (tflite_mlp, 0.28)):  # the CNN's file is a third graph
        output = apply("tflite-int8-weights", trained, samples=[])
        path = output.model.path
        assert path.stat().st_size < share * trained.path.stat().st_size
        assert trained.sqnr_db(path) > 35
        assert answers_alike(trained, path)
        before, after = tflite_facts(trained.path), tflite_facts(path)
        assert after.precision == "int8"
        assert (before.params, before.macs) == (after.params, after.macs)
        assert tflite_weights(path) == {"int8": sum(tflite_weights(trained.path).values())}


def test_tflite_products_are_closer_than_with_rounded_activations(apply, tflite_mlp):
    weights, dynamic = (apply(f"tflite-{name}", tflite_mlp).model.path for name in ("int8-weights", "dynamic-int8"))
    assert tflite_mlp.sqnr_db(weights) > tflite_mlp.sqnr_db(dynamic) + 1
    assert "DEQUANTIZE" in tflite_facts(weights).operators
    assert "DEQUANTIZE" not in tflite_facts(dynamic).operators


def test_tflite_refuses_what_is_packed_already(apply, tflite_cnn):
    made = apply("tflite-int8-weights", tflite_cnn).model
    with pytest.raises(PassError, match="tflite-int8-weights expected a float32 model, found int8"):
        apply("tflite-int8-weights", tflite_cnn, made)


def test_the_same_pass_gives_the_same_bytes(apply, cnn, tflite_cnn):
    for name, trained in (("onnx-int8-weights", cnn), ("tflite-int8-weights", tflite_cnn)):
        first, second = (apply(name, trained).model.path.read_bytes() for _ in range(2))
        assert first == second


def test_in_a_recipe_it_is_judged_and_comes_from_the_cache_the_second_time(model_path, data_path, tmp_path):
    model = import_model(str(model_path), "kws", 1, str(data_path), tmp_path / "in")
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "name: small\nvariants:\n  - name: w8\n    passes: [{pass: onnx-int8-weights, min_weights: 64}]\n"
    )
    first, again = (
        run_recipe(model.parent, str(recipe), tmp_path / name, cache_dir=tmp_path / "cache").variants[0]
        for name in ("first", "again")
    )
    manifest = first.manifest
    assert first.is_kept
    assert (manifest.precision, manifest.accuracy.agreement) == ("int8", 1.0)
    assert manifest.sqnr_db > 35
    assert (manifest.params, manifest.macs) == (model.manifest.params, model.manifest.macs)
    assert [step.is_cached for step in (*first.steps, *again.steps)] == [False, True]
    assert again.manifest.artifact == manifest.artifact
