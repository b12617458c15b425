"""``prune-magnitude``: the sparsity that was asked for, to the weight, read from the file; smaller only in transit."""

from __future__ import annotations

import pytest
import torch
import zstandard
from torch import nn

from muster_compression.graph.onnx_facts import onnx_facts
from muster_compression.passes.port import PassError
from muster_compression.passes.prune_magnitude import SETTINGS, apply
from muster_compression.passes.registry import find_pass
from muster_compression.pruning.masks import smallest_masked, sparsity_of, target_at, weights_of
from muster_compression.torch_model import load_module

FIT = {"epochs": 2, "batch_size": 16, "learning_rate": 0.005}


def prune(model, context, **settings):
    return apply(model, SETTINGS.model_validate(settings), context)


def exported(model, context):
    export = find_pass("export-onnx")
    return export.function(model, export.settings(), context).model.path


def weights(module):
    return {n: m.weight.detach() for n, m in module.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}


def test_the_schedule_is_cubic():
    """Zhu and Gupta 2017: most goes early, while there is much to lose."""
    assert [round(target_at(step, 4, 0.8), 4) for step in (1, 2, 3, 4)] == [0.4625, 0.7, 0.7875, 0.8]


@pytest.mark.parametrize("sparsity", [0.5, 0.9])
def test_the_sparsity_is_exactly_what_was_asked_for_after_training(networks, trained, context, sparsity):
    output = prune(trained(networks["ResidualNet"], 8), context(), sparsity=sparsity, steps=2, fit=FIT)
    found = weights(load_module(output.model))
    zeros, total = sum(int((w == 0).sum()) for w in found.values()), sum(w.numel() for w in found.values())
    assert zeros == round(sparsity * total)
    figures = output.record.figures
    assert (figures["zeros"], figures["weights"]) == (zeros, total)
    assert figures["sparsity"] == pytest.approx(sparsity, abs=1e-3)
    assert figures["accuracy"] > (0.85 if sparsity == 0.5 else 0.5)
    assert figures["accuracy_control"] > 0.85


def test_the_largest_weights_of_the_whole_network_stay_as_they_are(networks, trained, context):
    parent = trained(networks["ResidualNet"], 8)
    before, module = weights(load_module(parent)), load_module(prune(parent, context(), sparsity=0.6).model)
    after = weights(module)
    gone = torch.cat([before[name][after[name] == 0].abs() for name in before])
    kept = torch.cat([before[name][after[name] != 0].abs() for name in before])
    assert gone.max() <= kept.min()
    assert all(torch.equal(before[name][after[name] != 0], after[name][after[name] != 0]) for name in before)
    others = set(module.state_dict()) - {f"{name}.weight" for name in after}
    parents = load_module(parent).state_dict()
    assert all(torch.equal(parents[name], module.state_dict()[name]) for name in others)
    assert len({round(float((w == 0).float().mean()), 2) for w in after.values()}) > 2


def test_zeros_pay_in_transit_only(networks, trained, context):
    parent = trained(networks["ResidualNet"], 8)
    sparse = prune(parent, context(), sparsity=0.8)
    whole, pruned = (exported(model, context(name)) for model, name in ((parent, "dense"), (sparse.model, "sparse")))
    packed = [len(zstandard.ZstdCompressor(19).compress(path.read_bytes())) for path in (whole, pruned)]
    assert packed[1] < 0.5 * packed[0]
    was, found = onnx_facts(whole), onnx_facts(pruned)
    assert (found.macs, found.params) == (was.macs, was.params)
    assert found.sparsity > 0.75


def test_no_zero_is_a_minus_zero(networks, trained, context):
    module = load_module(prune(trained(networks["ResidualNet"], 8), context(), sparsity=0.5).model)
    assert not any(bool(torch.signbit(w[w == 0]).any()) for w in weights(module).values())


def test_layers_kept_by_name_stay_dense_and_do_not_count(networks, trained, context):
    output = prune(trained(networks["ResidualNet"], 8), context(), sparsity=0.7, keep=("stem", "head"))
    found = weights(load_module(output.model))
    assert not (found["stem"] == 0).any()
    assert not (found["head"] == 0).any()
    rest = [weight for name, weight in found.items() if name not in ("stem", "head")]
    total = sum(weight.numel() for weight in rest)
    assert sum(int((weight == 0).sum()) for weight in rest) == round(0.7 * total)
    with pytest.raises(PassError, match="no layer is named 'steam'; near it are stem"):
        prune(trained(networks["ResidualNet"], 8), context(), sparsity=0.7, keep=("steam",))


def test_torchs_own_attention_is_pruned_too(networks, attentions, build):
    found = weights_of(build(networks["Transformer"], attentions["Torchs"]), ())
    assert {"blocks.0.attention.inner", "blocks.0.attention.inner.out_proj", "patch", "head"} <= set(found)
    masks = smallest_masked(found, 0.4)
    assert sum(int((~mask).sum()) for mask in masks.values()) == round(0.4 * sparsity_of(found).weights)


def test_equal_weights_leave_by_their_place():
    masks = smallest_masked({"a": torch.ones(4), "b": torch.ones(4)}, 0.5 - 1 / 8)
    assert masks["a"].tolist() == [False, False, False, True]
    assert masks["b"].all()


def test_a_layer_that_would_lose_everything_is_named():
    with pytest.raises(PassError, match="small would lose all of its 3 weights; name it in keep"):
        smallest_masked({"large": torch.ones(9), "small": torch.full((3,), 0.1)}, 0.5)


def test_a_model_that_is_sparse_already_is_refused(networks, trained, context):
    sparse = prune(trained(networks["ResidualNet"], 8), context("first"), sparsity=0.6).model
    with pytest.raises(PassError, match=r"60\.0 % of its weights are zero already, asked for are 50\.0 %"):
        prune(sparse, context("second"), sparsity=0.5)


def test_no_training_samples_and_divergence_leave_nothing(networks, trained, context):
    parent = trained(networks["ResidualNet"], 8)
    with pytest.raises(PassError, match="expected labelled training samples, found none"):
        prune(parent, context(training=None), sparsity=0.5, fit=FIT)
    with pytest.raises(PassError, match="diverged"):
        prune(parent, context(), sparsity=0.5, fit={"epochs": 2, "learning_rate": 10, "optimizer": "sgd"})
    assert not list(context().folder.glob("*.torch"))


def test_killed_or_not_the_same_seed_gives_the_same_bytes(networks, trained, context):
    parent = trained(networks["ResidualNet"], 8)
    settings = {"sparsity": 0.8, "steps": 2, "fit": FIT, "control": False}
    wanted = prune(parent, context("whole"), **settings).model.path.read_bytes()

    class Killed(BaseException):
        pass

    def kill(ratio, note):
        if "prune-magnitude-2: epoch 2" in note:
            raise Killed

    with pytest.raises(Killed):
        prune(parent, context("killed", on_progress=kill), **settings)
    assert prune(parent, context("killed"), **settings).model.path.read_bytes() == wanted
