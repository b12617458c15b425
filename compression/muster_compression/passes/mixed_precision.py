"""What the mixed-precision passes share: settings, the search over layers, and the account of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pydantic import Field

from muster_compression.passes.calibration import FEWEST_SAMPLES, MOST_SAMPLES
from muster_compression.passes.port import PassContext, Settings
from muster_compression.sensitivity.closeness import Closeness
from muster_compression.sensitivity.exclusion import Excluded, Goal, exclude_greedily
from muster_compression.sensitivity.layer import LayerSensitivity, Unit, most_sensitive_first, sensitivity_of

_SEARCH_SHARE = 0.6  # of the time after calibration that measuring each layer takes


class MixedInt8Settings(Settings):
    """When to stop leaving layers in float."""

    calibration_samples: int = Field(256, ge=FEWEST_SAMPLES, le=MOST_SAMPLES)
    comparison_samples: int = Field(64, ge=FEWEST_SAMPLES, le=MOST_SAMPLES)  # outputs are compared on these
    most_excluded: int = Field(4, ge=1, le=64)  # layers, or groups of operators of one kind
    least_gain_db: float = Field(1.0, gt=0)  # what a layer in float must bring
    most_float_macs: float = Field(0.3, ge=0, le=1)  # share of the multiplications that may stay in float
    target_sqnr_db: float | None = None  # enough: no more layers are excluded
    target_agreement: float | None = Field(None, ge=0, le=1)

    def goal(self) -> Goal:
        """The settings as the search takes them."""
        return Goal(
            self.most_excluded,
            self.least_gain_db,
            self.target_sqnr_db,
            self.target_agreement,
            self.most_float_macs,
        )


@dataclass(frozen=True, slots=True)
class Mixture:
    """The result of the search."""

    sensitivities: tuple[LayerSensitivity, ...]  # of each unit when it alone is quantized
    excluded: Excluded
    operators: tuple[str, ...]  # names of those that stay float


def find_mixture(
    units: Sequence[Unit],
    alone: Callable[[Unit], Closeness],
    without: Callable[[Iterable[str]], Closeness],
    settings: MixedInt8Settings,
    context: PassContext,
) -> Mixture:
    """Measure each unit alone, then leave the most sensitive in float for as long as it helps.

    ``without`` quantizes all but the operators named.
    """
    own = {unit.name: unit.operators for unit in units}
    measured = sensitivity_of(units, alone, lambda ratio, note: context.on_progress(_SEARCH_SHARE * ratio, note))
    count = 0

    def measure(names: frozenset[str]) -> Closeness:
        nonlocal count
        count += 1
        context.on_progress(min(0.95, _SEARCH_SHARE + 0.02 * count), f"without {', '.join(sorted(names)) or 'none'}")
        return without(sorted(operator for name in names for operator in own[name]))

    order = [item.layer for item in most_sensitive_first(measured)]
    total = sum(unit.macs for unit in units)
    costs = {unit.name: _share(unit.macs, total) for unit in units}
    excluded = exclude_greedily(order, measure, settings.goal(), costs)
    return Mixture(measured, excluded, tuple(sorted({operator for name in excluded.layers for operator in own[name]})))


def account(
    units: Sequence[Unit], mixture: Mixture, all_int8_bytes: int, bytes_: int
) -> tuple[str, dict[str, float | int | str]]:
    """What was left in float, what it brought and what it cost, for people and as figures."""
    excluded = mixture.excluded
    chosen = [unit for unit in units if unit.name in excluded.layers]
    float_params = _share(sum(unit.params for unit in chosen), sum(unit.params for unit in units))
    float_macs = _share(sum(unit.macs for unit in chosen), sum(unit.macs for unit in units))
    figures: dict[str, float | int | str] = {
        "excluded": ", ".join(excluded.layers),
        "operators_float": len(mixture.operators),
        "weights_float_share": round(float_params, 4),
        "macs_float_share": round(float_macs, 4),
        "bytes_added": bytes_ - all_int8_bytes,
        "models_compared": excluded.tried + len(units),
        "stopped": excluded.reason,
    }
    for name, near in (("int8", excluded.start), ("mixed", excluded.end)):
        if near.sqnr_db is not None:
            figures[f"sqnr_db_{name}"] = round(near.sqnr_db, 2)
        if near.agreement is not None:
            figures[f"agreement_{name}"] = round(near.agreement, 4)
    if not chosen:
        return f"all int8 at {_decibel(excluded.start)}; no exclusion helped: {excluded.reason}", figures
    text = (
        f"{', '.join(excluded.layers)} in float: {_decibel(excluded.start)} -> {_decibel(excluded.end)}, "
        f"{float_params:.1%} of the weights and {float_macs:.1%} of the multiplications; stopped: {excluded.reason}"
    )
    return text, figures


def _share(part: int, total: int) -> float:
    return part / total if total else 0.0


def _decibel(near: Closeness) -> str:
    return "equal outputs" if near.sqnr_db is None else f"{near.sqnr_db:.1f} dB"
