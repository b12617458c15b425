"""How wide each group shall be in the end."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from muster_compression.part_of import OnProgress
from muster_compression.passes.port import PassContext
from muster_compression.passes.prune_structured import PruneStructuredSettings
from muster_compression.pruning.allocation import Allocation, by_rank, by_sensitivity, evenly, reach
from muster_compression.pruning.channel_group import ChannelGroup, Kind
from muster_compression.pruning.cost import cost_of
from muster_compression.pruning.damage import Damage, damages, most_sensitive, relative
from muster_compression.pruning.errors import PruningError
from muster_compression.pruning.importance import Scores, by_place
from muster_compression.pruning.ranking import batches_of, importances
from muster_compression.pruning.trim import trim
from muster_compression.pruning.widths import Widths, uniform, units_of
from muster_compression.sensitivity.layer import LayerSensitivity
from muster_compression.training.losses import Loss
from muster_compression.training.settings import FitSettings

SENSITIVITY = "prune-structured with layers: sensitivity"
FEWEST_HELD_OUT = 8
"""To tell sensitive layers from others."""

_DEFAULT_RATIO = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """Groups that can lose units, their widths in the end, and what was found on the way."""

    groups: tuple[ChannelGroup, ...]
    widths: Widths
    protected: tuple[str, ...] = ()  # groups that stay whole because they are most sensitive
    sensitivities: tuple[LayerSensitivity, ...] = ()  # of the groups, where they were measured


@dataclass(frozen=True, slots=True)
class Planner:
    """What planning needs."""

    module: nn.Module
    examples: Sequence[Tensor]
    groups: tuple[ChannelGroup, ...]
    settings: PruneStructuredSettings
    context: PassContext
    loss: Loss
    report: OnProgress

    def plan(self) -> Plan:
        """Allocate by the setting ``layers`` until the target is met.

        Raises:
            PruningError: the target cannot be reached, or a layer in ``keep`` does not exist.
            PassError: samples are missing.
        """
        whole = {group.name: group.size for group in self.groups}
        usable = [group for group in self.groups if not self._is_kept(group)]
        fixed = whole | self._fixed_heads(usable)
        free = [group for group in usable if group.kind is Kind.CHANNELS or self.settings.heads is None]
        if self.settings.ratio == 0 or not free:
            return Plan(self.groups, fixed)
        scores = self._scores(self.groups)
        measured = self._damages(free, scores) if self.settings.layers == "sensitivity" else {}
        rises = {name: damage.loss for name, damage in measured.items()}
        protected = most_sensitive(rises, self.settings.protect_share)
        allocation = self._allocation([group for group in free if group.name not in protected], scores, rises)
        measure, target, what = self._target(fixed, scores)
        widths = reach(allocation, measure, target, self.settings.tolerance, what)
        sensitivities = tuple(damage.sensitivity for damage in measured.values())
        return Plan(self.groups, {**fixed, **widths}, tuple(protected), sensitivities)

    def _is_kept(self, group: ChannelGroup) -> bool:
        return not group.layers.isdisjoint(self.settings.keep) or group.name in self.settings.keep

    def _fixed_heads(self, groups: Sequence[ChannelGroup]) -> dict[str, int]:
        if self.settings.heads is None:
            return {}
        return uniform([group for group in groups if group.kind is Kind.HEADS], self.settings.heads)

    def _scores(self, groups: Sequence[ChannelGroup]) -> Scores:
        batches = []
        if self.settings.importance == "taylor":
            training = self.context.training_of("prune-structured with importance taylor")
            batches = batches_of(training, self.settings.samples, self.context, "prune-structured")
        return importances(self.module, groups, self.settings.importance, batches, self.loss)

    def _allocation(self, free: list[ChannelGroup], scores: Scores, rises: Mapping[str, float]) -> Allocation:
        most, round_to = self.settings.max_ratio, self.settings.round_to
        match self.settings.layers:
            case "uniform":
                return evenly(free, most, round_to)
            case "importance":
                places = {group.name: by_place(group, scores[group.name]).tolist() for group in free}
                return by_rank(free, places, most, round_to)
            case "sensitivity":
                return by_sensitivity(free, relative(rises), most, round_to)

    def _damages(self, free: list[ChannelGroup], scores: Scores) -> dict[str, Damage]:
        holdout = self.context.holdout_of(SENSITIVITY, FEWEST_HELD_OUT)
        batches = batches_of(holdout, self.settings.samples, self.context, "prune-structured")
        return damages(self.module, free, scores, batches, self.loss, self.report)

    def _target(self, fixed: Widths, scores: Scores) -> tuple[Callable[[Widths], float], float, str]:
        """(measure of widths, its target, its name): each a share that is left."""
        settings = self.settings
        if settings.macs is None and settings.params is None:
            kind = Kind.CHANNELS if any(group.kind is Kind.CHANNELS for group in self.groups) else Kind.HEADS
            total = sum(group.size for group in self.groups if group.kind is kind)
            ratio = _DEFAULT_RATIO if settings.ratio is None else settings.ratio
            return (
                lambda widths: units_of(self.groups, {**fixed, **widths}, kind) / total,
                1 - ratio,
                f"{kind.value} left",
            )
        whole = cost_of(self.module, self.examples)

        def left(widths: Widths) -> float:
            narrow = trim(copy.deepcopy(self.module), self.groups, {**fixed, **widths}, scores)
            cost = cost_of(narrow, self.examples)
            return cost.params / whole.params if settings.macs is None else cost.macs / max(1, whole.macs)

        target = settings.params if settings.macs is None else settings.macs
        assert target is not None
        return left, target, "parameters left" if settings.macs is None else "multiplications left"


def check_names(names: Sequence[str], module: nn.Module) -> None:
    """Layers that are named by hand exist.

    Raises:
        PruningError: one does not; the nearest are suggested.
    """
    known = [name for name, _ in module.named_modules() if name]
    for name in names:
        if name not in known:
            near = ", ".join(difflib.get_close_matches(name, known, 3, 0.3)) or "none"
            raise PruningError(f"keep: no layer is named {name!r}; near it are {near}")


def plain_settings(fit: FitSettings | None) -> FitSettings:
    """The settings whose loss measures: without smoothing, whatever the training uses."""
    return (fit or FitSettings.model_validate({"epochs": 1})).model_copy(update={"label_smoothing": 0.0})
