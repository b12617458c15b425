"""The floor under which a variant is dropped: ``0.88`` absolute, ``-0.01`` below the baseline, ``0.99rel`` of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from muster_protos.errors import InvalidInputError
from muster_protos.metric_names import is_error_metric, is_share, is_user_metric
from muster_protos.model import Accuracy

_NUMBER = re.compile(r"(-?)(\d+(?:\.\d*)?|\.\d+)(rel)?")


class FloorKind(Enum):
    """What the number is measured against."""

    ABSOLUTE = "absolute"
    DROP = "drop"
    RELATIVE = "relative"


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that a variant must reach."""

    kind: FloorKind
    value: float
    text: str


def parse_floor(text: str) -> Floor | None:
    """``""`` is no floor.

    Raises:
        InvalidInputError: it is none of the three forms.
    """
    stripped = text.strip()
    if not stripped:
        return None
    match = _NUMBER.fullmatch(stripped)
    if match is None or (match[1] and match[3]):
        raise InvalidInputError(
            f"expected a floor such as 0.88 (absolute), -0.01 (drop from the baseline) or 0.99rel (share of the "
            f"baseline), found {text!r}"
        )
    kind = FloorKind.RELATIVE if match[3] else FloorKind.DROP if match[1] else FloorKind.ABSOLUTE
    return Floor(kind, float(match[2]), stripped)


def check_reachable(floor: Floor | None, baseline: Accuracy) -> None:
    """Refuse a floor that no variant can reach: accuracy, auc and agreement end at 1, and so does a share of them.

    Raises:
        InvalidInputError: it is above 1.
    """
    what = "agreement" if baseline.value is None else baseline.metric
    if floor is None or is_error_metric(what):
        return
    is_bounded = floor.kind is FloorKind.RELATIVE or not is_user_metric(what)
    if floor.value > 1 and is_bounded:
        raise InvalidInputError(f"expected a floor of at most 1 for {what} (0.95 is 95 %), found {floor.text}")


def missed(floor: Floor, found: Accuracy, baseline: Accuracy) -> str:
    """Why ``found`` is under the floor, with figures; "" when it is not.

    Without labels the agreement with the baseline stands for the accuracy. Errors (mae, mse) are turned round: they
    may not rise above what the floor allows.
    """
    if found.value is None or baseline.value is None:
        value, base, what = found.agreement, 1.0, "agreement"
    else:
        value, base, what = found.value, baseline.value, found.metric
    if value is None:
        return f"neither accuracy nor agreement is known, so the floor of {floor.text} cannot be checked"
    if is_error_metric(what):
        ceiling = _ceiling(floor, base)
        return "" if value <= ceiling else f"{what} {value:.4g} is over {ceiling:.4g} (floor {floor.text})"
    least = _least(floor, base)
    if value >= least - 1e-12:
        return ""
    form = ".2%" if what == "agreement" or is_share(what) else ".4g"
    return f"{what} {value:{form}} is under the floor of {least:{form}} ({floor.text})"


def _least(floor: Floor, base: float) -> float:
    match floor.kind:
        case FloorKind.ABSOLUTE:
            return floor.value
        case FloorKind.DROP:
            return base - floor.value
        case FloorKind.RELATIVE:
            return base - (1 - floor.value) * abs(base)  # r2 and users' metrics may be negative


def _ceiling(floor: Floor, base: float) -> float:
    match floor.kind:
        case FloorKind.ABSOLUTE:
            return floor.value
        case FloorKind.DROP:
            return base + floor.value
        case FloorKind.RELATIVE:
            return base / floor.value if floor.value > 0 else float("inf")
