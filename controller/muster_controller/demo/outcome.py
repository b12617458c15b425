"""What the demo measured, for people and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MISSED_ALONE = 0.05  # at least this share of requests misses the SLO on the largest rung alone ...
MISSED_WITH_LADDER = 0.01  # ... and less than this with fallback, under the same load


@dataclass(frozen=True, slots=True)
class Switch:
    """One move along the ladder."""

    origin: str
    target: str
    direction: str
    reason: str
    ms: float | None

    def as_json(self) -> dict[str, Any]:
        return {
            "from": self.origin,
            "to": self.target,
            "direction": self.direction,
            "reason": self.reason,
            "ms": self.ms,
        }


@dataclass(frozen=True, slots=True)
class Replay:
    """What one replay of the load came to."""

    offered: int
    failed: int
    shed: int
    slo_missed: int
    p50_ms: float | None
    p95_ms: float | None

    @property
    def answered(self) -> int:
        return self.offered - self.failed - self.shed

    @property
    def slo_missed_ratio(self) -> float | None:
        """Late, refused or failed, as a share of what was offered."""
        return self.slo_missed / self.offered if self.offered else None


@dataclass(slots=True)
class DeviceOutcome:
    """Everything about one device, filled in as the demo goes."""

    device_id: str
    profile: str
    emulation: Sequence[str] = ()
    link: str = ""
    chosen: str = ""
    ladder: Sequence[str] = ()
    phases: list[tuple[float, float]] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)
    largest_alone: Replay | None = None
    fallback: Replay | None = None
    active_at_end: str = ""

    @property
    def has_fallen_back(self) -> bool:
        return any(switch.direction == "down" for switch in self.switches)

    @property
    def has_recovered(self) -> bool:
        """It serves its best rung again."""
        return bool(self.chosen) and self.active_at_end == self.chosen.split("@")[0]

    def as_json(self) -> dict[str, Any]:
        replay, alone = self.fallback, self.largest_alone
        return {
            "id": self.device_id,
            "profile": self.profile,
            "emulated": list(self.emulation),
            "link": self.link,
            "chosen": self.chosen,
            "ladder": list(self.ladder),
            "p95_ms": replay.p95_ms if replay else None,
            "switches": [switch.as_json() for switch in self.switches],
            "offered": replay.offered if replay else None,
            "failed": replay.failed if replay else None,
            "shed": replay.shed if replay else None,
            "slo_missed_ratio": replay.slo_missed_ratio if replay else None,
            "slo_missed_ratio_largest_rung": alone.slo_missed_ratio if alone else None,
            "recovered": self.has_recovered,
        }


def shortcomings(devices: Sequence[DeviceOutcome]) -> list[str]:
    """What went otherwise than promised, one line each; empty = the demo did what it says."""
    found = []
    for device in devices:
        if device.fallback is None or device.largest_alone is None:
            found.append(f"{device.device_id}: the load did not run")
            continue
        alone, with_ladder = device.largest_alone.slo_missed_ratio, device.fallback.slo_missed_ratio
        if alone is None or alone < MISSED_ALONE:
            found.append(
                f"{device.device_id}: the largest rung alone missed {_share(alone)}, less than {MISSED_ALONE:.0%}"
            )
        if with_ladder is None or with_ladder >= MISSED_WITH_LADDER:
            found.append(
                f"{device.device_id}: with fallback {_share(with_ladder)} missed, not under {MISSED_WITH_LADDER:.0%}"
            )
        if device.fallback.failed:
            found.append(f"{device.device_id}: {device.fallback.failed} requests failed")
        if not device.has_fallen_back:
            found.append(f"{device.device_id}: it never fell back")
        if not device.has_recovered:
            found.append(f"{device.device_id}: it serves {device.active_at_end or 'nothing'}, not {device.chosen}")
    if len({device.chosen.split("@")[0] for device in devices}) < 2:
        found.append("all devices got the same variant")
    return found


def replay_of(result: Mapping[str, Any]) -> Replay:
    """From a load's result as REST gives it."""
    p50_ns, p95_ns = result["p50_ns"], result["p95_ns"]
    return Replay(
        offered=int(result["offered"]),
        failed=int(result["failed"]),
        shed=int(result["shed"]),
        slo_missed=int(result["slo_missed"]),
        p50_ms=None if p50_ns is None else p50_ns / 1e6,
        p95_ms=None if p95_ns is None else p95_ns / 1e6,
    )


def _share(ratio: float | None) -> str:
    return "nothing" if ratio is None else f"{ratio:.2%}"
