"""The pass ``prune-structured``: find, plan, take out step by step, fine-tune, compare."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from muster_compression.comparison import Comparison
from muster_compression.example_inputs import example_tensors
from muster_compression.part_of import OnProgress, part_of
from muster_compression.passes.port import PassContext, PassOutput, PassRecord, WorkingModel
from muster_compression.passes.prune_structured import PruneStructuredSettings
from muster_compression.pruning.channel_group import ChannelGroup, Kind
from muster_compression.pruning.errors import PruningError
from muster_compression.pruning.parent_loss import with_parent
from muster_compression.pruning.plan import FEWEST_HELD_OUT, SENSITIVITY, Plan, Planner, check_names, plain_settings
from muster_compression.pruning.prunable import Prunable, prunable
from muster_compression.pruning.ranking import batches_of, importances
from muster_compression.pruning.recognise import Recognised, with_own_attention
from muster_compression.pruning.removed import check_answers, found_again, what_left
from muster_compression.pruning.rounds import Rounds, Trainer
from muster_compression.pruning.trim import trim
from muster_compression.pruning.widths import on_the_way
from muster_compression.torch_model import load_module, save_module
from muster_compression.training.batched import check_takes_batches
from muster_compression.training.environment import reproducible
from muster_compression.training.losses import Loss, task_loss
from muster_compression.training.score import accuracy_of

_MEASURING_SHARE, _QUICK_SHARE = 0.2, 0.02


@dataclass(frozen=True, slots=True)
class _Found:
    """What can leave, and what became of the attentions."""

    prunable: Prunable
    attention: Recognised


def run(model: WorkingModel, settings: PruneStructuredSettings, context: PassContext) -> PassOutput:
    """See ``passes.prune_structured.apply``."""
    module = load_module(model)
    parent = copy.deepcopy(module)
    _check_samples(settings, context)
    examples = example_tensors(context, 1)
    if _asks_in_batches(settings):
        check_takes_batches(module, examples, "prune-structured")
    with reproducible(context.threads):
        check_names(settings.keep, module)
        found = _found(module, examples, context.seed)
        whole = copy.deepcopy(module)
        measuring = task_loss(context.task.kind, plain_settings(settings.fit))
        planning = _MEASURING_SHARE if settings.layers == "sensitivity" else _QUICK_SHARE
        report = part_of(context.on_progress, 0.0, planning)
        plan = Planner(module, examples, found.prunable.groups, settings, context, measuring, report).plan()
    _check_plan(plan, found, settings)
    loss = _loss(parent, settings, context)
    rest = 1 - planning
    share = rest / 2 if settings.control else rest
    trainer = _trainer("prune-structured", settings, context, loss, part_of(context.on_progress, planning, share))
    _pruned(module, plan, examples, settings, trainer, measuring)
    check_answers(module, whole, examples)
    removed = what_left(module, whole, plan, examples)
    figures, effect = removed.figures() | _stayed(plan, found), removed.sentence()
    if settings.fit is not None or context.holdout is not None:
        report = part_of(context.on_progress, planning + share, rest - share)
        comparison, before = _compared(module, parent, settings, context, loss, report)
        figures |= comparison.figures() | before
        effect += f"; {comparison.sentence('the unpruned model fine-tuned as long')}"
    tools = ("torch", "torch-pruning")
    record = PassRecord("prune-structured", effect, tools, figures=figures, sensitivities=plan.sensitivities)
    return PassOutput(save_module(module, context.folder / "pruned.torch"), record)


def _check_samples(settings: PruneStructuredSettings, context: PassContext) -> None:
    """What is missing is said before anything is computed."""
    if settings.fit is not None:
        context.training_of("prune-structured")
    if settings.layers == "sensitivity":
        context.holdout_of(SENSITIVITY, FEWEST_HELD_OUT)
    if settings.fit is not None or context.holdout is not None:
        context.holdout_of("prune-structured")


def _asks_in_batches(settings: PruneStructuredSettings) -> bool:
    measures = settings.importance == "taylor" or settings.layers == "sensitivity"
    return measures or (settings.fit is not None and settings.fit.batch_size > 1)


def _found(module: nn.Module, examples: Sequence[Tensor], seed: int) -> _Found:
    attention = with_own_attention(module, examples)
    return _Found(prunable(module, examples, seed), attention)


def _check_plan(plan: Plan, found: _Found, settings: PruneStructuredSettings) -> None:
    """Something leaves, and heads do where they were asked for.

    Raises:
        PruningError: nothing does.
    """
    excuse = found.prunable.excuse
    heads = [group for group in plan.groups if group.kind is Kind.HEADS]
    if settings.heads and all(plan.widths[group.name] == group.size for group in heads):
        raise PruningError(f"prune-structured removed no heads: {_headless(heads, found)}")
    if all(plan.widths[group.name] == group.size for group in plan.groups):
        raise PruningError(f"prune-structured removed nothing of {len(plan.groups)} groups of channels{excuse}")


def _headless(heads: Sequence[ChannelGroup], found: _Found) -> str:
    if heads:
        return f"its attentions have {max(group.size for group in heads)} heads at most, or are kept by name"
    if found.attention.unknown:
        return f"{found.attention.unknown[0]} looks like attention but computes otherwise than softmax(q k' scale) v"
    return "the model has no attention that was recognised; leave the setting heads out"


def _loss(parent: nn.Module, settings: PruneStructuredSettings, context: PassContext) -> Loss | None:
    if settings.fit is None or settings.teacher == "none":
        return None
    teacher = copy.deepcopy(parent).eval()
    own = task_loss(context.task.kind, settings.fit)
    return with_parent(teacher, own, context.task.kind, settings.temperature, settings.teacher_weight)


def _trainer(
    name: str, settings: PruneStructuredSettings, context: PassContext, loss: Loss | None, report: OnProgress
) -> Trainer:
    rounds = Rounds(settings.fit, settings.steps, settings.step_epochs)
    return Trainer(name, rounds, context.training, context, loss, report)


def _pruned(
    module: nn.Module,
    plan: Plan,
    examples: Sequence[Tensor],
    settings: PruneStructuredSettings,
    trainer: Trainer,
    measuring: Loss,
) -> None:
    """All steps, in place. What leaves is decided anew in each, after the training of the step before."""
    context = trainer.context
    batches = []
    if settings.importance == "taylor":
        batches = batches_of(context.training_of("prune-structured"), settings.samples, context, "prune-structured")
    start = {group.name: group.size for group in plan.groups}
    for step in range(1, settings.steps + 1):
        widths = on_the_way(start, plan.widths, plan.groups, step / settings.steps)
        with reproducible(context.threads):
            groups = found_again(module, examples, plan.groups)
            scores = importances(module, groups, settings.importance, batches, measuring)
            trim(module, groups, widths, scores)
        trainer.train(module, step)


def _stayed(plan: Plan, found: _Found) -> dict[str, float | int | str]:
    """What was left whole, and why."""
    figures: dict[str, float | int | str] = {}
    if plan.protected:
        figures["protected"] = ", ".join(plan.protected)
    stays = [f"{name}: {reason}" for name, reason in found.prunable.kept]
    stays += [f"{name}: attention of another kind" for name in found.attention.unknown]
    if stays:
        figures["kept_whole"] = "; ".join(stays)
    return figures


def _compared(
    module: nn.Module,
    parent: nn.Module,
    settings: PruneStructuredSettings,
    context: PassContext,
    loss: Loss | None,
    report: OnProgress,
) -> tuple[Comparison, dict[str, float | int | str]]:
    """Against the unpruned model, before and after it was trained as long. ``parent`` is trained here."""
    held_out = context.holdout_of("prune-structured")
    before = accuracy_of(parent, held_out, context.signature)
    figures: dict[str, float | int | str] = {}
    if before.value is not None:
        figures[f"{before.metric}_parent"] = round(before.value, 6)
    control = None
    if settings.fit is not None and settings.control:
        _trainer("prune-structured-control", settings, context, loss, report).train_all(parent)
        control = accuracy_of(parent, held_out, context.signature)
    return Comparison(accuracy_of(module, held_out, context.signature), control), figures
