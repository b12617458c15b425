"""The network that learns."""

from __future__ import annotations

import torch
from torch import nn

from muster_compression.dataset.splits import Split
from muster_compression.example_inputs import example_rows, example_tensors
from muster_compression.passes.distill import DistillSettings, ShrunkStudent
from muster_compression.passes.port import PassContext, PassError, WorkingModel
from muster_compression.sources.kind import split_torch
from muster_compression.torch_model import load_module
from muster_compression.training.batched import check_takes_batches
from muster_compression.training.losses import outputs_in_order


def make_student(model: WorkingModel, teacher: nn.Module, settings: DistillSettings, context: PassContext) -> nn.Module:
    """In eval mode, with the first weights that control and student share.

    Raises:
        PassError: it cannot be made, takes single rows only, or does not answer as the teacher does.
        NotFoundError: its file or function is not there.
        InvalidInputError: the user's function fails.
    """
    match settings.student:
        case None:
            student = load_module(model)
        case ShrunkStudent(ratio=ratio, keep_weights=keep_weights):
            from muster_compression.pruning.shrink import shrunk

            student = shrunk(teacher, example_tensors(context, 1), ratio, context.seed, keep_weights)
        case source:
            student = _users(source, context)
    _check_answers(student, teacher, context)
    return student.requires_grad_(True)


def _users(source: str, context: PassContext) -> nn.Module:
    from muster_compression.sources.torch_module import load_torch

    named = split_torch(source)
    if named is None:
        raise PassError(f"distill expected a student file.py:function or {{ratio: 0.25}}, found {source!r}")
    path, function = named
    samples = Split(example_rows(context, 1))
    return load_torch(path.resolve(), function, samples, context.seed, is_untrained=True).module


def _check_answers(student: nn.Module, teacher: nn.Module, context: PassContext) -> None:
    inputs = example_tensors(context, 2)
    for name, module in (("student", student), ("teacher", teacher)):
        check_takes_batches(module, inputs, f"distill: the {name}:")
    shapes = []
    for module in (student, teacher):
        with torch.inference_mode():
            shapes.append([list(tensor.shape) for tensor in outputs_in_order(module(*inputs))])
    if shapes[0] != shapes[1]:
        raise PassError(
            f"distill expected a student that answers {shapes[1]} to 2 samples as the teacher does, found {shapes[0]}"
        )
