"""Which layers are factored, and to which ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor, nn

from muster_compression.dataset.splits import Array
from muster_compression.low_rank.decompose import approximated
from muster_compression.low_rank.layers import Layer
from muster_compression.low_rank.ranks import Ranks, ranks_by_energy, ranks_by_share
from muster_compression.part_of import OnProgress, part_of
from muster_compression.passes.port import PassError
from muster_compression.sensitivity.layer import LayerSensitivity
from muster_compression.sensitivity.torch_layers import torch_sensitivity

Measure: TypeAlias = Literal["macs", "params"]

LEVELS = (0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.12)
"""Shares of a layer's weights that the search by sensitivity tries."""
_SHOWN_LEVEL = 0.5


@dataclass(frozen=True, slots=True)
class Choice:
    """Ranks by layer, in the order of the model."""

    ranks: Mapping[str, Ranks]
    costly: int = 0  # layers left as they are: factored they would not be smaller and cheaper
    sensitive: int = 0  # and those that the outputs cannot spare
    measured: tuple[LayerSensitivity, ...] = ()  # each layer alone: at its ranks, or with half of its weights


def by_energy(
    module: nn.Module,
    layers: list[Layer],
    inputs: Mapping[str, Array],
    share: float,
    least_sqnr_db: float,
    on_progress: OnProgress,
) -> Choice:
    """Every layer at the ranks that keep ``share`` of its energy, where that pays.

    A layer that alone takes the outputs' SQNR under ``least_sqnr_db`` stays as it is.
    """
    wanted = {layer.name: ranks_by_energy(layer.module.weight, share) for layer in layers}
    paying = [layer for layer in layers if layer.cost_at(wanted[layer.name]).is_below(layer.cost)]
    found = _sensitivity(module, paying, inputs, lambda weight: ranks_by_energy(weight, share), on_progress)
    kept = {layer.name: wanted[layer.name] for layer in paying if found[layer.name].rank >= least_sqnr_db}
    return Choice(kept, len(layers) - len(paying), len(paying) - len(kept), tuple(found.values()))


def by_ratio(
    module: nn.Module,
    layers: list[Layer],
    inputs: Mapping[str, Array],
    ratio: float,
    measure: Measure,
    on_progress: OnProgress,
) -> Choice:
    """All layers together at ``ratio`` (0..1) of their ``measure``, taken where it disturbs the outputs least.

    Greedy over the levels of each layer: the next step is the one with the least noise added per cost saved, noise
    power being measured for each layer alone and added up, as independent errors do.

    Raises:
        PassError: the lowest ranks of all layers are not low enough.
    """
    ladders, measured = _ladders(module, layers, inputs, measure, on_progress)
    total = sum(_amount(layer, None, measure) for layer in layers)
    level = dict.fromkeys(ladders, 0)
    left = total
    while left > ratio * total:
        steps = {name: ladders[name][at : at + 2] for name, at in level.items() if at + 1 < len(ladders[name])}
        if not steps:
            raise PassError(
                f"low-rank expected to reach {ratio:g} of the {measure} of {len(layers)} layers, "
                f"found {left / total:.2f} to be the least; set a higher ratio"
            )
        name = min(steps, key=lambda key: _price(*steps[key]))
        left -= steps[name][0].amount - steps[name][1].amount
        level[name] += 1
    chosen = {name: rung.ranks for name, at in level.items() if (rung := ladders[name][at]).ranks}
    costly = sum(len(ladder) == 1 for ladder in ladders.values())
    return Choice(chosen, costly, len(layers) - costly - len(chosen), measured)


@dataclass(frozen=True, slots=True)
class _Rung:
    """One way to have a layer."""

    ranks: Ranks  # () = as it is
    amount: int  # of MACs or parameters
    noise: float  # error power over signal power of the outputs when only this layer is so


def _ladders(
    module: nn.Module, layers: list[Layer], inputs: Mapping[str, Array], measure: Measure, on_progress: OnProgress
) -> tuple[dict[str, list[_Rung]], tuple[LayerSensitivity, ...]]:
    """For each layer: as it is, then ever fewer ranks, only such that are smaller and cheaper than the one before."""
    ladders = {layer.name: [_Rung((), _amount(layer, None, measure), 0.0)] for layer in layers}
    shown: tuple[LayerSensitivity, ...] = ()
    for index, share in enumerate(LEVELS):
        paying = [
            layer for layer in layers if _pays(layer, ranks_by_share(layer.module.weight, share), ladders, measure)
        ]

        def ranks(weight: Tensor, share: float = share) -> Ranks:
            return ranks_by_share(weight, share)

        report = part_of(on_progress, index / len(LEVELS), 1 / len(LEVELS))
        found = _sensitivity(module, paying, inputs, ranks, report)
        shown = tuple(found.values()) if share == _SHOWN_LEVEL else shown
        for layer in paying:
            here = ranks(layer.module.weight)
            noise = 10 ** (-found[layer.name].rank / 10)
            ladders[layer.name].append(_Rung(here, _amount(layer, here, measure), noise))
    return ladders, shown


def _pays(layer: Layer, ranks: Ranks, ladders: Mapping[str, list[_Rung]], measure: Measure) -> bool:
    is_less = _amount(layer, ranks, measure) < ladders[layer.name][-1].amount
    return is_less and layer.cost_at(ranks).is_below(layer.cost)


def _price(here: _Rung, below: _Rung) -> float:
    return max(0.0, below.noise - here.noise) / (here.amount - below.amount)


def _amount(layer: Layer, ranks: Ranks | None, measure: Measure) -> int:
    cost = layer.cost if ranks is None else layer.cost_at(ranks)
    return cost.macs if measure == "macs" else cost.params


def _sensitivity(
    module: nn.Module,
    layers: list[Layer],
    inputs: Mapping[str, Array],
    ranks: Callable[[Tensor], Ranks],
    on_progress: OnProgress,
) -> dict[str, LayerSensitivity]:
    """By layer; the module is left as it was."""
    found = torch_sensitivity(
        module,
        inputs,
        lambda weight: approximated(weight, ranks(weight)),
        [layer.name for layer in layers],
        on_progress,
    )
    return {item.layer: item for item in found}
