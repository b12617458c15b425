"""Which rungs of a grant stay in memory: the fastest and the active one always, the others while there is room."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from muster_agent.core.guard import Guard
from muster_agent.serving.engine import Ladder
from muster_agent.serving.errors import GrantError
from muster_agent.serving.loaded_rung import LoadedRung, load_rung
from muster_protos.model import LocalGrant, LocalVariant

log = logging.getLogger(__name__)

_ROOM_RATIO = 0.9  # of the memory limit


def build_ladder(
    grant: LocalGrant, slowdown_ratio: float, memory_limit_bytes: int | None, known: Ladder | None
) -> Ladder:
    """Load, self-test and warm every rung; those that do not fit are unloaded again.

    Rungs that ``known`` holds with the same configuration and file are taken over as they are.

    Raises:
        GrantError: one of them fails, or the grant makes no sense; nothing stays loaded.
    """
    try:
        guard = Guard(grant.grant)
    except ValueError as error:
        raise GrantError(f"grant: {error}") from error
    reusable = _reusable(grant, known)
    rungs: dict[int, LoadedRung] = {}
    limit_bytes = _lower(memory_limit_bytes, grant.memory_limit_bytes)
    first = guard.active
    fastest = min(range(len(grant.grant.ladder)), key=lambda index: grant.grant.ladder[index].p50_ns)
    order = dict.fromkeys((fastest, first, *range(len(grant.grant.ladder))))
    try:
        for index in order:
            rungs[index] = reusable.get(index) or load(grant, index, slowdown_ratio)
            if index not in (fastest, first) and not has_room(limit_bytes):
                log.info("rung %d is not kept: %d MiB are in use", index, rss_bytes() >> 20)
                _close(rungs.pop(index), known)
    except BaseException:
        for rung in rungs.values():
            _close(rung, known)
        raise
    guard.resident(frozenset(rungs))
    return Ladder(grant, guard, rungs)


def load(grant: LocalGrant, index: int, slowdown_ratio: float) -> LoadedRung:
    """One rung of a grant, self-tested.

    Raises:
        GrantError: it fails, or the grant does not hold its variant.
    """
    rung = grant.grant.ladder[index]
    variant = _variant(grant, rung.configuration.variant_id)
    if variant is None:
        raise GrantError(f"grant: {rung.configuration.variant_id} has no artifact", rung.configuration.variant_id)
    return load_rung(rung, variant, grant.signature, slowdown_ratio)


def discard(ladder: Ladder, known: Ladder | None) -> None:
    """Free a ladder that is not going to be served, except what ``known`` serves."""
    for rung in ladder.rungs.values():
        _close(rung, known)


def has_room(limit_bytes: int | None) -> bool:
    """Whether this process is under its limit with something to spare."""
    return limit_bytes is None or rss_bytes() < _ROOM_RATIO * limit_bytes


def rss_bytes() -> int:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _reusable(grant: LocalGrant, known: Ladder | None) -> Mapping[int, LoadedRung]:
    if known is None or known.grant.signature != grant.signature:
        return {}
    return {
        index: known.rungs[old]
        for index, rung in enumerate(grant.grant.ladder)
        for old, other in enumerate(known.grant.grant.ladder)
        if old in known.rungs
        and other.configuration == rung.configuration
        and _variant(grant, rung.configuration.variant_id) == _variant(known.grant, rung.configuration.variant_id)
    }


def _variant(grant: LocalGrant, variant_id: str) -> LocalVariant | None:
    return next((variant for variant in grant.variants if variant.manifest.variant_id == variant_id), None)


def _close(rung: LoadedRung, known: Ladder | None) -> None:
    if known is None or rung not in known.rungs.values():
        rung.close()


def _lower(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
