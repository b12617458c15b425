from __future__ import annotations

import pytest
import torch
from torch import nn

from muster_compression.distillation.features import Taps, projections, shapes_of, stage_pairs
from muster_compression.passes.port import PassError

IMAGE = (torch.zeros(2, 1, 8, 8),)


def stages(width: int, strides: tuple[int, ...] = (1, 2)) -> nn.Sequential:
    parts: list[nn.Module] = []
    before = 1
    for stride in strides:
        parts.append(nn.Sequential(nn.Conv2d(before, width, 3, stride, 1), nn.ReLU()))
        before = width
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


def test_stages_pair_by_resolution_and_their_last_layer() -> None:
    student, teacher = stages(4), stages(8, (1, 1, 2, 1))
    assert stage_pairs(student, teacher, IMAGE) == (("0", "1"), ("1", "3"))


def test_tokens_pair_by_their_number() -> None:
    student, teacher = (nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3)) for width in (4, 9))
    assert stage_pairs(student, teacher, (torch.zeros(2, 5, 6),)) == (("2", "2"),)


def test_no_common_resolution_is_told_with_those_there_are() -> None:
    with pytest.raises(PassError, match="found 3x3 in the student and 4x4, 8x8 in the teacher"):
        stage_pairs(stages(4, (3,)), stages(4), IMAGE)


def test_projections_bring_the_student_to_the_teachers_width() -> None:
    student, teacher = stages(4), stages(8)
    pairs = (("0", "0"), ("3", "3"))
    shapes = [shapes_of(module, ["0", "3"], IMAGE, "student") for module in (student, teacher)]
    first, second = projections(pairs, *shapes, seed=1)
    assert first(torch.zeros(2, 4, 8, 8)).shape == (2, 8, 8, 8)
    assert second(torch.zeros(2, 4)).shape == (2, 8)
    again = projections(pairs, *shapes, seed=1)
    assert torch.equal(again[0].weight, first.weight)


def test_pairs_that_do_not_fit_are_told_in_one_line() -> None:
    student, teacher = stages(4), stages(8)
    shapes = [shapes_of(student, ["1"], IMAGE, "student"), shapes_of(teacher, ["0"], IMAGE, "teacher")]
    with pytest.raises(
        PassError, match=r"'1' of the student and '0' of the teacher do not fit.*\[4, 4, 4\] and \[8, 8, 8\]"
    ):
        projections((("1", "0"),), *shapes, seed=1)


def test_a_misspelt_layer_is_told_with_the_nearest() -> None:
    with pytest.raises(PassError, match=r"the teacher has no layer '0\.9'; near it are 0"):
        shapes_of(stages(4), ["0.9"], IMAGE, "teacher")


def test_taps_leave_nothing_attached() -> None:
    net = stages(4)
    taps = Taps(["1", "0"])
    with taps.on(net):
        net(*IMAGE)
    one, zero = taps.take()
    assert (one.shape[-1], zero.shape[-1]) == (4, 8)
    assert not any(child._forward_hooks for child in net.modules())
