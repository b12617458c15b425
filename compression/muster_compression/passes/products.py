"""Passes that change matrix products only say how much of a model that is, and refuse models of convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from muster_compression.graph.onnx_weights import CONVOLUTIONS, WeightedOperator
from muster_compression.passes.port import PassError


def check_share(
    before: Sequence[WeightedOperator],
    left: Sequence[WeightedOperator],
    least_share: float,
    pass_name: str,
    precision: str,
) -> tuple[str, dict[str, float | int | str]]:
    """How many weights changed of how many, for people and as figures; ``left`` are the operators still in float.

    Raises:
        PassError: none changed, or less than ``least_share`` of them.
    """
    total = sum(item.params for item in before)
    changed = total - sum(item.params for item in left)
    operators = len(before) - len(left)
    convolved = sum(item.params for item in left if item.kind in CONVOLUTIONS)
    why = f"{convolved} of {total} weights are in convolutions, which it leaves alone; take onnx-static-int8 for them"
    if changed <= 0:
        reason = why if convolved else "no matrix product has constant weights (onnx-prepare folds those it can)"
        raise PassError(f"{pass_name} changed nothing: {reason}")
    if changed < least_share * total:
        raise PassError(
            f"{pass_name} expected to change at least {least_share:.0%} of the weights (least_share), "
            f"found {changed / total:.1%}: {why}"
        )
    text = f"{changed} of {total} weights in {operators} of {len(before)} operators are {precision}"
    figures: dict[str, float | int | str] = {
        f"weights_{precision}": changed,
        "weights": total,
        f"operators_{precision}": operators,
        "operators": len(before),
    }
    return text, figures
