"""How this device stands with its controller, for people who ask on the device itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Standing(Enum):
    """Offline mends itself; refused and removed need a new join."""

    ONLINE = "online"
    OFFLINE = "offline"
    REFUSED = "refused"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class LinkState:
    """``since_ns``: wall clock; ``reason``: the last one, "" while online."""

    standing: Standing
    since_ns: int
    reason: str = ""
    link: str = ""  # "grpc", "mqtt"


def follow(state: LinkState, standing: Standing, now_ns: int, reason: str = "", link: str = "") -> LinkState:
    """What it is after news. Removed is the end; only a session ends a refusal; news of the same keep the date."""
    if state.standing is Standing.REMOVED:
        return state
    if state.standing is Standing.REFUSED and standing is Standing.OFFLINE:
        return state
    if state.standing is standing:
        return replace(state, reason=reason or state.reason, link=link or state.link)
    return LinkState(standing, now_ns, reason, link or state.link)
