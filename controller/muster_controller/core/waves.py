"""Cutting a rollout's devices into waves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence

from muster_protos.errors import InvalidInputError

CANARY_RATIO = 0.05
"""A bad release reaches at most max(1 device, 5 %) before the first verdict."""


def plan_waves(
    device_ids: Sequence[str],
    *,
    canary_count: int = 0,
    canary_ids: Collection[str] = (),
    then_ratios: Sequence[float] = (),
) -> tuple[tuple[str, ...], ...]:
    """Waves in order; every device is in exactly one, in the order given.

    Args:
        device_ids: those to reach; put the ones that are online first, a silent canary holds everybody up.
        canary_count: how many go first; ``canary_ids``: which (chosen by a label); at most one of both.
        then_ratios: how much of the whole each further wave reaches, rising, in (0, 1]: 0.25, 1.0. The last wave takes
            whoever is left. None of all three: everybody at once.

    A canary larger than max(1, 5 %) is cut into several waves, so that the promise holds whatever was asked for.

    Raises:
        InvalidInputError: no devices, a device twice, or ratios and canaries that make no sense.
    """
    ids = tuple(device_ids)
    if not ids or len(set(ids)) != len(ids):
        raise InvalidInputError(f"expected devices, each once, found {len(ids)} of which {len(set(ids))} differ")
    canaries = _canaries(ids, canary_count, canary_ids)
    rest = tuple(device_id for device_id in ids if device_id not in canaries)
    ordered = (*canaries, *rest)
    ends = [*_canary_ends(len(canaries), len(ids)), *_ratio_ends(then_ratios, len(ids)), len(ids)]
    rising = sorted({end for end in ends if end > 0})
    return tuple(ordered[start:end] for start, end in itertools.pairwise([0, *rising]))


def _canaries(ids: Sequence[str], count: int, chosen: Collection[str]) -> tuple[str, ...]:
    if count < 0 or count > len(ids):
        raise InvalidInputError(f"expected a canary of 0 to {len(ids)} devices, found {count}")
    if count and chosen:
        raise InvalidInputError("expected canaries by number or by label, found both")
    if count:
        return tuple(ids[:count])
    canaries = tuple(device_id for device_id in ids if device_id in chosen)
    if chosen and not canaries:
        raise InvalidInputError("expected at least one canary among the devices, found none with that label")
    return canaries


def _canary_ends(canaries: int, devices: int) -> list[int]:
    largest = max(1, math.floor(devices * CANARY_RATIO))
    return [min(end, canaries) for end in range(largest, canaries + largest, largest)]


def _ratio_ends(ratios: Sequence[float], devices: int) -> list[int]:
    if any(not 0 < ratio <= 1 for ratio in ratios):
        raise InvalidInputError(f"expected shares of the fleet between 0 and 1, found {list(ratios)}")
    if any(later <= earlier for earlier, later in itertools.pairwise(ratios)):
        raise InvalidInputError(f"expected shares that rise from wave to wave, found {list(ratios)}")
    return [math.ceil(devices * ratio) for ratio in ratios]
