"""A student of the same architecture is narrow everywhere, answers in the same shapes and follows from its seed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from muster_compression.pruning.errors import PruningError
from muster_compression.pruning.shrink import shrunk


def params(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("keep_weights", [True, False])
def test_a_quarter_of_the_width_is_about_a_sixteenth_of_the_parameters(network, build, image, keep_weights):
    module = build(network)
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    student = shrunk(module, (image,), 0.25, 3, keep_weights)
    assert params(student) < 0.25 * params(module)
    with torch.no_grad():
        assert student(image.expand(5, -1, -1, -1)).shape == (5, 10)
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())


@pytest.mark.parametrize("keep_weights", [True, False])
def test_the_same_seed_gives_the_same_student(network, build, image, keep_weights):
    one, other = (shrunk(build(network), (image,), 0.5, 3, keep_weights).state_dict() for _ in range(2))
    assert list(one) == list(other)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_kept_weights_are_the_teachers_and_new_ones_follow_the_seed(networks, build, image):
    teacher = build(networks["ResidualNet"])
    kept = shrunk(teacher, (image,), 0.5, 3)
    own = teacher.stem.weight.flatten(1).tolist()
    assert all(row in own for row in kept.stem.weight.flatten(1).tolist())
    fresh, other = (shrunk(teacher, (image,), 0.5, seed, keep_weights=False) for seed in (3, 4))
    assert not any(row in own for row in fresh.stem.weight.flatten(1).tolist())
    assert not torch.equal(fresh.stem.weight, other.stem.weight)


def test_heads_shrink_with_the_width(networks, build, image):
    student = shrunk(build(networks["Transformer"]), (image,), 0.5, 3)
    assert [block.attention.num_heads for block in student.blocks] == [2, 2]
    assert student.position.shape == (1, 17, 16)


def test_the_whole_width_is_a_copy(networks, build, image):
    teacher = build(networks["ResidualNet"])
    with torch.no_grad():
        assert torch.equal(shrunk(teacher, (image,), 1.0, 3)(image), teacher(image))


def test_sizes_written_into_forward_are_named(networks, build, image):
    with pytest.raises(PruningError, match=r"no layer can be made narrower by 0\.5: conv stays whole: its forward"):
        shrunk(build(networks["HardCoded"]), (image,), 0.5, 3)
    with pytest.raises(PruningError, match="above 0 and at most 1"):
        shrunk(build(networks["ResidualNet"]), (image,), 0.0, 3)


def test_a_narrow_student_drops_less_and_the_teacher_as_before():
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Dropout(0.5), nn.Linear(32, 4)).eval()
    student = shrunk(teacher, [torch.zeros(1, 8)], 0.25, seed=0)
    assert student[0].out_features == 8
    assert student[2].p == pytest.approx(0.125)
    assert teacher[2].p == 0.5
