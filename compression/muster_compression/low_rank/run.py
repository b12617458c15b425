"""The pass ``low-rank``: choose, factor, fine-tune, compare."""

from __future__ import annotations

import copy
import difflib

from torch import nn

from muster_compression.comparison import Comparison
from muster_compression.example_inputs import example_rows, example_tensors
from muster_compression.low_rank.choice import Choice, by_energy, by_ratio
from muster_compression.low_rank.factors import factored
from muster_compression.low_rank.layers import Layer, factorable_layers, whole_cost
from muster_compression.part_of import part_of
from muster_compression.passes.low_rank import LowRankSettings
from muster_compression.passes.port import PassContext, PassError, PassOutput, PassRecord, WorkingModel
from muster_compression.pruning.recognise import with_own_attention
from muster_compression.torch_model import load_module, save_module
from muster_compression.training.batched import check_takes_batches
from muster_compression.training.environment import reproducible
from muster_compression.training.fit import fit
from muster_compression.training.score import accuracy_of

_DEFAULT_RATIO = 0.5
_CHOOSING_SHARE = 0.3


def run(model: WorkingModel, settings: LowRankSettings, context: PassContext) -> PassOutput:
    """See ``passes.low_rank.apply``."""
    if settings.fit is not None:
        context.training_of("low-rank"), context.holdout_of("low-rank")
    module = load_module(model)
    if settings.fit is not None and settings.fit.batch_size > 1:
        check_takes_batches(module, example_tensors(context, 1), "low-rank")
    original = copy.deepcopy(module)
    with reproducible(context.threads):
        inputs = example_tensors(context, 1)
        if any(isinstance(part, nn.MultiheadAttention) for part in module.modules()):
            with_own_attention(module, inputs)  # torch's own reads its weights past its layers
        layers = factorable_layers(module, inputs)
        _check_names(settings.keep, layers)
        choosing = [layer for layer in layers if not set(layer.names) & set(settings.keep)]
        before = whole_cost(module, layers)
        choice = _chosen(module, choosing, settings, context)
        saved = [layer for layer in choosing if layer.name in choice.ranks]
        if not saved:
            raise PassError(f"low-rank changed nothing: {_left(choice, layers, choosing)}")
        after = before
        for layer in saved:
            after = after - layer.cost + layer.cost_at(choice.ranks[layer.name])
            layer.put(module, factored(layer.module, choice.ranks[layer.name]))
    figures: dict[str, float | int | str] = {
        "layers_changed": len(saved),
        "layers_eligible": len(layers),
        "layers_costly": choice.costly,
        "layers_sensitive": choice.sensitive,
        "params_before": before.params,
        "params_after": after.params,
        "macs_before": before.macs,
        "macs_after": after.macs,
    }
    effect = (
        f"{len(saved)} of {len(layers)} layers factored; {_share(after.params, before.params)} of the parameters, "
        f"{_share(after.macs, before.macs)} of those layers' multiplications are left"
    )
    if settings.fit is not None:
        comparison = _fine_tuned(module, original, settings, context)
        figures |= comparison.figures()
        effect += f"; {comparison.sentence('the unfactored model fine-tuned as long')}"
    record = PassRecord("low-rank", effect, ("torch",), figures=figures, sensitivities=choice.measured)
    return PassOutput(save_module(module, context.folder / "low_rank.torch"), record)


def _chosen(module: nn.Module, layers: list[Layer], settings: LowRankSettings, context: PassContext) -> Choice:
    inputs = example_rows(context, settings.samples)
    share = 1.0 if settings.fit is None else _CHOOSING_SHARE
    report = part_of(context.on_progress, 0.0, share)
    if settings.energy is not None:
        return by_energy(module, layers, inputs, settings.energy, settings.least_sqnr_db, report)
    return by_ratio(module, layers, inputs, settings.ratio or _DEFAULT_RATIO, settings.measure, report)


def _fine_tuned(module: nn.Module, original: nn.Module, settings: LowRankSettings, context: PassContext) -> Comparison:
    """Train ``module``, and ``original`` as its control."""
    assert settings.fit is not None
    samples, rest = context.training_of("low-rank"), 1 - _CHOOSING_SHARE
    share = rest / 2 if settings.control else rest
    report = part_of(context.on_progress, _CHOOSING_SHARE, share)
    held_out = context.holdout_of("low-rank")
    fit(module, samples, settings.fit, context, name="low-rank", on_progress=report)
    control = None
    if settings.control:
        report = part_of(context.on_progress, _CHOOSING_SHARE + share, share)
        fit(original, samples, settings.fit, context, name="low-rank-control", on_progress=report)
        control = accuracy_of(original, held_out, context.signature)
    return Comparison(accuracy_of(module, held_out, context.signature), control)


def _check_names(names: tuple[str, ...], layers: list[Layer]) -> None:
    known = [path for layer in layers for path in layer.names]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.3)
            raise PassError(f"low-rank: no factorable layer is named {name!r}; near it are {', '.join(near) or 'none'}")


def _left(choice: Choice, layers: list[Layer], choosing: list[Layer]) -> str:
    if not layers:
        return "the model has no plain linear layer or ungrouped convolution that could be factored"
    return (
        f"of {len(layers)} layers {choice.costly} would not be smaller and cheaper, {choice.sensitive} are too "
        f"sensitive, {len(layers) - len(choosing)} are kept as asked; lower energy, ratio or least_sqnr_db"
    )


def _share(after: int, before: int) -> str:
    return f"{100 * after / max(1, before):.0f} %"
