"""How good a variant is, as people read it: a share of 1 in percent, any other metric as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from muster_protos.metric_names import is_share


def quality(accuracy: Mapping[str, Any]) -> str:
    """``accuracy 97.10% [95.20%, 98.60%]``, ``mae 0.0421 [0.0397, 0.0455]``; without labels the agreement.

    ``accuracy`` is a manifest's, with ``metric``, ``value``, ``ci_low``, ``ci_high`` and ``agreement``.
    """
    value, agreement = accuracy.get("value"), accuracy.get("agreement")
    if value is None:
        return "no labels" if agreement is None else f"agreement {agreement:.2%}"
    metric = str(accuracy.get("metric") or "")
    form = ".2%" if is_share(metric) else ".4g"
    low, high = accuracy.get("ci_low"), accuracy.get("ci_high")
    interval = "" if low is None or high is None else f" [{low:{form}}, {high:{form}}]"
    return f"{metric or 'metric'} {value:{form}}{interval}"
