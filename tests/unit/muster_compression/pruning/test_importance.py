"""What leaves first is what matters least, by each measure."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from muster_compression.pruning.damage import damages, most_sensitive, relative
from muster_compression.pruning.importance import by_batch_norm, by_place, by_taylor, by_weights
from muster_compression.pruning.parent_loss import with_parent
from muster_compression.pruning.prunable import prunable
from muster_compression.pruning.trim import leaving
from muster_compression.training.batches import Batch
from muster_compression.training.response import way_to_logits


def squared(module, batch):
    return module(*batch.inputs).square().mean()


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(3)
    return [Batch((torch.randn(8, 1, 8, 8, generator=generator),), torch.zeros(8, dtype=torch.int64)) for _ in range(2)]


def groups_of(module, image):
    return {group.name: group for group in prunable(module, (image,)).groups}


def test_small_weights_are_unimportant_by_l2(networks, build, image):
    module = build(networks["ResidualNet"])
    with torch.no_grad():
        for layer, axis in ((module.fine.first, 0), (module.fine.second, 1)):
            layer.weight.select(axis, 5).mul_(0.01)
        module.fine.first_norm.weight[5] = 0.01
    groups = groups_of(module, image)
    scores = by_weights(module, list(groups.values()))
    assert int(scores["fine.first"].argmin()) == 5
    assert all(float(values.mean()) == pytest.approx(1) for values in scores.values())
    assert leaving(groups["fine.first"], 15, scores["fine.first"]) == [5]


def test_small_scales_are_unimportant_by_batch_norm(networks, build, image):
    module = build(networks["ResidualNet"])
    with torch.no_grad():
        module.fine.first_norm.weight[7] = 1e-3
    groups = groups_of(module, image)
    assert int(by_batch_norm(module, list(groups.values()))["fine.first"].argmin()) == 7


def test_what_nobody_hears_is_unimportant_by_taylor_whatever_its_weights(networks, build, image, batches):
    module = build(networks["ResidualNet"])
    with torch.no_grad():
        module.fine.second.weight[:, 3] = 0
        module.fine.first.weight[3] *= 100
    groups = groups_of(module, image)
    scores = by_taylor(module, list(groups.values()), batches, squared)["fine.first"]
    assert float(scores[3]) == 0
    assert float(by_weights(module, [groups["fine.first"]])["fine.first"].argmin()) != 3
    assert all(parameter.grad is None for parameter in module.parameters())


def test_taylor_is_the_slope_of_the_loss_as_a_unit_is_faded_out(networks, build, image, batches):
    module = build(networks["Transformer"])
    group = groups_of(module, image)["blocks.0.mlp.0"]
    scores = by_taylor(module, [group], batches[:1], squared)["blocks.0.mlp.0"]
    reader, step = module.blocks[0].mlp[2], 1e-2
    kept = reader.weight.detach().clone()
    for unit in (0, 17, 63):
        losses = []
        for factor in (1 - step, 1 + step):
            with torch.no_grad():
                reader.weight.copy_(kept)
                reader.weight[:, unit] *= factor
                losses.append(float(squared(module, batches[0])))
        slope = (losses[1] - losses[0]) / (2 * step)
        assert slope**2 == pytest.approx(float(scores[unit]), rel=0.1, abs=1e-10)


def test_segments_of_grouped_layers_share_one_score(networks, build, image):
    module = build(networks["Mobile"])
    stem = next(group for group in prunable(module, (image,)).groups if "stem" in group.layers)
    scores = torch.arange(16, dtype=torch.float64)
    assert by_place(stem, scores).tolist() == [6, 7, 8, 9]
    assert leaving(stem, 8, scores) == [0, 1, 4, 5, 8, 9, 12, 13]


def test_the_layer_whose_loss_hurts_most_is_the_most_sensitive(networks, build, image, batches):
    """A branch that adds next to nothing may lose half of it for free."""
    module = build(networks["ResidualNet"])
    with torch.no_grad():
        module.fine.second_norm.weight.mul_(1e-4)
        module.fine.second_norm.bias.zero_()
        wanted = module(batches[0].inputs[0])
    groups = prunable(module, (image,)).groups

    def moved(part, batch):
        return (part(*batch.inputs) - wanted).square().mean()

    measured = damages(module, groups, by_weights(module, groups), batches[:1], moved, lambda ratio, note: None)
    layers = {name: damage.sensitivity for name, damage in measured.items()}
    assert max(layers, key=lambda name: layers[name].sqnr_db) == "fine.first"
    assert layers["fine.first"].params == module.fine.first.weight.numel()
    found = {name: damage.loss for name, damage in measured.items()}
    assert min(found, key=found.__getitem__) == "fine.first"
    assert found["fine.first"] < 1e-3 * max(found.values())
    assert relative(found)["fine.first"] == 0
    assert "fine.first" not in most_sensitive(found, 0.75)
    assert len(most_sensitive(found, 0.75)) == 3


def test_sensitivities_that_are_alike_are_all_in_the_middle():
    assert relative({"a": 0.2, "b": 0.2}) == {"a": 0.5, "b": 0.5}
    assert relative({"a": -0.1, "b": 0.0}) == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_a_module_that_answers_like_its_parent_has_nothing_to_learn_from_it(kind):
    parent, student = nn.Linear(4, 3), nn.Linear(4, 3)
    batch = Batch((torch.randn(6, 4),), torch.zeros(6, dtype=torch.int64))
    loss = with_parent(parent, lambda module, b: module(*b.inputs).sum(), kind, 4.0, 1.0)
    assert loss(student, batch).item() > 1e-4
    student.load_state_dict(parent.state_dict())
    assert loss(student, batch).item() == pytest.approx(0, abs=1e-6)
    half = with_parent(parent, lambda module, b: module(*b.inputs).sum(), kind, 4.0, 0.5)
    assert half(student, batch).item() == pytest.approx(0.5 * student(batch.inputs[0]).sum().item(), abs=1e-5)
    assert parent.weight.grad is None


@pytest.mark.parametrize(
    ("kind", "end"), [("binary", nn.Sigmoid()), ("binary", nn.Identity()), ("regression", nn.Identity())]
)
def test_one_score_is_compared_with_the_parents_as_distill_does(kind, end):
    """A yes-or-no question by its Bernoulli distribution, also behind a sigmoid; values by their squares."""
    torch.manual_seed(0)
    parent, student = nn.Sequential(nn.Linear(4, 1), end), nn.Sequential(nn.Linear(4, 1), end)
    parent.requires_grad_(False)
    batch = Batch((torch.randn(6, 4),), torch.zeros(6))
    loss = with_parent(parent, lambda module, b: module(*b.inputs).sum(), kind, 2.0, 1.0)
    wanted, found = parent[0](*batch.inputs), student[0](*batch.inputs)
    soft, own = torch.sigmoid(wanted / 2), torch.sigmoid(found / 2)
    divergence = soft * (soft / own).log() + (1 - soft) * ((1 - soft) / (1 - own)).log()
    by_hand = 4 * divergence.mean() if kind == "binary" else (found - wanted).square().mean()
    assert loss(student, batch).item() == pytest.approx(by_hand.item(), rel=1e-4)


class _Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 3), nn.Linear(4, 2)

    def forward(self, x):
        return {"scores": self.one(x), "box": self.two(x)}


def test_other_outputs_are_held_to_the_parents_too():
    parent, student = _Two(), _Two()
    student.one.load_state_dict(parent.one.state_dict())
    batch = Batch((torch.randn(6, 4),), torch.zeros(6, dtype=torch.int64))
    loss = with_parent(parent, lambda module, b: module(*b.inputs)["scores"].sum(), "classification", 4.0, 1.0)
    apart = (student.two(*batch.inputs) - parent.two(*batch.inputs)).square().mean()
    assert loss(student, batch).item() == pytest.approx(apart.item(), rel=1e-4)


class _Writing(nn.Module):
    """Ends in a softmax and writes into its input."""

    def __init__(self):
        super().__init__()
        self.one = nn.Linear(4, 3)

    def forward(self, x):
        return self.one(x.mul_(2)).softmax(1)


def test_a_parent_that_writes_into_its_input_is_asked_too():
    rows = torch.randn(6, 4)
    parent = _Writing().requires_grad_(False)
    to_logits = way_to_logits(parent, (rows,), "classification")
    shares = parent(rows.clone())
    assert torch.allclose(to_logits(shares), shares.log())
