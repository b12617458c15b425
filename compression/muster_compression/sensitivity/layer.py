"""What is known of one layer, and orders over many."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from muster_compression.sensitivity.closeness import Closeness

ALL_AROUND = "all but convolutions and products"


@dataclass(frozen=True, slots=True)
class Unit:
    """What is quantized, or left in float, as one: a layer of a model file, or several operators of one kind."""

    name: str
    kind: str
    params: int  # weights, without biases; 0 for operators without any
    macs: int  # multiply-accumulates for one sample; 0 where they are not counted
    operators: tuple[str, ...]  # their names in the file


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """How far the model's outputs move when only this layer is changed."""

    layer: str  # the operator's name in an ONNX graph, the module's path in a torch model
    kind: str  # "Conv", "MatMul", "Conv2d", "Linear", ...
    params: int  # weights of the layer, without biases
    sqnr_db: float | None  # of the model's outputs against the unchanged model's; None when nothing differs
    agreement: float | None  # share of equal answers; None without classes

    @property
    def rank(self) -> float:
        """SQNR as a number that sorts: small is sensitive, infinite when nothing differs."""
        return math.inf if self.sqnr_db is None else self.sqnr_db


def most_sensitive_first(layers: Iterable[LayerSensitivity]) -> list[LayerSensitivity]:
    """By SQNR, then by agreement; equals in the order of their names, so that the order depends on nothing else."""
    return sorted(layers, key=lambda item: (item.rank, 1.0 if item.agreement is None else item.agreement, item.layer))


def least_sensitive_first(layers: Iterable[LayerSensitivity]) -> list[LayerSensitivity]:
    """Where a change costs least comes first; of equals the one with more weights."""
    return sorted(layers, key=lambda item: (-item.rank, -item.params, item.layer))


def tolerant(layers: Iterable[LayerSensitivity], least_sqnr_db: float) -> list[LayerSensitivity]:
    """Those that keep the outputs at ``least_sqnr_db`` or better, least sensitive first."""
    return [item for item in least_sensitive_first(layers) if item.rank >= least_sqnr_db]


def relative_sensitivity(layers: Sequence[LayerSensitivity]) -> dict[str, float]:
    """0 (least sensitive of the model) to 1 (most), linear in dB; all 0 when they are alike.

    A layer that changes nothing counts as 0.
    """
    finite = [item.rank for item in layers if math.isfinite(item.rank)]
    if not finite or max(finite) == min(finite):
        return {item.layer: 0.0 for item in layers}
    low, high = min(finite), max(finite)
    return {item.layer: min(1.0, max(0.0, (high - item.rank) / (high - low))) for item in layers}


def sensitivity_of(
    units: Sequence[Unit],
    measure: Callable[[Unit], Closeness],
    on_progress: Callable[[float, str], None] = lambda _ratio, _note: None,
) -> tuple[LayerSensitivity, ...]:
    """One measurement for each unit, in the order given."""
    found = []
    for index, unit in enumerate(units):
        on_progress(index / len(units), f"sensitivity of {unit.name}: {index} of {len(units)}")
        near = measure(unit)
        found.append(LayerSensitivity(unit.name, unit.kind, unit.params, near.sqnr_db, near.agreement))
    return tuple(found)
