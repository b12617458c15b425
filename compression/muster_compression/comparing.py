"""One variant in full, and two side by side: what differs, and whether it may be chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from muster_protos.metric_names import is_error_metric, is_share
from muster_protos.model import Accuracy, VariantManifest


@dataclass(frozen=True, slots=True)
class Difference:
    """One figure of two variants, B against A."""

    figure: str
    a: float | None
    b: float | None
    difference: float | None  # b - a; None where one is unknown
    ratio: float | None  # a / b: 4 is a quarter of it; None where one is unknown or 0
    do_intervals_overlap: bool | None = None  # None where there are no intervals


_COUNTED: tuple[tuple[str, Callable[[VariantManifest], float | None]], ...] = (
    ("size_bytes", lambda item: item.artifact.size_bytes),
    ("transit_bytes", lambda item: item.transit_bytes),
    ("params", lambda item: item.params),
    ("macs", lambda item: item.macs),
    ("sparsity", lambda item: item.sparsity),
    ("sqnr_db", lambda item: item.sqnr_db),
    ("ece", lambda item: (item.accuracy or Accuracy()).ece),
    ("calibrated_ece", lambda item: item.calibrated_ece),
    ("calibration_temperature", lambda item: item.calibration_temperature),
)


def differences(a: VariantManifest, b: VariantManifest) -> list[Difference]:
    """Quality first, then what it costs."""
    one, other = a.accuracy or Accuracy(), b.accuracy or Accuracy()
    is_same = one.metric == other.metric
    metric = one.metric if is_same else f"{one.metric or 'none'} / {other.metric or 'none'}"
    found = [
        _difference(metric or "metric", one.value, other.value, _overlap(_ci(one), _ci(other)), is_same),
        _difference(
            "agreement",
            one.agreement,
            other.agreement,
            _overlap((one.agreement_ci_low, one.agreement_ci_high), (other.agreement_ci_low, other.agreement_ci_high)),
        ),
    ]
    return found + [_difference(name, get(a), get(b)) for name, get in _COUNTED]


def verdict(a: VariantManifest, b: VariantManifest) -> str:
    """One line on the metric, for people."""
    metric = next(iter(differences(a, b)))
    one, other = a.accuracy, b.accuracy
    if one is None or other is None or metric.difference is None:
        return "quality: not comparable, one of the two has no figure of the same metric"
    samples = "" if a.evaluation == b.evaluation else "; they were judged on different samples"
    if metric.difference == 0:
        return f"{metric.figure}: the same{samples}"
    is_better = (metric.difference < 0) is is_error_metric(one.metric)
    size = f"{abs(metric.difference) * 100:.2f} points" if is_share(one.metric) else f"{abs(metric.difference):.4g}"
    chance = {
        None: "no intervals are known",
        True: "the 95 % intervals overlap, so it may be chance",
        False: "the 95 % intervals do not overlap",
    }[metric.do_intervals_overlap]
    return f"{metric.figure}: B is {size} {'better' if is_better else 'worse'}; {chance}{samples}"


def table(a: VariantManifest, b: VariantManifest | None = None) -> str:
    """The figures of one or two variants, one per line."""
    manifests = [a] if b is None else [a, b]
    rows = [(key, [_text(getattr(item, key)) for item in manifests]) for key in _SHOWN]
    for key in ("metric", "value", "ci_low", "ci_high", "agreement", "n"):
        rows.append((f"accuracy {key}", [_text(getattr(item.accuracy or Accuracy(), key)) for item in manifests]))
    for difference in [] if b is None else differences(a, b)[2:]:
        rows.append((difference.figure, [_text(difference.a), _text(difference.b), _change(difference)]))
    if b is None:
        rows += [(name, [_text(get(a))]) for name, get in _COUNTED]
    rows.append(("sha256", [item.artifact.sha256 for item in manifests]))
    rows.append(("made with", [", ".join(f"{k} {v}" for k, v in item.tool_versions.items()) for item in manifests]))
    widths = [max(len(values[column]) for _, values in rows[:-2]) for column in range(len(manifests))]
    lines = [
        f"{key:<24} " + "  ".join(f"{value:<{width}}" for value, width in zip(values, [*widths, 0], strict=False))
        for key, values in rows
    ]
    return "\n".join(line.rstrip() for line in lines)


_SHOWN = (
    "variant_id",
    "parent_variant_id",
    "recipe",
    "seed",
    "format",
    "opset",
    "precision",
    "target_hint",
    "golden_max_abs_error",
)


def _ci(accuracy: Accuracy) -> tuple[float | None, float | None]:
    return accuracy.ci_low, accuracy.ci_high


def _overlap(one: tuple[float | None, float | None], other: tuple[float | None, float | None]) -> bool | None:
    (low, high), (its_low, its_high) = one, other
    if low is None or high is None or its_low is None or its_high is None:
        return None
    return low <= its_high and its_low <= high


def _difference(
    figure: str, a: float | None, b: float | None, overlap: bool | None = None, is_comparable: bool = True
) -> Difference:
    if a is None or b is None or not is_comparable:
        return Difference(figure, a, b, None, None, None)
    return Difference(figure, a, b, b - a, a / b if b else None, overlap)


def _change(item: Difference) -> str:
    if item.difference is None:
        return ""
    times = f" ({item.ratio:.3g}x less)" if item.ratio is not None and item.ratio > 1 else ""
    return f"{item.difference:+.6g}{times}"


def _text(value: object) -> str:
    if value is None or value == "":
        return "-"
    value = getattr(value, "value", value)  # an enum's own
    return f"{value:.6g}" if isinstance(value, float) else str(value)
