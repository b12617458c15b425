"""``prune-structured`` on networks trained on the digits: what went is gone from the files that are exported."""

from __future__ import annotations

import math

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from muster_compression.graph.onnx_facts import onnx_facts
from muster_compression.passes.port import PassError
from muster_compression.passes.prune_structured import SETTINGS, apply
from muster_compression.passes.registry import find_pass
from muster_compression.pruning.attention import SelfAttention
from muster_compression.torch_model import load_module

FIT = {"epochs": 2, "batch_size": 16, "learning_rate": 0.005}


def prune(model, context, **settings):
    return apply(model, SETTINGS.model_validate(settings), context)


def exported(model, context):
    export = find_pass("export-onnx")
    return export.function(model, export.settings(), context).model.path


def test_half_of_the_channels_leave_and_the_exported_file_is_smaller(networks, trained, context):
    parent = trained(networks["ResidualNet"], 8)
    output = prune(parent, context(), ratio=0.5, steps=2, fit=FIT)
    figures, module = output.record.figures, load_module(output.model)
    assert (figures["channels_before"], figures["channels_after"]) == (48, 24)
    assert figures["params_after"] == sum(parameter.numel() for parameter in module.parameters())
    before = {name: part for name, part in load_module(parent).named_modules() if isinstance(part, nn.Conv2d)}
    after = {name: part for name, part in module.named_modules() if isinstance(part, nn.Conv2d)}
    narrower = [
        f"{name} {layer.out_channels}>{after[name].out_channels}"
        for name, layer in before.items()
        if after[name].out_channels < layer.out_channels
    ]
    assert figures["layers"] == "; ".join(narrower)
    assert module.head.out_features == 10
    assert all(figures[name] > 0.85 for name in ("accuracy", "accuracy_control", "accuracy_parent"))

    whole, pruned = (exported(model, context(name)) for model, name in ((parent, "whole"), (output.model, "pruned")))
    was, found = onnx_facts(whole), onnx_facts(pruned)
    assert (was.macs, found.macs) == (figures["macs_before"], figures["macs_after"])
    assert found.macs < 0.5 * was.macs
    assert found.params < 0.4 * was.params
    image = np.random.default_rng(0).standard_normal((1, 1, 8, 8)).astype(np.float32)
    (answer,) = onnxruntime.InferenceSession(str(pruned)).run(None, {"image": image})
    np.testing.assert_allclose(answer, module(torch.from_numpy(image)).detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("layers", ["sensitivity", "importance", "uniform"])
@pytest.mark.parametrize(("target", "share"), [("macs", 0.4), ("params", 0.3)])
def test_a_target_is_met_within_its_tolerance(networks, trained, context, layers, target, share):
    parent = trained(networks["ResidualNet"], 8)
    output = prune(parent, context(), **{target: share}, layers=layers, tolerance=0.04, steps=1)
    figures = output.record.figures
    assert math.isclose(figures[f"{target}_after"] / figures[f"{target}_before"], share, abs_tol=0.04)


def test_a_target_out_of_reach_says_what_can_be_reached(networks, trained, context):
    with pytest.raises(PassError, match=r"multiplications left of 0\.01 within 0\.005, the nearest .* is 0\.\d+"):
        prune(trained(networks["ResidualNet"], 8), context(), macs=0.01, tolerance=0.005, steps=1)


@pytest.mark.parametrize("kind", ["Packed", "Torchs"])
def test_heads_really_leave_the_exported_file(networks, attentions, untrained, context, kind):
    parent = untrained(networks["Transformer"], attentions[kind])
    output = prune(parent, context(), ratio=0, heads=0.5, steps=1)
    figures, module = output.record.figures, load_module(output.model)
    parts = [part for part in module.modules() if isinstance(part, SelfAttention)]
    assert [(part.num_heads, part.head_dim, part.qkv.out_features) for part in parts] == [(2, 8, 48)] * 2
    assert (figures["heads_before"], figures["heads_after"]) == (8, 4)
    assert figures["channels_after"] == figures["channels_before"]
    assert figures["layers"].count("4>2 heads") == 2
    tokens, width, inner = 17, 32, 32
    saved = 2 * (tokens * (3 * width + width) * inner // 2 + 2 * tokens * tokens * inner // 2)
    assert figures["macs_before"] - figures["macs_after"] == saved
    assert onnx_facts(exported(output.model, context("pruned"))).macs == figures["macs_after"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_pruned_transformer_becomes_a_smaller_tflite_file_with_the_same_answers(networks, untrained, context):
    pytest.importorskip("litert_torch")
    parent = untrained(networks["Transformer"])
    output = prune(parent, context(), ratio=0.5, steps=1)
    export = find_pass("export-tflite")
    files = [
        export.function(model, export.settings(), context(name)).model.path
        for model, name in ((parent, "whole"), (output.model, "pruned"))
    ]
    assert files[1].stat().st_size < 0.6 * files[0].stat().st_size
    image = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    interpreter = pytest.importorskip("ai_edge_litert.interpreter").Interpreter(model_path=str(files[1]))
    interpreter.allocate_tensors()
    given, answer = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    interpreter.set_tensor(given["index"], image.numpy().reshape(given["shape"]))
    interpreter.invoke()
    wanted = load_module(output.model)(image).detach().numpy()
    np.testing.assert_allclose(interpreter.get_tensor(answer["index"]), wanted, atol=1e-3)


def test_channels_and_heads_leave_a_transformer_together(networks, untrained, context):
    output = prune(untrained(networks["Transformer"]), context(), macs=0.4, steps=2, fit={"epochs": 1}, control=False)
    module = load_module(output.model)
    assert output.record.figures["heads_after"] < 8
    assert module.patch.out_channels < 32
    assert module.position.shape[-1] == module.token.shape[-1] == module.norm.normalized_shape[0]


def test_what_cannot_lose_anything_fails_in_one_line(networks, trained, untrained, context):
    with pytest.raises(PassError, match=r"removed nothing of 0 groups of channels: conv stays whole: its forward br"):
        prune(untrained(networks["HardCoded"]), context(), ratio=0.5, steps=1)
    with pytest.raises(PassError, match="removed no heads: the model has no attention that was recognised"):
        prune(trained(networks["ResidualNet"], 8), context(), ratio=0, heads=0.5)
    with pytest.raises(PassError, match=r"removed no heads: blocks\.0\.attention looks like attention but computes"):
        prune(untrained(networks["Transformer"], networks["Cosine"]), context(), ratio=0, heads=0.5)
    with pytest.raises(PassError, match="removed nothing of 4 groups"):
        prune(trained(networks["ResidualNet"], 8), context(), ratio=0.01, layers="uniform", steps=1)
    assert not list(context().folder.glob("*.torch"))


def test_attention_that_is_not_understood_is_reported_and_the_rest_is_pruned(networks, untrained, context):
    output = prune(untrained(networks["Transformer"], networks["Cosine"]), context(), ratio=0.5, steps=1)
    assert "blocks.1.attention: attention of another kind" in output.record.figures["kept_whole"]
    assert output.record.figures["channels_after"] < output.record.figures["channels_before"]


def test_named_layers_stay_and_misspelt_ones_are_refused(networks, trained, context):
    parent = trained(networks["ResidualNet"], 8)
    output = prune(parent, context(), ratio=0.4, keep=("fine.first",), steps=1, layers="uniform")
    assert load_module(output.model).fine.first.out_channels == 8
    assert "fine.first" not in output.record.figures["layers"]
    with pytest.raises(PassError, match=r"no layer is named 'fine\.frist'; near it are fine\.first"):
        prune(parent, context(), ratio=0.4, keep=("fine.frist",))


def test_the_most_sensitive_layers_stay_whole(networks, trained, context):
    output = prune(
        trained(networks["ResidualNet"], 8), context(), ratio=0.3, layers="sensitivity", protect_share=0.3, steps=1
    )
    (protected,) = output.record.figures["protected"].split(", ")
    assert f"{protected} " not in output.record.figures["layers"]
    assert len(output.record.sensitivities) == 4
    assert protected in {layer.layer for layer in output.record.sensitivities}


def test_widths_are_rounded_to_the_nearest_multiple_and_no_further(networks, trained, context):
    output = prune(trained(networks["ResidualNet"], 8), context(), ratio=0.3, round_to=4, steps=1, tolerance=0.2)
    module = load_module(output.model)
    widths = [part.out_channels for part in module.modules() if isinstance(part, nn.Conv2d)]
    assert all(width % 4 == 0 for width in widths)
    assert output.record.figures["channels_after"] / 48 >= 0.5


@pytest.mark.parametrize("importance", ["l2", "bn-scale"])
def test_importance_needs_no_training_samples_unless_it_is_taylor(networks, trained, context, importance):
    bare = context(training=None, checkpoints=None)
    parent = trained(networks["ResidualNet"], 8)
    assert prune(parent, bare, ratio=0.5, importance=importance, steps=1).record.figures["channels_after"] == 24
    with pytest.raises(PassError, match="expected labelled training samples, found none; add x_train and y_train"):
        prune(parent, bare, ratio=0.5, importance="taylor")
    with pytest.raises(PassError, match="expected labelled training samples"):
        prune(parent, bare, ratio=0.5, importance=importance, fit=FIT)


def test_batch_norm_scales_need_batch_norms(networks, untrained, context):
    with pytest.raises(PassError, match="bn-scale expected batch norms, found none"):
        prune(untrained(networks["Transformer"]), context(), ratio=0.5, importance="bn-scale")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(networks, trained, context):
    parent = trained(networks["ResidualNet"], 8)
    settings = {"ratio": 0.5, "steps": 2, "fit": {"epochs": 1}, "control": False, "teacher": "parent"}
    one, two = (prune(parent, context(name), **settings).model.path.read_bytes() for name in ("one", "two"))
    assert one == two
    assert one != prune(parent, context("three", seed=5), **settings).model.path.read_bytes()


def test_a_killed_pass_goes_on_where_it_was(networks, trained, context):
    parent = trained(networks["ResidualNet"], 8)
    settings = {"ratio": 0.5, "steps": 2, "fit": FIT, "importance": "taylor", "control": False}
    wanted = prune(parent, context("whole"), **settings).model.path.read_bytes()

    class Killed(BaseException):
        pass

    def kill(ratio, note):
        if "prune-structured-2: epoch 2" in note:
            raise Killed

    with pytest.raises(Killed):
        prune(parent, context("killed", on_progress=kill), **settings)
    notes = []
    again = context("killed", on_progress=lambda ratio, note: notes.append(note))
    assert prune(parent, again, **settings).model.path.read_bytes() == wanted
    trained_again = {note.split(",")[0] for note in notes if "epoch" in note}
    assert trained_again == {"prune-structured-2: epoch 2 of 2"}


def test_a_training_that_diverges_leaves_nothing(networks, trained, context, splits):
    parent, train = trained(networks["ResidualNet"], 8), splits[0]
    with pytest.raises(PassError, match="diverged"):
        prune(parent, context(), ratio=0.5, importance="l2", fit={"epochs": 2, "learning_rate": 10, "optimizer": "sgd"})
    broken = type(train)({"image": np.full_like(train.inputs["image"], np.nan)}, train.labels)
    with pytest.raises(PassError):
        prune(parent, context(training=broken), ratio=0.5, fit=FIT)
    assert not list(context().folder.glob("*.torch"))


def test_progress_rises_from_beginning_to_end(networks, trained, context):
    ratios = []
    reporting = context(on_progress=lambda ratio, note: ratios.append(ratio))
    prune(trained(networks["ResidualNet"], 8), reporting, ratio=0.5, layers="sensitivity", steps=2, fit={"epochs": 1})
    assert ratios == sorted(ratios)
    assert 0 <= ratios[0] < 0.1
    assert 0.99 < ratios[-1] <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratio": 0.5, "macs": 0.5}, "expected one of ratio, macs and params, found ratio and macs"),
        ({"ratio": 0}, "expected heads above 0 with a ratio of 0"),
        ({"teacher": "parent"}, "expected fit with teacher: parent"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SETTINGS.model_validate(settings)
