"""The pass ``prune-magnitude``: mask step by step, train with the masks held, compare."""

from __future__ import annotations

import copy

from torch import nn

from muster_compression.comparison import Comparison
from muster_compression.example_inputs import example_tensors
from muster_compression.part_of import part_of
from muster_compression.passes.port import PassContext, PassOutput, PassRecord, WorkingModel
from muster_compression.passes.prune_magnitude import PruneMagnitudeSettings
from muster_compression.pruning.errors import PruningError
from muster_compression.pruning.masks import (
    Sparsity,
    apply_masks,
    holding,
    smallest_masked,
    sparsity_of,
    target_at,
    weights_of,
)
from muster_compression.pruning.plan import check_names
from muster_compression.pruning.rounds import Rounds, Trainer
from muster_compression.torch_model import load_module, save_module
from muster_compression.training.batched import check_takes_batches
from muster_compression.training.score import accuracy_of

_CHANCE_SHARE = 0.001


def run(model: WorkingModel, settings: PruneMagnitudeSettings, context: PassContext) -> PassOutput:
    """See ``passes.prune_magnitude.apply``."""
    module = load_module(model)
    if settings.fit is not None:
        context.training_of("prune-magnitude")
        context.holdout_of("prune-magnitude")
        if settings.fit.batch_size > 1:
            check_takes_batches(module, example_tensors(context, 1), "prune-magnitude")
    check_names(settings.keep, module)
    before = sparsity_of(weights_of(module, settings.keep))
    _check_prunable(before, settings)
    dense = copy.deepcopy(module)
    share = 0.5 if settings.control and settings.fit is not None else 1.0
    rounds = Rounds(settings.fit, settings.steps, settings.step_epochs)
    report = part_of(context.on_progress, 0.0, share)
    _pruned(module, settings, Trainer("prune-magnitude", rounds, context.training, context, None, report))
    saved = save_module(module, context.folder / "sparse.torch")
    found = sparsity_of(weights_of(load_module(saved), settings.keep))
    _check_reached(found, settings)
    figures: dict[str, float | int | str] = {
        "sparsity": round(found.ratio, 6),
        "zeros": found.zeros,
        "weights": found.weights,
        "layers": "; ".join(f"{name} {100 * ratio:.1f} %" for name, ratio in found.by_layer.items()),
    }
    effect = f"{found.zeros} of {found.weights} weights are zero ({100 * found.ratio:.1f} %)"
    if settings.fit is not None:
        report = part_of(context.on_progress, share, 1 - share)
        control = Trainer("prune-magnitude-control", rounds, context.training, context, None, report)
        comparison = _compared(module, dense, settings, control)
        figures |= comparison.figures()
        effect += f"; {comparison.sentence('the dense model fine-tuned as long')}"
    return PassOutput(saved, PassRecord("prune-magnitude", effect, ("torch",), figures=figures))


def _check_prunable(before: Sparsity, settings: PruneMagnitudeSettings) -> None:
    if before.weights == 0:
        raise PruningError("prune-magnitude expected convolutions or linear layers, found none that may be pruned")
    if before.ratio >= settings.sparsity:
        raise PruningError(
            f"prune-magnitude expected a denser model: {100 * before.ratio:.1f} % of its weights are zero already, "
            f"asked for are {100 * settings.sparsity:.1f} %"
        )


def _pruned(module: nn.Module, settings: PruneMagnitudeSettings, trainer: Trainer) -> None:
    """All steps, in place. A weight that is out stays out: it is zero, and so among the smallest of the next step."""
    weights = weights_of(module, settings.keep)
    for step in range(1, settings.steps + 1):
        masks = smallest_masked(weights, target_at(step, settings.steps, settings.sparsity))
        apply_masks(weights, masks)
        trainer.train(module, step, after_step=holding(weights, masks))


def _check_reached(found: Sparsity, settings: PruneMagnitudeSettings) -> None:
    """To the weight; a few more may have become zero by themselves.

    Raises:
        PruningError: there are fewer zeros than asked for, or so many more that training made them.
    """
    wanted = round(settings.sparsity * found.weights)
    if not wanted <= found.zeros <= wanted + _CHANCE_SHARE * found.weights:
        raise PruningError(
            f"prune-magnitude expected {wanted} zeros of {found.weights} weights, found {found.zeros} after training"
        )


def _compared(module: nn.Module, dense: nn.Module, settings: PruneMagnitudeSettings, control: Trainer) -> Comparison:
    """Against the dense model, trained here as long."""
    context = control.context
    held_out = context.holdout_of("prune-magnitude")
    treated = accuracy_of(module, held_out, context.signature)
    if not settings.control:
        return Comparison(treated)
    control.train_all(dense)
    return Comparison(treated, accuracy_of(dense, held_out, context.signature))
