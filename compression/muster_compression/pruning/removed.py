"""What really left a module, read from the module itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from muster_compression.pruning.channel_group import ChannelGroup, Kind
from muster_compression.pruning.cost import Cost, cost_of, narrowed_layers
from muster_compression.pruning.errors import PruningError
from muster_compression.pruning.plan import Plan
from muster_compression.pruning.prunable import mapped
from muster_compression.pruning.widths import Widths, units_of
from muster_compression.training.losses import outputs_in_order


@dataclass(frozen=True, slots=True)
class Removed:
    """Before and after."""

    before: Cost
    after: Cost
    units: dict[Kind, tuple[int, int]]
    layers: tuple[str, ...]  # "stem 16>8"

    def figures(self) -> dict[str, float | int | str]:
        """For the record."""
        found: dict[str, float | int | str] = {}
        for kind, (was, left) in self.units.items():
            found |= {f"{kind.value}_before": was, f"{kind.value}_after": left}
        return found | {
            "params_before": self.before.params,
            "params_after": self.after.params,
            "macs_before": self.before.macs,
            "macs_after": self.after.macs,
            "layers": "; ".join(self.layers),
        }

    def sentence(self) -> str:
        """``96 > 48 channels, 8 > 4 heads; 26 % of the parameters, 27 % of the multiplications left``."""
        units = ", ".join(f"{was} > {left} {kind.value}" for kind, (was, left) in self.units.items())
        params, macs = (
            f"{100 * after / max(1, before):.0f} %"
            for after, before in ((self.after.params, self.before.params), (self.after.macs, self.before.macs))
        )
        return f"{units}; {params} of the parameters, {macs} of the multiplications left"


def what_left(module: nn.Module, parent: nn.Module, plan: Plan, examples: Sequence[Tensor]) -> Removed:
    """Compare ``module`` with what it was made from.

    Raises:
        PruningError: a group of the plan is not found any more.
    """
    whole: Widths = {group.name: group.size for group in plan.groups}
    now: Widths = {group.name: group.size for group in found_again(module, examples, plan.groups)}
    units = {kind: (units_of(plan.groups, whole, kind), units_of(plan.groups, now, kind)) for kind in Kind}
    return Removed(
        cost_of(parent, examples),
        cost_of(module, examples),
        {kind: counts for kind, counts in units.items() if counts[0]},
        tuple(narrowed_layers(parent, module)),
    )


def found_again(module: nn.Module, examples: Sequence[Tensor], planned: Sequence[ChannelGroup]) -> list[ChannelGroup]:
    """The planned groups as they are now, narrower perhaps, in the same order.

    Raises:
        PruningError: one is not there.
    """
    now = {group.name: group for group in mapped(module, examples)}
    missing = [group.name for group in planned if group.name not in now]
    if missing:
        raise PruningError(f"the channels of {missing[0]} are coupled otherwise after pruning; keep it by name")
    return [now[group.name] for group in planned]


def check_answers(module: nn.Module, parent: nn.Module, examples: Sequence[Tensor]) -> None:
    """It still runs, answers in the same shapes, and with finite numbers.

    Raises:
        PruningError: it does not.
    """
    with torch.no_grad():
        wanted, found = outputs_in_order(parent(*examples)), outputs_in_order(module(*examples))
    if [tensor.shape for tensor in found] != [tensor.shape for tensor in wanted]:
        raise PruningError("the pruned model answers in other shapes than its parent")
    if not all(bool(tensor.isfinite().all()) for tensor in found if tensor.is_floating_point()):
        raise PruningError("the pruned model's answers are not finite")
